"""Resampling against linear fields and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from medseg.core.geometry import Geometry
from medseg.formats.itk import resample
from tests.strategies import affines, geometries, shapes

OUTSIDE = -777.0


@st.composite
def sheared(draw: st.DrawFn) -> Geometry:
    """Grids whose axes are not at right angles, as a gantry tilt makes them."""
    affine = draw(affines())
    affine[:3, 2] += draw(st.floats(0.1, 0.5)) * affine[:3, 0]
    return Geometry(draw(shapes()), affine)


@st.composite
def target_inside(draw: st.DrawFn, source: Geometry) -> Geometry:
    """Another oblique grid about the middle of the source, so that many of its voxels see it."""
    target = draw(geometries())
    affine = target.affine.copy()
    middle = (np.array(source.shape) - 1) / 2
    own = (np.array(target.shape) - 1) / 2
    affine[:3, 3] = source.to_world(middle) - affine[:3, :3] @ own
    return Geometry(target.shape, affine)


def positions(geometry: Geometry) -> np.ndarray:
    """(I, J, K, 3) world positions of all voxels."""
    return geometry.to_world(np.moveaxis(np.indices(geometry.shape), 0, -1))


@given(st.data(), st.one_of(geometries(), sheared()))
def test_a_linear_field_of_the_world_is_reproduced_exactly(data: st.DataObject, source: Geometry):
    target = data.draw(target_inside(source))
    slope = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=3, max_size=3)))

    def field(grid: Geometry) -> np.ndarray:
        return (positions(grid) @ slope + 11.0).astype(np.float32)

    resampled = resample(field(source), source, target, interpolation="linear", outside=OUTSIDE)
    index = source.to_index(positions(target))
    last = np.array(source.shape) - 1
    inside = ((index >= 0) & (index <= last)).all(axis=-1)
    beyond = ((index < -0.5 - 1e-6) | (index > last + 0.5 + 1e-6)).any(axis=-1)
    assert inside.any()
    assert resampled[inside] == pytest.approx(field(target)[inside], rel=1e-5, abs=2e-3)
    assert (resampled[beyond] == OUTSIDE).all()


@given(st.data(), st.one_of(geometries(), sheared()), st.sampled_from(("linear", "nearest")))
def test_values_equal_those_of_scipy_up_to_the_edge_of_the_voxels(
    data: st.DataObject, source: Geometry, interpolation: str
):
    target = data.draw(target_inside(source))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=source.shape).astype(np.float32)
    resampled = resample(values, source, target, interpolation=interpolation, outside=OUTSIDE)
    index = source.to_index(positions(target))
    order = {"linear": 1, "nearest": 0}[interpolation]
    expected = map_coordinates(values, np.moveaxis(index, -1, 0), order=order, mode="nearest")
    last = np.array(source.shape) - 1
    within = ((index > -0.5 + 1e-6) & (index < last + 0.5 - 1e-6)).all(axis=-1)
    if interpolation == "nearest":  # at equal distance either neighbour is right
        within &= (np.abs(index % 1 - 0.5) > 1e-6).all(axis=-1)
    assert resampled[within] == pytest.approx(expected[within], abs=1e-5)


@given(geometries(), st.integers(0, 2**32 - 1))
def test_resampling_onto_the_same_grid_changes_nothing(grid: Geometry, seed: int):
    values = np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32)
    for interpolation in ("linear", "nearest"):
        same = resample(values, grid, grid, interpolation=interpolation, outside=OUTSIDE)
        assert same == pytest.approx(values, abs=1e-6)


@given(st.data(), geometries(), st.permutations((0, 1, 2)))
def test_order_in_memory_and_order_of_axes_change_nothing(
    data: st.DataObject, source: Geometry, order: list[int]
):
    target = data.draw(target_inside(source))
    values = np.random.default_rng(1).normal(size=source.shape).astype(np.float32)
    expected = resample(values, source, target, interpolation="linear", outside=OUTSIDE)

    fortran = np.asfortranarray(values)
    np.testing.assert_allclose(
        resample(fortran, source, target, interpolation="linear", outside=OUTSIDE),
        expected,
        atol=1e-4,
    )

    affine = source.affine[:, [*order, 3]]
    shape = (source.shape[order[0]], source.shape[order[1]], source.shape[order[2]])
    again = resample(
        values.transpose(order),
        Geometry(shape, affine),
        target,
        interpolation="linear",
        outside=OUTSIDE,
    )
    # A point on the very face of the outermost voxels may fall to either side in the last bit.
    at = source.to_index(target.to_world(np.moveaxis(np.indices(target.shape), 0, -1)))
    depth = np.minimum(at + 0.5, np.array(source.shape) - 0.5 - at).min(axis=-1)
    inner = np.abs(depth) > 1e-6
    np.testing.assert_allclose(again[inner], expected[inner], atol=1e-4)


def test_a_single_slice_can_be_resampled():
    source = Geometry((5, 4, 1), np.diag((2.0, -3.0, 7.0, 1.0)))
    values = np.arange(20, dtype=np.float32).reshape(5, 4, 1)
    target = Geometry((5, 4, 3), np.diag((2.0, -3.0, 2.0, 1.0)))
    resampled = resample(values, source, target, interpolation="linear", outside=OUTSIDE)
    np.testing.assert_allclose(resampled[:, :, 1], values[:, :, 0])
    assert (resampled[:, :, 2] == OUTSIDE).all()


def test_wrong_arrays_and_two_frames_of_reference_are_refused():
    here = Geometry((3, 4, 5), np.diag((1.0, 2.0, 3.0, 1.0)), "1.2.3")
    there = Geometry((3, 4, 5), np.diag((1.0, 2.0, 3.0, 1.0)), "1.2.4")
    values = np.ones((3, 4, 5), np.float32)
    with pytest.raises(ValueError, match="frames of reference"):
        resample(values, here, there, interpolation="linear", outside=0)
    with pytest.raises(ValueError, match="float64"):
        resample(values.astype(np.float64), here, here, interpolation="linear", outside=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="on a grid of"):
        resample(values[1:], here, here, interpolation="linear", outside=0)
