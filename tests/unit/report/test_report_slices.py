"""What the viewer unpacks lies where the image lies, and holds every lesion."""

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap
from medseg.core.report import SliceStack
from medseg.core.volume import IntensityUnit
from medseg.report import slices
from medseg.report.planes import DIRECTIONS
from medseg.report.slices import slice_stack
from medseg.report.viewer import packed
from tests.unit.report.report_cases import (
    BACKGROUND,
    HOT,
    OBLIQUE,
    ball,
    lesion_map,
    no_organs,
    the_scene,
)
from tests.unit.report.test_report_figures import bodies, few

Mask = NDArray[np.bool_]


def stack_of(geometry: Geometry, masks: list[Mask]) -> SliceStack:
    return slice_stack(the_scene(lesion_map(geometry, masks)), no_organs(geometry))


def world_of(stack: SliceStack, chosen: Mask) -> NDArray[np.float64]:
    """RAS+ of the chosen voxels of a stack."""
    steps = np.argwhere(chosen) * stack.spacing_mm
    return np.asarray(steps @ DIRECTIONS + np.array(stack.origin_mm))


@few
@given(bodies())
def test_image_and_labels_lie_where_the_lesion_lies(
    body: tuple[Geometry, NDArray[np.float64]],
) -> None:
    geometry, middle = body
    place = middle + np.array([11.0, 6.0, 17.0])
    mask = ball(geometry, place, 9)
    stack = stack_of(geometry, [mask])
    true = geometry.to_world(np.argwhere(mask)).mean(axis=0)
    for chosen in (stack.lesions == 1, stack.levels[stack.voxels] > (HOT + BACKGROUND) / 2):
        off = world_of(stack, chosen).mean(axis=0) - true
        assert np.abs(off).max() < max(geometry.spacing_mm) / 2
    assert stack.levels[stack.voxels].max() == pytest.approx(HOT, abs=0.2)


def test_a_grid_along_the_world_is_kept_as_it_is() -> None:
    affine = np.array([[0, 2.5, 0, -70], [-1.5, 0, 0, 40], [0, 0, 4.0, 100], [0, 0, 0, 1.0]])
    geometry = Geometry((23, 19, 14), affine)
    shown = the_scene(lesion_map(geometry, []))
    data = np.random.default_rng(3).uniform(0, 10, geometry.shape).astype(np.float32)
    object.__setattr__(shown.volume, "data", data)
    stack = slice_stack(shown, no_organs(geometry))
    assert stack.spacing_mm == pytest.approx((2.5, 1.5, 4.0))
    # Left falls with j, back rises with i, feet fall with k.
    expected = data.transpose(1, 0, 2)[::-1, :, ::-1]
    assert stack.levels[stack.voxels] == pytest.approx(expected, abs=10 / 191)
    corner = geometry.to_world(np.array([0, 18, 13]))
    assert stack.origin_mm == pytest.approx(tuple(corner))


def test_a_single_voxel_is_not_lost_on_a_coarser_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST_VOXELS", 900)
    masks = []
    for corner in ((0, 0, 0), (39, 51, 35), (20, 30, 11), (21, 30, 11)):
        masks.append(np.zeros(OBLIQUE.shape, bool))
        masks[-1][corner] = True
    stack = stack_of(OBLIQUE, masks[:3])
    assert stack.voxels.size < 3000
    for label, mask in enumerate(masks[:3], start=1):
        (true,) = OBLIQUE.to_world(np.argwhere(mask))
        found = world_of(stack, stack.lesions == label)
        assert np.linalg.norm(found - true, axis=1).min() <= np.linalg.norm(stack.spacing_mm) / 2


def test_a_large_image_is_averaged_and_keeps_its_extent(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stack_of(OBLIQUE, [])
    monkeypatch.setattr(slices, "MOST_VOXELS", 5000)
    shown = the_scene(lesion_map(OBLIQUE, []))
    noise = np.random.default_rng(5).normal(5, 1, OBLIQUE.shape).astype(np.float32)
    object.__setattr__(shown.volume, "data", noise)
    stack = slice_stack(shown, no_organs(OBLIQUE))
    ratio = np.array(stack.spacing_mm) / whole.spacing_mm
    assert (ratio > 1.9).all()
    size = np.array(stack.voxels.shape) * stack.spacing_mm
    assert size == pytest.approx(np.array(whole.voxels.shape) * whole.spacing_mm, rel=0.15)
    places = OBLIQUE.to_index(world_of(stack, np.ones(stack.voxels.shape, bool)))
    deep = ((places > 3) & (places < np.array(OBLIQUE.shape) - 4)).all(axis=1)
    inside = stack.levels[stack.voxels.ravel()[deep]]
    assert inside.std() < 0.7  # noise of 1, averaged
    assert inside.mean() == pytest.approx(5, abs=0.1)


def test_levels_are_fine_in_the_window_and_reach_what_lies_beyond_it() -> None:
    lesions = lesion_map(OBLIQUE, [])
    shown = the_scene(lesions, IntensityUnit.HU)
    data = np.linspace(-1024, 3071, OBLIQUE.shape[0] * OBLIQUE.shape[1] * OBLIQUE.shape[2])
    object.__setattr__(shown.volume, "data", data.reshape(OBLIQUE.shape).astype(np.float32))
    stack = slice_stack(shown, no_organs(OBLIQUE))
    assert (np.diff(stack.levels) > 0).all()
    assert (stack.levels[0], stack.levels[-1]) == (-1024, 3071)
    inside = stack.levels[(stack.levels >= 0) & (stack.levels <= 10)]
    assert len(inside) == 192
    assert stack.unit == "HU"
    assert not stack.inverted


def test_the_page_gets_every_voxel_back() -> None:
    organs = np.zeros(OBLIQUE.shape, np.uint16)
    organs[5:20, 5:20, 5:20] = 300
    organ_map = InstanceMap(organs, OBLIQUE, (Instance(300, "organ", "liver", "2.25.9"),))
    shown = the_scene(
        lesion_map(OBLIQUE, [ball(OBLIQUE, OBLIQUE.to_world(np.array([30, 9, 9])), 9)])
    )
    stack = slice_stack(shown, organ_map)
    sent = json.loads(json.dumps(packed(stack, {300: "liver"})))
    for name, kind, whole in (
        ("voxels", "u1", stack.voxels),
        ("lesions", "<u2", stack.lesions),
        ("organ_labels", "<u2", stack.organs),
    ):
        values = np.frombuffer(zlib.decompress(base64.b64decode(sent[name])), kind)
        assert np.array_equal(values.reshape(sent["size"]), whole)
    assert stack.lesions[tuple(sent["places"]["1"])] == 1
    assert set(np.unique(stack.organs)) == {0, 300}
    assert sent["organs"] == {"300": "liver"}
    assert packed(stack, {}) == packed(slice_stack(shown, organ_map), {})
