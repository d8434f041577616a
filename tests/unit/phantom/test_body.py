"""The phantom: its truth, its anatomy and its intensities."""

import math
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from medseg.core.instances import InstanceMap
from medseg.core.volume import IntensityUnit
from medseg.phantom.anatomy import draw_patient, normal_body
from medseg.phantom.body import Phantom, make_phantom, small_phantom
from medseg.phantom.lesions import Lesion, draw_lesions

SEEDS = (0, 1, 2, 3)
whole_body = cache(make_phantom)


def drawn_lesions(seed: int) -> list[Lesion]:
    """The lesions of a seed as they were drawn, before any grid."""
    rng = np.random.default_rng(seed)
    patient = draw_patient(rng)
    normal_body(patient, rng)
    return draw_lesions(patient, rng)


def organ_mask(phantom: Phantom, name: str) -> np.ndarray:
    label = next(o.label for o in phantom.organs.instances if o.structure == name)
    return phantom.organs.labels == label


def centroid_mm(phantom: Phantom, mask: np.ndarray) -> np.ndarray:
    return phantom.pet.geometry.to_world(np.argwhere(mask)).mean(axis=0)


def groups(lesions: InstanceMap) -> list[list[int]]:
    """Labels that touch one another, through any of a voxel's 26 neighbours."""
    labels = lesions.labels
    left = {instance.label for instance in lesions.instances}
    found = []
    while left:
        group, frontier = set(), {min(left)}
        while frontier:
            group |= frontier
            near = binary_dilation(np.isin(labels, list(frontier)), np.ones((3, 3, 3)))
            frontier = set(np.unique(labels[near]).tolist()) - group - {0}
        found.append(sorted(group))
        left -= group
    return found


def recovery(radius_mm: float) -> float:
    """Share of its height that the centre of a ball keeps under a Gaussian blur of 6.5 mm FWHM."""
    x = radius_mm / (6.5 / math.sqrt(8 * math.log(2)))
    return math.erf(x / math.sqrt(2)) - math.sqrt(2 / math.pi) * x * math.exp(-(x**2) / 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_lesion_has_the_volume_of_the_ellipsoid_that_was_drawn(seed):
    phantom = whole_body(seed)
    voxel = phantom.pet.geometry.voxel_volume_mm3
    diagonal = math.hypot(*phantom.pet.geometry.spacing_mm)
    for label, lesion in enumerate(drawn_lesions(seed), 1):
        if len(lesion.lobes) > 1 or lesion.organ in {"groin", "mediastinum"}:
            continue
        semi = lesion.lobes[0].semi_axes_mm
        surface = 4 * math.pi * float(np.prod(semi)) ** (2 / 3) * 1.1
        error = 4 * voxel * math.sqrt(surface * diagonal / voxel / 12)
        volume = int((phantom.lesions.labels == label).sum()) * voxel
        assert volume == pytest.approx(4 / 3 * math.pi * semi.prod(), abs=error)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_lesions_touch_and_three_touch_and_the_others_do_not(seed):
    phantom = whole_body(seed)
    place = {i.label: i.organ for i in phantom.lesions.instances}
    touching = [group for group in groups(phantom.lesions) if len(group) > 1]
    assert sorted(len(group) for group in touching) == [2, 3]
    assert {place[n] for group in touching for n in group} == {"groin", "mediastinum"}
    assert 8 <= len(place) <= 10


def test_where_two_touching_lesions_overlap_each_keeps_its_half():
    contested = 0
    for seed in SEEDS:
        small = small_phantom(seed)
        nodes = [lesion.lobes[0] for lesion in drawn_lesions(seed) if lesion.organ == "groin"]
        voxels = np.argwhere(small.lesions.labels > 0)
        labels = small.lesions.labels[tuple(voxels.T)]
        depths_mm = []
        for node in nodes:
            offset = small.pet.geometry.to_world(voxels) - node.centre_mm
            radius = np.linalg.norm(offset @ node.rotation / node.semi_axes_mm, axis=1)
            depths_mm.append((1 - radius) * node.semi_axes_mm.mean())
        ranked = np.sort(depths_mm, axis=0)
        clear = ranked[-1] - ranked[-2] > 0.5
        contested += int((clear & (ranked[-2] > 0)).sum())
        assert ((np.argmax(depths_mm, axis=0) + 1 == labels) | ~clear).all()
    assert contested > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_no_lesion_lies_in_an_organ_with_high_normal_uptake_or_outside_the_body(seed):
    phantom = whole_body(seed)
    lesions = phantom.lesions.labels > 0
    for name in ("brain", "heart", "kidney_left", "kidney_right", "urinary_bladder"):
        assert not (lesions & organ_mask(phantom, name)).any()
    ct = phantom.ct.geometry.to_index(phantom.pet.geometry.to_world(np.argwhere(lesions)))
    i, j, k = np.round(ct).astype(int).T
    assert np.median(phantom.ct.data[i, j, k]) == pytest.approx(42, abs=8)
    assert (phantom.ct.data[i, j, k] > -150).mean() > 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_lie_on_their_side(seed):
    phantom = whole_body(seed)
    centre = {
        o.structure: centroid_mm(phantom, phantom.organs.labels == o.label)
        for o in phantom.organs.instances
    }
    for right, left in (("liver", "spleen"), ("kidney_right", "kidney_left"), ("liver", "heart")):
        assert centre[right][0] > 0 > centre[left][0]
    assert centre["urinary_bladder"][1] > centre["kidney_left"][1]
    upwards = ["urinary_bladder", "kidney_right", "liver", "lung_right", "brain"]
    heights = [centre[name][2] for name in upwards]
    assert heights == sorted(heights)


@pytest.mark.parametrize("seed", SEEDS)
def test_normal_uptake_and_density_are_those_of_fdg_pet_ct(seed):
    phantom = whole_body(seed)
    lesions = binary_dilation(phantom.lesions.labels > 0, iterations=3)
    ranges = {
        "brain": (5, 13),
        "liver": (1.4, 3.4),
        "spleen": (1.1, 2.7),
        "lung_right": (0.2, 0.8),
        "urinary_bladder": (9, 42),
        "heart": (1.0, 9),
    }
    for name, (low, high) in ranges.items():
        inner = binary_erosion(organ_mask(phantom, name), iterations=2) & ~lesions
        assert low < np.median(phantom.pet.data[inner]) < high, name
    lung = binary_erosion(organ_mask(phantom, "lung_right"), iterations=2) & ~lesions
    points = phantom.pet.geometry.to_world(np.argwhere(lung))
    i, j, k = np.round(phantom.ct.geometry.to_index(points)).astype(int).T
    assert np.median(phantom.ct.data[i, j, k]) == pytest.approx(-830, abs=15)
    assert phantom.pet.unit is IntensityUnit.SUV
    assert phantom.ct.unit is IntensityUnit.HU
    assert phantom.pet.data.min() >= 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lesion_is_as_hot_as_was_asked_for(seed):
    phantom = whole_body(seed)
    for label, lesion in enumerate(drawn_lesions(seed), 1):
        mask = phantom.lesions.labels == label
        assert phantom.lesion_suv[label] == lesion.suv
        assert 4 <= lesion.suv <= 15
        radius_mm = min(min(lobe.semi_axes_mm) for lobe in lesion.lobes)
        least = 0.85 * (1 - lesion.texture.depth) * recovery(radius_mm)
        assert least * lesion.suv < phantom.pet.data[mask].max() < 1.3 * lesion.suv


def test_a_seed_is_a_phantom_and_another_seed_is_another():
    first, again, other = make_phantom(5), make_phantom(5), make_phantom(6)
    np.testing.assert_array_equal(first.pet.data, again.pet.data)
    np.testing.assert_array_equal(first.ct.data, again.ct.data)
    np.testing.assert_array_equal(first.lesions.labels, again.lesions.labels)
    assert first.lesions.instances == again.lesions.instances
    assert (first.lesions.labels != other.lesions.labels).any()
    assert (first.pet.data != other.pet.data).any()
    frames = {p.pet.geometry.frame_of_reference for p in (first, again, other)}
    assert len(frames) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_small_phantom_holds_the_same_three_touching_nodes(seed):
    small = small_phantom(seed)
    assert [i.organ for i in small.lesions.instances] == ["groin"] * 3
    assert groups(small.lesions) == [[1, 2, 3]]
    assert len(set(small.pet.geometry.shape)) == len(set(small.pet.geometry.spacing_mm)) == 3
    assert (np.abs(small.pet.geometry.affine[:3, :3]) > 0.1).all()
    edge = np.ones(small.pet.geometry.shape, bool)
    edge[1:-1, 1:-1, 1:-1] = False
    assert not small.lesions.labels[edge].any()
    body = whole_body(seed)
    large = [i.label for i in body.lesions.instances if i.organ == "groin"]
    for label, same in zip((1, 2, 3), large, strict=True):
        here = small.pet.geometry.to_world(np.argwhere(small.lesions.labels == label))
        there = body.pet.geometry.to_world(np.argwhere(body.lesions.labels == same))
        assert np.linalg.norm(here.mean(axis=0) - there.mean(axis=0)) < 1.5


def test_both_scans_share_a_frame_and_the_pet_lies_within_the_ct():
    phantom = whole_body(0)
    pet, ct = phantom.pet.geometry, phantom.ct.geometry
    assert pet.frame_of_reference == ct.frame_of_reference is not None
    assert pet.axis_codes == ("L", "P", "S")
    index = ct.to_index(pet.corners_mm)
    slack = np.array(pet.spacing_mm) / ct.spacing_mm
    assert (index > -slack).all()
    assert (index < np.array(ct.shape) - 1 + slack).all()
