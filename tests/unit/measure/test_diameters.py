"""Diameters against all pairs of corners, and on shapes whose diameters are known by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.measure import diameters
from medseg.measure.diameters import axial_diameters, max_diameter_3d
from tests.strategies import affines

CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
PIXEL_CORNERS = np.unique(CORNERS * (1, 1, 0), axis=0)
SHEAR = np.array([[1, 0.3, -0.2], [0, 1, 0.4], [0, 0, 1]])


def _geometry(spacing, shape=(5, 6, 7)):
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", (12, -20, 31), degrees=True).as_matrix()
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = (-31, 12, 77)
    return Geometry(shape, affine)


@st.composite
def _ragged(draw):
    """A few voxels on an oblique grid, sheared or not."""
    affine = draw(affines())
    if draw(st.booleans()):
        affine[:3, :3] = affine[:3, :3] @ SHEAR
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (rng.integers(1, 8), rng.integers(2, 9), rng.integers(1, 5))
    mask = rng.random(shape) < draw(st.sampled_from((0.1, 0.3, 0.8)))
    mask[tuple(rng.integers(0, shape))] = True
    return mask, Geometry(shape, affine)


def _pairs_mm(mask, geometry, corners):
    """Corners of all voxels in mm, and all their distances."""
    voxels = np.argwhere(mask)
    points = geometry.to_world(np.unique((voxels[:, None] + corners).reshape(-1, 3), axis=0))
    return points, np.linalg.norm(points[:, None] - points, axis=-1)


@given(_ragged())
def test_the_3d_diameter_is_the_largest_of_all_pairs_of_corners(case):
    mask, geometry = case
    points, distances = _pairs_mm(mask, geometry, CORNERS)
    found = max_diameter_3d(mask, geometry)
    assert found.length_mm == pytest.approx(distances.max())
    _check_ends(found, points)


@given(_ragged())
def test_the_longest_axial_diameter_is_the_largest_of_all_pairs_in_any_slice(case):
    mask, geometry = case
    lengths = []
    for axial in range(mask.shape[2]):
        only = np.zeros_like(mask)
        only[:, :, axial] = mask[:, :, axial]
        lengths.append(_pairs_mm(only, geometry, PIXEL_CORNERS)[1].max(initial=0))
    found = axial_diameters(mask, geometry)
    assert found.longest.length_mm == pytest.approx(max(lengths))
    assert lengths[found.axial] == pytest.approx(max(lengths))
    assert all(length < max(lengths) - 1e-9 for length in lengths[: found.axial])
    points, _ = _pairs_mm(mask[..., [found.axial]], geometry, PIXEL_CORNERS)
    _check_ends(found.longest, points + geometry.affine[:3, 2] * found.axial)


def _check_ends(diameter, corners_mm):
    """Both ends are corners of voxels, as far apart as the diameter is long."""
    for end in diameter.ends_mm:
        assert np.linalg.norm(corners_mm - end, axis=1).min() < 1e-8
    assert np.linalg.norm(np.subtract(*diameter.ends_mm)) == pytest.approx(diameter.length_mm)


@given(_ragged())
def test_the_short_axis_is_the_longest_chord_across_the_hull(case):
    """The upper side of a hull at t is the highest point there of any segment between corners."""
    mask, geometry = case
    found = axial_diameters(mask, geometry)
    points, _ = _pairs_mm(mask[..., [found.axial]], geometry, PIXEL_CORNERS)
    points = points + geometry.affine[:3, 2] * found.axial
    start, end = np.array(found.longest.ends_mm)
    along = (end - start) / found.longest.length_mm
    across = np.cross(np.cross(*geometry.affine[:3, :2].T), along)
    across /= np.linalg.norm(across)
    t, height = (points - start) @ along, (points - start) @ across
    left, right = np.nonzero(t[:, None] < t - 1e-9)
    widths = []
    for position in np.unique(t.round(9))[1:-1]:
        share = (position - t[left]) / (t[right] - t[left])
        crossing = (share >= -1e-6) & (share <= 1 + 1e-6)
        heights = (height[left] + share * (height[right] - height[left]))[crossing]
        widths.append(np.ptp(heights))
    assert found.short.length_mm == pytest.approx(max(widths), rel=1e-5)


@given(_ragged())
def test_the_short_axis_lies_in_the_slice_and_is_perpendicular_and_shorter(case):
    mask, geometry = case
    found = axial_diameters(mask, geometry)
    assert 0 < found.short.length_mm <= found.longest.length_mm
    longest = np.subtract(*found.longest.ends_mm)
    short = np.subtract(*found.short.ends_mm)
    assert np.linalg.norm(short) == pytest.approx(found.short.length_mm)
    assert abs(longest @ short) < 1e-8 * found.longest.length_mm * found.short.length_mm
    for end in (*found.longest.ends_mm, *found.short.ends_mm):
        assert geometry.to_index(np.array(end))[2] == pytest.approx(found.axial, abs=1e-9)


@given(_ragged())
def test_no_axial_diameter_is_longer_than_the_3d_one(case):
    mask, geometry = case
    assert (
        axial_diameters(mask, geometry).longest.length_mm
        <= max_diameter_3d(mask, geometry).length_mm
    )


def test_a_single_voxel_is_as_long_as_its_diagonals():
    geometry = _geometry((2.0, 3.0, 4.5), (1, 1, 1))
    mask = np.ones((1, 1, 1), bool)
    found = axial_diameters(mask, geometry)
    assert found.longest.length_mm == pytest.approx(np.hypot(2, 3))
    # Across the diagonal of a rectangle of 2 x 3, at a corner: as wide as similar triangles say.
    assert found.short.length_mm == pytest.approx(2 * np.hypot(2, 3) / 3)
    assert max_diameter_3d(mask, geometry).length_mm == pytest.approx((4 + 9 + 4.5**2) ** 0.5)


@pytest.mark.parametrize(
    ("shape", "longest", "largest"),
    [
        ((7, 1, 1), np.hypot(14, 3), (14**2 + 3**2 + 4.5**2) ** 0.5),
        ((1, 7, 1), np.hypot(2, 21), (2**2 + 21**2 + 4.5**2) ** 0.5),
        ((1, 1, 7), np.hypot(2, 3), (2**2 + 3**2 + 31.5**2) ** 0.5),
    ],
)
def test_a_line_of_voxels_is_as_long_as_its_box_and_as_wide_as_one_voxel(shape, longest, largest):
    geometry = _geometry((2.0, 3.0, 4.5), shape)
    mask = np.ones(shape, bool)
    found = axial_diameters(mask, geometry)
    assert found.longest.length_mm == pytest.approx(longest)
    assert found.axial == 0
    width, length = sorted((2 * shape[0], 3 * shape[1]))
    assert found.short.length_mm == pytest.approx(width * np.hypot(width, length) / length)
    assert max_diameter_3d(mask, geometry).length_mm == pytest.approx(largest)


def test_a_right_angle_is_measured_from_tip_to_tip():
    """An L of 4 x 3 pixels of 2 x 3 mm: tip to tip is not the diagonal of its box."""
    mask = np.zeros((4, 3, 1), bool)
    mask[:, 0] = True
    mask[0, :] = True
    found = axial_diameters(mask, _geometry((2.0, 3.0, 4.5), mask.shape))
    assert found.longest.length_mm == pytest.approx(np.hypot(8, 9))  # outer corners of both tips
    # The hull is (0,0) (8,0) (8,3) (2,9) (0,9); the long axis joins (8,0) and (0,9). Perpendicular
    # to it, (9,8)/hypot: the chord through (0,0) ends on the side from (8,3) to (2,9), x + y = 11.
    # It runs along (9,8) s with 17 s = 11; the other candidates are shorter.
    assert found.short.length_mm == pytest.approx(11 / 17 * np.hypot(9, 8))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_short_axis_of_a_square_is_not_the_longer_by_a_rounding(size):
    rng = np.random.default_rng(size)
    for spacing in rng.uniform(0.5, 5, 50):
        geometry = _geometry((spacing, spacing, 2.0), (size, size, 1))
        found = axial_diameters(np.ones((size, size, 1), bool), geometry)
        assert found.short.length_mm <= found.longest.length_mm
        assert found.short.length_mm == pytest.approx(size * spacing * 2**0.5)


def test_the_lowest_of_equal_slices_is_named():
    mask = np.ones((3, 2, 5), bool)
    mask[0, :, 0] = False
    assert axial_diameters(mask, _geometry((2.0, 3.0, 4.5), mask.shape)).axial == 1


def test_the_slice_with_the_largest_box_need_not_have_the_longest_diameter():
    """A cross of 5 x 5 pixels is 5.1 long, a square of 4 x 4 is 5.7."""
    mask = np.zeros((5, 5, 2), bool)
    mask[2, :, 0] = mask[:, 2, 0] = True
    mask[:4, :4, 1] = True
    found = axial_diameters(mask, _geometry((2.0, 2.0, 4.5), mask.shape))
    assert found.axial == 1
    assert found.longest.length_mm == pytest.approx(8 * 2**0.5)


def test_on_a_sheared_grid_either_diagonal_of_a_box_may_be_the_longer():
    """Steps (1, 0) and (-1/2, 1) mm: 4 x 4 pixels reach from (0, 4) to (4, 0), 4 (1.5, -1) mm."""
    affine = np.array([[1, -0.5, 0, 3], [0, 1, 0, -8], [0, 0, 2, 5], [0, 0, 0, 1]])
    mask = np.zeros((5, 4, 2), bool)
    mask[:, 0, 0] = True
    mask[:4, :, 1] = True
    found = axial_diameters(mask, Geometry(mask.shape, affine))
    assert found.axial == 1
    assert found.longest.length_mm == pytest.approx(4 * np.hypot(1.5, 1))


def test_many_corners_are_searched_in_parts(monkeypatch):
    """The memory bound changes no diameter; the ends of this spindle are not the first corners."""
    steps = np.abs(np.indices((9, 31, 8)).T - (4, 15, 3)).T
    mask = steps[0] * 3 + steps[1] + steps[2] * 4 <= 14
    geometry = _geometry((2.0, 3.0, 4.5), mask.shape)
    whole = axial_diameters(mask, geometry), max_diameter_3d(mask, geometry)
    monkeypatch.setattr(diameters, "DISTANCES_AT_ONCE", 100)
    assert (axial_diameters(mask, geometry), max_diameter_3d(mask, geometry)) == whole
