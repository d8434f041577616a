"""Surfaces of solids whose mesh is known: marching cubes cuts the edges of boxes in half voxels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.measure.shape import surface
from tests.strategies import affines

SHEAR = np.array([[1, 0.3, -0.2], [0, 1, 0.4], [0, 0, 1]])


@given(affines())
def test_the_mesh_of_a_voxel_is_an_octahedron_also_on_a_sheared_grid(affine):
    affine[:3, :3] = affine[:3, :3] @ SHEAR
    found = surface(np.ones((1, 1, 1), bool), Geometry((1, 1, 1), affine))
    a, b, c = affine[:3, :3].T / 2
    faces = [(a, b, c), (a, b, -c), (a, -b, c), (a, -b, -c)]  # and their opposites
    area = sum(np.linalg.norm(np.cross(q - p, r - p)) for p, q, r in faces)
    volume = 8 * abs(np.linalg.det(np.stack((a, b, c)))) / 6
    assert found.area_mm2 == pytest.approx(area, rel=1e-5)
    assert found.volume_mm3 == pytest.approx(volume, rel=1e-5)
    assert found.sphericity == pytest.approx((36 * np.pi * volume**2) ** (1 / 3) / area, rel=1e-5)


@given(affines(), st.permutations((1, 3, 4)))
def test_the_mesh_of_a_box_is_a_box_with_cut_edges_and_corners(affine, shape):
    """The box between the outer centres, grown by an octahedron of half a voxel.

    With spacings a, b, c and sides x, y, z between the outer voxel centres, the mesh consists of
    the six faces of that box moved outwards by half a voxel, twelve strips that bridge them along
    its edges, and the eight triangles of an octahedron at its corners.
    """
    a, b, c = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = (np.array(shape) - 1) * (a, b, c)
    faces = 2 * (x * y + y * z + z * x)
    strips = 2 * (z * np.hypot(a, b) + x * np.hypot(b, c) + y * np.hypot(c, a))
    corners = np.sqrt((a * b) ** 2 + (b * c) ** 2 + (c * a) ** 2)
    volume = x * y * z + x * y * c + y * z * a + z * x * b
    volume += (a * b * z + b * c * x + c * a * y) / 2 + a * b * c / 6
    found = surface(np.ones(shape, bool), Geometry(tuple(shape), affine))
    assert found.area_mm2 == pytest.approx(faces + strips + corners, rel=1e-5)
    assert found.volume_mm3 == pytest.approx(volume, rel=1e-5)


@given(affines(), st.integers(0, 2**32 - 1))
def test_nothing_is_rounder_than_a_ball(affine, seed):
    mask = np.random.default_rng(seed).random((3, 5, 4)) < 0.6
    mask[1, 2, 3] = True
    found = surface(mask, Geometry(mask.shape, affine))
    assert 0 < found.sphericity < 1


def test_a_ball_is_rounder_than_a_stick():
    affine = np.diag((1.1, 1.3, 0.9, 1.0))
    affine[0, 1] = 0.4
    indices = np.moveaxis(np.indices((21, 18, 25)), 0, -1)
    geometry = Geometry((21, 18, 25), affine)
    from_middle = np.linalg.norm(
        geometry.to_world(indices) - geometry.to_world(np.array((10, 8.5, 12))), axis=-1
    )
    ball = surface(from_middle < 7, geometry)
    stick = surface(np.ones((2, 1, 20), bool), geometry)
    assert ball.sphericity > 0.9
    assert stick.sphericity < 0.6
