"""SUVpeak of fields whose mean in any ball is known, and against a ball sampled one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance
from medseg.measure.region import Region
from medseg.measure.suv_peak import ball_kernel, suv_peak
from tests.strategies import affines, geometries

RADIUS_MM = 6.2035
"""Of a ball of 1 cm3."""


def _region(mask, geometry):
    """The region of a mask on a whole grid."""
    indices = np.argwhere(mask)
    box = tuple(
        slice(int(low), int(high) + 1)
        for low, high in zip(indices.min(axis=0), indices.max(axis=0), strict=True)
    )
    row = Instance(1, "lesion", "lesion", "2.25.1")
    values = np.zeros(len(indices))
    return Region(row, box, mask[box], values, geometry.crop(box), touches_edge=False)


@st.composite
def _roomy(draw):
    """An oblique grid and some voxels in it; their balls lie wholly inside."""
    affine = draw(affines())
    middle = np.array(draw(st.permutations((1, 2, 3))))
    margin = np.ceil(np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1) * RADIUS_MM + 0.5)
    shape = tuple(int(n) for n in middle + 2 * margin)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = np.zeros(shape, bool)
    inner = tuple(slice(int(m), int(m + n)) for m, n in zip(margin, middle, strict=True))
    mask[inner] = rng.random(tuple(middle)) < 0.7
    mask[tuple(int(m) for m in margin)] = True
    return mask, Geometry(shape, affine), rng


@given(geometries())
def test_the_kernel_is_a_ball_of_the_wanted_volume(geometry):
    kernel = ball_kernel(geometry, 1000)
    assert kernel.sum() * geometry.voxel_volume_mm3 == pytest.approx(1000, rel=0.01)
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1, ::-1])
    assert kernel.min() >= 0
    assert kernel.max() <= 1


def test_a_voxel_larger_than_the_ball_is_its_own_peak():
    kernel = ball_kernel(Geometry((3, 4, 5), np.diag((30.0, 20.0, 25.0, 1.0))), 1000)
    assert kernel.size == 1
    assert kernel.item() > 0


@given(_roomy())
def test_the_peak_of_a_ramp_is_its_highest_voxel(case):
    """The mean of a linear field in a ball is its value in the middle."""
    mask, geometry, rng = case
    ramp = rng.uniform(-0.1, 0.1, 3)
    indices = np.moveaxis(np.indices(mask.shape), 0, -1)
    field = 40 + (geometry.to_world(indices) - geometry.affine[:3, 3]) @ ramp
    found = suv_peak(_region(mask, geometry), field.astype(np.float32), ball_kernel(geometry, 1000))
    assert found == pytest.approx(field[mask].max(), rel=1e-5)


@given(_roomy())
def test_the_peak_is_the_mean_of_a_ball_sampled_point_by_point(case):
    """Random noise, each voxel a box of one value; a fine lattice of points fills the ball."""
    mask, geometry, rng = case
    data = rng.uniform(1, 9, mask.shape).astype(np.float32)
    axis = np.linspace(-RADIUS_MM, RADIUS_MM, 41)
    ball = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    ball = ball[np.linalg.norm(ball, axis=1) <= RADIUS_MM]
    means = [
        data[tuple(np.rint(geometry.to_index(centre + ball)).astype(int).T)].mean()
        for centre in geometry.to_world(np.argwhere(mask))
    ]
    found = suv_peak(_region(mask, geometry), data, ball_kernel(geometry, 1000))
    assert found == pytest.approx(max(means), rel=0.01)


@given(affines(), st.integers(0, 2**32 - 1))
def test_the_peak_of_a_uniform_ball_larger_than_the_kernel_is_its_value(affine, seed):
    """A kernel on the voxel nearest to the middle needs voxels up to RADIUS_MM + 2 half diagonals.

    The middle lies up to half a voxel diagonal from the nearest centre, and the kernel takes part
    of voxels whose centres lie up to another half beyond its radius.
    """
    linear = affine[:3, :3]
    diagonal = max(np.linalg.norm(linear @ (1, b, c)) for b in (-1, 1) for c in (-1, 1))
    radius = RADIUS_MM + diagonal + 1e-6
    half = np.ceil(np.linalg.norm(np.linalg.inv(linear), axis=1) * radius + 1)
    shape = tuple(int(n) for n in 2 * half + (1, 2, 3))
    geometry = Geometry(shape, affine)
    middle = geometry.to_world(half + np.random.default_rng(seed).random(3))
    indices = np.moveaxis(np.indices(shape), 0, -1)
    mask = np.linalg.norm(geometry.to_world(indices) - middle, axis=-1) <= radius
    data = np.where(mask, 7.3, 1.1).astype(np.float32)
    found = suv_peak(_region(mask, geometry), data, ball_kernel(geometry, 1000))
    assert found == pytest.approx(np.float32(7.3), rel=1e-9)


def test_the_ball_reaches_beyond_the_region():
    """Beside a hot neighbour the peak of a cold voxel is hot: PERCIST's ball ignores outlines."""
    geometry = Geometry((9, 8, 7), np.diag((4.0, 3.0, 5.0, 1.0)))
    data = np.full(geometry.shape, 2, np.float32)
    data[5] = 50
    mask = np.zeros(geometry.shape, bool)
    mask[4, 4, 3] = True
    assert suv_peak(_region(mask, geometry), data, ball_kernel(geometry, 1000)) > 10


@pytest.mark.parametrize("voxel", [(0, 0, 0), (8, 3, 6), (4, 7, 0)])
def test_at_the_edge_of_the_volume_the_mean_is_of_the_part_inside(voxel):
    geometry = Geometry((9, 8, 7), np.diag((4.0, 3.0, 5.0, 1.0)))
    data = np.full(geometry.shape, 3.5, np.float32)
    mask = np.zeros(geometry.shape, bool)
    mask[voxel] = True
    found = suv_peak(_region(mask, geometry), data, ball_kernel(geometry, 1000))
    assert found == pytest.approx(3.5)
