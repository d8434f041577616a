import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from medseg.training.synthesis import Scene, Tumour, add, beside, cut_out, view

SPACING = (6.0, 5.0, 4.0)
CUBE = np.ones((3, 3, 3), bool)


def tumour(seed: int) -> Tumour:
    """A ragged blob, with an empty voxel around it."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(5, 10, size=3))
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1, 1:-1] = rng.random([n - 2 for n in shape]) < 0.6
    mask[tuple(n // 2 for n in shape)] = True
    return Tumour(np.where(mask, 5, 0.2).astype(np.float32), mask, SPACING)


def empty() -> Scene:
    shape = (40, 44, 48)
    return Scene(np.full(shape, 0.5, np.float32), np.zeros(shape, np.uint16), SPACING, ())


def paste(seed: int, direction) -> tuple[Scene, Tumour, Tumour, tuple[int, int, int]]:
    first, second = tumour(seed), tumour(seed + 1)
    offset = beside(first, second, np.array(direction))
    assert offset is not None
    corner = (16, 18, 20)
    scene = add(empty(), first, corner)
    there = tuple(c + o for c, o in zip(corner, offset, strict=True))
    return add(scene, second, there), first, second, there


directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1)


@given(st.integers(0, 1000), directions)
def test_pasted_tumours_touch_and_keep_every_voxel_of_theirs(seed, direction):
    scene, first, second, _ = paste(seed, direction)
    one, other = scene.labels == 1, scene.labels == 2
    assert one.sum() == first.mask.sum()
    assert other.sum() == second.mask.sum()
    assert (binary_dilation(one, CUBE) & other).any()


@given(st.integers(0, 1000), directions)
def test_the_second_lies_in_the_direction_asked_for(seed, direction):
    scene, *_ = paste(seed, direction)
    apart = scene.placed[1].centre_mm - scene.placed[0].centre_mm
    cosine = apart @ direction / np.linalg.norm(apart) / np.linalg.norm(direction)
    assert cosine > 0.8


@given(st.integers(0, 1000), directions)
def test_centres_are_the_means_of_their_voxels(seed, direction):
    scene, *_ = paste(seed, direction)
    for label, placed in enumerate(scene.placed, start=1):
        mean = np.argwhere(scene.labels == label).mean(axis=0) * SPACING
        np.testing.assert_allclose(placed.centre_mm, mean, atol=1e-9)


def test_uptake_adds_up():
    scene, first, second, there = paste(3, (1, 0.4, -0.2))
    added = scene.image.sum(dtype=float) - empty().image.sum(dtype=float)
    assert added == pytest.approx(first.excess.sum() + second.excess.sum(), rel=1e-4)
    peak = tuple(np.argwhere(second.mask)[0] + there)
    assert scene.image[peak] >= 5.5


def test_an_instance_never_takes_a_voxel_of_an_earlier_one():
    one = tumour(1)
    scene = add(add(empty(), one, (10, 10, 10)), one, (11, 10, 10))
    assert (scene.labels == 1).sum() == one.mask.sum()
    assert 0 < (scene.labels == 2).sum() < one.mask.sum()


def test_a_tumour_beyond_the_edge_shows_what_is_within_and_keeps_its_centre():
    one = tumour(2)
    scene = add(empty(), one, (-3, 20, 20))
    assert 0 < (scene.labels == 1).sum() < one.mask.sum()
    expected = one.placed.centre_mm + np.array((-3, 20, 20)) * SPACING
    np.testing.assert_allclose(scene.placed[0].centre_mm, expected)


def test_a_tumour_that_lies_wholly_outside_changes_nothing():
    scene = add(empty(), tumour(2), (100, 0, 0))
    assert scene.placed == ()
    assert (scene.image == 0.5).all()


def test_the_scene_that_is_added_to_stays_as_it_was():
    scene = empty()
    add(scene, tumour(4), (10, 10, 10))
    assert not scene.labels.any()


def test_a_view_shows_a_lesion_where_the_placement_puts_it(case):
    """A ball stays one when turned, mirrored and magnified, and its known centre is its own."""
    to_source = np.eye(4)
    turned = Rotation.from_euler("xyz", (10, -15, 25), degrees=True).as_matrix()
    to_source[:3, :3] = turned @ np.diag((-1, 1, 1)) / 1.2
    here = np.array([50.0, 62.0, 45.0])
    to_source[:3, 3] = case.lesions[0].centre_mm - to_source[:3, :3] @ here
    scene = view(case, (20, 24, 26), SPACING, to_source)
    np.testing.assert_allclose(scene.placed[0].centre_mm, here, atol=1e-9)
    assert scene.placed[0].radius_mm == pytest.approx(1.2 * case.lesions[0].radius_mm)
    places = np.argwhere(scene.labels == 1) * SPACING
    np.testing.assert_allclose(places.mean(axis=0), here, atol=1)
    radius = (3 * len(places) * np.prod(SPACING) / (4 * np.pi)) ** (1 / 3)
    assert radius == pytest.approx(scene.placed[0].radius_mm, rel=0.04)
    assert scene.image[scene.labels == 1].mean() > 4
    assert scene.image[scene.labels == 0].max() < 6


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_a_cut_out_tumour_is_its_excess_at_the_size_asked_for(case, scale):
    rotation = Rotation.from_euler("xyz", (40, 10, 70), degrees=True).as_matrix()
    cut = cut_out(case, case.lesions[0], (4.0, 3.5, 3.0), rotation, scale)
    assert cut.placed.radius_mm == pytest.approx(scale * case.lesions[0].radius_mm, rel=0.06)
    middle = cut.excess[tuple(np.round(cut.placed.centre_mm / (4.0, 3.5, 3.0)).astype(int))]
    assert middle == pytest.approx(6 - 0.8, rel=0.1)
    assert cut.excess[~cut.mask].max() < middle
    assert 0 <= cut.excess.min() < 0.01
