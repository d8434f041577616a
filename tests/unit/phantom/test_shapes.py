"""The analytic shapes, against volumes known from geometry, on oblique anisotropic grids."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.phantom.shapes import (
    Capsule,
    Column,
    Ellipsoid,
    Shape,
    Union,
    coverage,
    distance_on_grid,
    points_in,
    tube,
)

TURN = Rotation.from_euler("xyz", (13, -21, 34), degrees=True).as_matrix()


def oblique_grid() -> Geometry:
    """Left-handed, oblique, with three different sizes and spacings."""
    affine = np.eye(4)
    affine[:3, :3] = (TURN * (-1, 1, 1))[:, (2, 0, 1)] * (2.7, 1.9, 2.2)
    affine[:3, 3] = (31, -52, 140)
    shape = (40, 58, 49)
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] -= middle
    return Geometry(shape, affine)


MIDDLE = np.array([31.0, -52.0, 140.0])


def volume_and_error_mm3(shape: Shape, surface_mm2: float) -> tuple[float, float]:
    """Volume by counting voxel centres, and four standard deviations of its error.

    A voxel that the surface cuts is in or out by chance: each adds an error evenly spread over one
    voxel (variance v^2 / 12), and a shell of one voxel's diagonal holds those voxels.
    """
    geometry = oblique_grid()
    found = distance_on_grid(shape, geometry)
    assert found is not None
    voxel = geometry.voxel_volume_mm3
    cut = surface_mm2 * math.hypot(*geometry.spacing_mm) / voxel
    return float((found[1] < 0).sum() * voxel), 4 * voxel * math.sqrt(cut / 12)


def test_an_ellipsoid_has_the_volume_of_geometry():
    semi = np.array([22.0, 14.0, 9.0])
    volume, error = volume_and_error_mm3(Ellipsoid(MIDDLE, semi, TURN), 4 * math.pi * 14**2)
    assert volume == pytest.approx(4 / 3 * math.pi * semi.prod(), abs=error)


def test_a_capsule_has_the_volume_of_a_cylinder_with_two_half_balls():
    end = MIDDLE + TURN @ np.array([0.0, 8.0, 30.0])
    length, radius = float(np.linalg.norm(end - MIDDLE)), 11.0
    surface = 2 * math.pi * radius * length + 4 * math.pi * radius**2
    volume, error = volume_and_error_mm3(Capsule(MIDDLE, end, radius, radius), surface)
    expected = math.pi * radius**2 * length + 4 / 3 * math.pi * radius**3
    assert volume == pytest.approx(expected, abs=error)


def test_a_tapered_capsule_has_the_volume_of_a_frustum_with_two_half_balls():
    end = MIDDLE + TURN @ np.array([26.0, -6.0, 9.0])
    length, wide, narrow = float(np.linalg.norm(end - MIDDLE)), 14.0, 5.0
    volume, error = volume_and_error_mm3(Capsule(MIDDLE, end, wide, narrow), 4 * math.pi * 14**2)
    frustum = math.pi * length / 3 * (wide**2 + wide * narrow + narrow**2)
    balls = 2 / 3 * math.pi * (wide**3 + narrow**3)
    assert volume == pytest.approx(frustum + balls, abs=error)


def test_a_column_has_the_volume_of_a_frustum():
    r, a, s = MIDDLE
    column = Column(np.array([[s - 15, r, a, 20, 12], [s + 15, r, a, 10, 6]]))
    volume, error = volume_and_error_mm3(column, 30 * 2 * math.pi * 15 + math.pi * 20 * 12)
    areas = [math.pi * 20 * 12, math.pi * 10 * 6]
    expected = 30 / 3 * (areas[0] + areas[1] + math.sqrt(areas[0] * areas[1]))
    assert volume == pytest.approx(expected, abs=error)


def test_soft_edges_keep_the_volume():
    geometry = oblique_grid()
    found = distance_on_grid(Ellipsoid(MIDDLE, np.array([20.0, 15.0, 12.0]), TURN), geometry)
    assert found is not None
    share = coverage(found[1], min(geometry.spacing_mm))
    volume = float(share.sum()) * geometry.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * math.pi * 20 * 15 * 12, rel=0.01)
    assert share.min() == 0
    assert share.max() == 1


@pytest.mark.parametrize(
    "shape",
    [
        Ellipsoid(MIDDLE + 9, np.array([25.0, 8.0, 15.0]), TURN),
        Ellipsoid(MIDDLE, np.array([3.0, 27.0, 4.0]), TURN[:, (1, 2, 0)]),
        Ellipsoid(MIDDLE, np.array([3.0, 4.0, 27.0]), TURN[:, (1, 2, 0)]),
        Capsule(MIDDLE - 12, MIDDLE + np.array([15, 20, 8]), 6.0, 13.0),
        Column(np.array([[120.0, 25, -50, 20, 12], [150, 35, -44, 10, 18], [158, 30, -50, 9, 9]])),
        Union(
            tube(
                np.array([MIDDLE - 14, MIDDLE, MIDDLE + np.array([20, -9, 4])]),
                np.array([7.0, 5, 8]),
            )
        ),
    ],
)
def test_the_box_around_a_shape_cuts_nothing_off(shape):
    geometry = oblique_grid()
    everywhere = shape.distance_mm(points_in(geometry, tuple(slice(0, n) for n in geometry.shape)))
    found = distance_on_grid(shape, geometry)
    assert found is not None
    box, distance = found
    inside = np.zeros(geometry.shape, bool)
    inside[box] = distance < 0
    assert inside.any()
    assert not inside.all()
    np.testing.assert_array_equal(inside, everywhere < 0)


def test_a_shape_beyond_the_grid_is_not_there():
    far = Ellipsoid(MIDDLE + 500, np.array([25.0, 8.0, 15.0]), TURN)
    assert distance_on_grid(far, oblique_grid()) is None
