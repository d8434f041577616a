"""The model's grid and what is sampled on it."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import GeometryMismatchError
from medseg.segment.prepare import axial_coverage, model_grid, prepare, smoothed
from tests.strategies import geometries
from tests.unit.segment.bodies import positions

spacings = st.tuples(*[st.floats(1.0, 6.0)] * 3)


def grid(shape, diagonal, origin=(0.0, 0.0, 0.0), frame: str | None = None) -> Geometry:
    affine = np.diag((*diagonal, 1.0))
    affine[:3, 3] = origin
    return Geometry(shape, affine, frame)


def noise(geometry: Geometry, unit: IntensityUnit = IntensityUnit.SUV) -> Volume:
    data = np.random.default_rng(5).normal(3, 1, geometry.shape).astype(np.float32)
    return Volume(data, geometry, unit)


@given(geometries(), spacings)
def test_the_grid_runs_along_the_patient_and_covers_every_voxel(main: Geometry, spacing):
    target = model_grid(main, spacing)
    np.testing.assert_allclose(target.affine[:3, :3], np.diag(spacing))
    index = target.to_index(main.corners_mm)
    last = np.array(target.shape) - 1
    assert (index > -0.01).all()
    assert (index < last + 0.01).all()
    assert (index.max(axis=0) > last - 1).all(), "a plane more than it needs"


def test_a_volume_at_the_models_spacing_keeps_its_voxels_in_every_order_of_storage():
    stored = noise(grid((6, 8, 11), (2.0, 3.0, 4.5), (-20, 14, 7)))
    expected = prepare({"pet": stored}, ("pet",), (2.0, 3.0, 4.5)).data[0]
    np.testing.assert_allclose(expected, stored.data, atol=1e-6)
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        step = tuple(slice(None, None, flip) for flip in flips)
        affine = stored.geometry.affine[:, [*order, 3]].copy()
        data = np.ascontiguousarray(stored.data.transpose(order)[step])
        start = [
            0 if f > 0 else stored.data.shape[a] - 1 for a, f in zip(order, flips, strict=True)
        ]
        affine[:3, 3] += affine[:3, :3] @ start
        affine[:3, :3] *= flips
        again = Volume(data, Geometry(data.shape, affine), stored.unit)
        prepared = prepare({"pet": again}, ("pet",), (2.0, 3.0, 4.5))
        np.testing.assert_allclose(prepared.data[0], expected, atol=1e-5)


@given(geometries(6, 14), spacings)
def test_a_linear_field_keeps_its_values_where_the_volume_is(main: Geometry, spacing):
    slope = np.array((0.3, -0.5, 0.2))
    data = (positions(main) @ slope + 4).astype(np.float32)
    volume = Volume(data, main, IntensityUnit.SUV)
    fine = tuple(float(mm) for mm in np.minimum(spacing, 0.9 * min(main.spacing_mm)))
    study = prepare({"pet": volume}, ("pet",), fine)
    index = main.to_index(positions(study.geometry))
    inside = ((index >= 0) & (index <= np.array(main.shape) - 1)).all(axis=-1)
    expected = positions(study.geometry)[inside] @ slope + 4
    np.testing.assert_allclose(study.data[0][inside], expected, atol=1e-3)


def test_channels_follow_the_models_roles_and_air_lies_beyond_a_ct():
    pet = noise(grid((8, 9, 20), (4.0, 4.1, 3.0)))
    ct = noise(grid((8, 9, 5), (4.0, 4.1, 3.0)), IntensityUnit.HU)
    study = prepare({"ct": ct, "mr": pet, "pet": pet}, ("pet", "ct"), (4.0, 4.1, 3.0))
    assert study.data.shape == (2, *study.geometry.shape)
    np.testing.assert_allclose(study.data[0], pet.data, atol=1e-5)
    assert (study.data[1][..., 6:] == -1000).all()
    np.testing.assert_allclose(study.data[1][..., :5], ct.data, atol=1e-5)


def test_beyond_an_oblique_pet_there_is_no_uptake():
    affine = grid((9, 10, 12), (3.0, 3.2, 4.0)).affine.copy()
    affine[:2, :2] = affine[:2, :2] @ np.array([[0.8, -0.6], [0.6, 0.8]])
    study = prepare({"pet": noise(Geometry((9, 10, 12), affine))}, ("pet",), (3.0, 3.0, 4.0))
    assert study.data[0, 0, 0].max() == 0


def test_a_blur_before_a_coarser_grid_is_as_wide_as_the_formula_says():
    geometry = grid((61, 57, 41), (1.0, 1.25, 3.0))
    data = np.zeros(geometry.shape, np.float32)
    data[30, 28, 20] = 1000
    blurred = smoothed(Volume(data, geometry, IntensityUnit.SUV), (5.0, 1.5, 3.5))
    assert blurred.sum() == pytest.approx(1000, rel=1e-3)
    profile = blurred.sum(axis=(1, 2))
    sigma_mm = np.sqrt((profile * (np.arange(61) - 30) ** 2).sum() / profile.sum()) * 1.0
    assert sigma_mm == pytest.approx(np.sqrt(5.0**2 - 1.0**2) / 2.3548, rel=0.02)
    assert np.count_nonzero(blurred.sum(axis=(0, 2))) == 1, "1.5 mm from 1.25 mm needs no blur"
    assert np.count_nonzero(blurred.sum(axis=(0, 1))) == 1


def test_the_blur_follows_the_world_axis_and_not_the_array_axis():
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    affine[2, 0], affine[0, 1], affine[1, 2] = -1.0, 1.1, 1.2  # stored as S, R, A
    data = np.zeros((31, 29, 27), np.float32)
    data[15, 14, 13] = 1
    volume = Volume(data, Geometry((31, 29, 27), affine), IntensityUnit.SUV)
    blurred = smoothed(volume, (1.1, 1.2, 5.0))
    assert np.count_nonzero(blurred.sum(axis=(1, 2))) > 5
    assert np.count_nonzero(blurred.sum(axis=(0, 2))) == 1
    assert np.count_nonzero(blurred.sum(axis=(0, 1))) == 1


def test_fine_stripes_do_not_alias_on_a_coarse_grid():
    geometry = grid((60, 9, 10), (1.0, 4.0, 5.0))
    data = np.zeros(geometry.shape, np.float32)
    data[::4] = 8  # every 4 mm: a grid of 4 mm would see all or nothing
    study = prepare({"pet": Volume(data, geometry, IntensityUnit.SUV)}, ("pet",), (4.0, 4.0, 5.0))
    assert study.data[0, 3:-3].mean() == pytest.approx(2, abs=1.0)
    assert study.data[0, 3:-3].max() < 4


def test_a_missing_volume_is_our_bug():
    with pytest.raises(ValueError, match="ct"):
        prepare({"pet": noise(grid((5, 6, 7), (2, 3, 4)))}, ("pet", "ct"), (4.0, 4.0, 4.0))


def test_another_frame_of_reference_and_another_place_are_the_studys_fault():
    pet = noise(grid((5, 6, 7), (2, 3, 4), frame="1.2.3"))
    other = noise(grid((5, 6, 7), (2, 3, 4), frame="1.2.4"))
    away = noise(grid((5, 6, 7), (2, 3, 4), (0, 0, 500)))
    beside = noise(grid((5, 6, 7), (2, 3, 4), (4, 0, 0), frame="1.2.3"))
    with pytest.raises(GeometryMismatchError, match="frame of reference"):
        prepare({"pet": pet, "ct": other}, ("pet", "ct"), (4.0, 4.0, 4.0))
    with pytest.raises(GeometryMismatchError, match="no place in common"):
        prepare({"pet": pet, "ct": away}, ("pet", "ct"), (4.0, 4.0, 4.0))
    assert prepare({"pet": pet, "ct": beside}, ("pet", "ct"), (4.0, 4.0, 4.0)).data.any()


def test_coverage_is_counted_along_the_body():
    main = grid((5, 6, 20), (2, 3, 4))
    assert axial_coverage(main, main) == pytest.approx(1)
    assert axial_coverage(grid((9, 9, 10), (2, 3, 4)), main) == pytest.approx(0.5)
    assert axial_coverage(grid((9, 9, 10), (2, 3, -4), (0, 0, 36)), main) == pytest.approx(0.5)
    assert axial_coverage(grid((3, 3, 40), (2, 3, 4), (0, 0, -20)), main) == pytest.approx(1)
