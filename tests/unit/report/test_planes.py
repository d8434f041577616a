"""Pictures lie where they say, in radiological convention."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.report import planes
from medseg.report.planes import Plane, PlaneName
from tests.strategies import geometries

NAMES: tuple[PlaneName, ...] = ("axial", "coronal", "sagittal")


def upright(order: tuple[int, ...], signs: tuple[float, ...]) -> Geometry:
    """A grid along the world's axes, stored in some order and sense."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) * signs)[:, order] * (1.5, 2.5, 4.0)
    return Geometry((7, 9, 11), affine)


UPRIGHT = [
    upright(order, signs)
    for order in permutations(range(3))
    for signs in product((-1.0, 1.0), repeat=3)
]


CENTRE = np.array([3.0, -70.0, 500.0])


@pytest.mark.parametrize("geometry", UPRIGHT)
def test_slices_that_are_not_tilted_are_shown_along_the_world_axes(geometry: Geometry) -> None:
    in_slice = planes.slice_plane(geometry, CENTRE, (9, 9))
    upright_plane = planes.plane("axial", CENTRE, (9, 9))
    for direction in ("across", "down", "normal"):
        assert np.allclose(getattr(in_slice, direction), getattr(upright_plane, direction))


def test_the_letters_are_those_of_the_radiological_convention() -> None:
    assert {name: planes.plane(name, CENTRE, (9, 9)).letters for name in NAMES} == {
        "axial": ("R", "L", "A", "P"),
        "coronal": ("R", "L", "S", "I"),
        "sagittal": ("A", "P", "S", "I"),
    }


def test_the_patients_right_is_on_the_left_of_axial_and_coronal_pictures() -> None:
    right, front, head = CENTRE + (4, 0, 0), CENTRE + (0, 4, 0), CENTRE + (0, 0, 4)  # noqa: RUF005
    axial, coronal, sagittal = (planes.plane(name, CENTRE, (20, 20)) for name in NAMES)
    assert axial.to_picture(right).tolist() == [6, 10]
    assert axial.to_picture(front).tolist() == [10, 6]
    assert coronal.to_picture(right).tolist() == [6, 10]
    assert coronal.to_picture(head).tolist() == [10, 6]
    assert sagittal.to_picture(front).tolist() == [6, 10]
    assert sagittal.to_picture(head).tolist() == [10, 6]


@given(geometries())
def test_the_axial_picture_lies_in_an_acquired_slice_and_stands_upright_in_it(
    geometry: Geometry,
) -> None:
    plane = planes.slice_plane(geometry, CENTRE, (9, 9))
    directions = np.stack([plane.across, plane.down, plane.normal])
    assert np.allclose(directions @ directions.T, np.eye(3))
    in_slice = [geometry.affine[:3, n] for n in range(3) if n != geometry.axial_axis]
    assert np.allclose([plane.normal @ step for step in in_slice], 0, atol=1e-9)
    assert plane.across[0] < 0
    assert plane.normal[2] > 0
    # Turned as upright as the slice allows: nothing in it points further left.
    assert plane.down[0] == pytest.approx(0, abs=1e-9)


@st.composite
def any_planes(draw: st.DrawFn) -> Plane:
    """A plane of each kind."""
    size = (18.0, 27.0)
    if draw(st.booleans()):
        return planes.slice_plane(draw(geometries()), CENTRE, size)
    return planes.plane(draw(st.sampled_from(NAMES)), CENTRE, size)


@given(any_planes(), st.tuples(*[st.integers(0, 6)] * 2))
def test_a_pixel_of_the_grid_lies_where_the_picture_shows_it(
    plane: Plane, pixel: tuple[int, int]
) -> None:
    grid = plane.grid(1.5)
    assert grid.shape == (12, 18, 1)
    point = grid.to_world(np.array([*pixel, 0]))
    assert plane.to_picture(point) == pytest.approx((np.array(pixel) + 0.5) * 1.5)
    assert plane.to_picture(plane.corner_mm) == pytest.approx((0, 0), abs=1e-9)


@given(any_planes())
def test_layers_lie_evenly_around_the_plane(plane: Plane) -> None:
    grid = plane.grid(2.25, depth_mm=11.25)
    assert grid.shape == (8, 12, 5)
    assert grid.corners_mm.mean(axis=0) == pytest.approx(plane.centre_mm)
    away = (grid.corners_mm - plane.centre_mm) @ plane.normal
    assert np.abs(away) == pytest.approx(4.5)


@given(any_planes())
def test_a_plane_through_a_point_keeps_its_place_in_the_picture(plane: Plane) -> None:
    point = np.array([13.0, -60.0, 490.0])
    moved = plane.through(point)
    assert (point - moved.centre_mm) @ plane.normal == pytest.approx(0, abs=1e-9)
    assert plane.to_picture(moved.centre_mm) == pytest.approx((9, 13.5))


def test_a_tilt_is_named_by_a_second_letter_and_a_small_one_is_not() -> None:
    for degrees, top in ((25, "AS"), (-25, "AI"), (4, "A")):
        affine = np.eye(4)
        affine[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix() * (1, 2, 3)
        tilted = Geometry((5, 6, 7), affine)
        assert planes.slice_plane(tilted, CENTRE, (9, 9)).letters[2] == top


def test_positions_are_said_with_the_letter_of_their_side() -> None:
    assert planes.place((-45.23, 3.0, -120.46)) == "L 45.2 · A 3.0 · I 120.5"
    assert planes.coordinate(0, -0.04) == "R 0.0"
    centre = np.array([-45.23, 3.0, -120.46])
    said = [planes.plane(name, centre, (9, 9)).position for name in NAMES]
    assert said == ["I 120.5 mm", "A 3.0 mm", "L 45.2 mm"]
