"""Grey levels and outlines of what lies in a plane."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit
from medseg.formats.itk import resample
from medseg.report import planes
from medseg.report.sampling import GreyScale, outlines, png, sample
from tests.strategies import geometries

SUV = GreyScale(0, 10, IntensityUnit.SUV)
HU = GreyScale(-160, 240, IntensityUnit.HU)


@given(geometries(), st.integers(0, 2**32 - 1), st.sampled_from(("linear", "nearest")))
def test_sampling_a_part_gives_what_the_whole_would(
    geometry: Geometry, seed: int, interpolation: str
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=geometry.shape).astype(np.float32)
    middle = geometry.to_world(rng.uniform(-0.3, 1.3, 3) * geometry.shape)
    plane = planes.slice_plane(geometry, middle, (9.0, 15.0))
    grid = plane.grid(0.75)
    options = {"interpolation": interpolation, "outside": -9.0}
    part = sample(data, geometry, grid, **options)  # type: ignore[arg-type]
    whole = resample(data, geometry, grid, **options)  # type: ignore[arg-type]
    assert np.allclose(part, whole, atol=1e-4)


def test_pet_is_dark_where_it_is_hot_and_ct_is_bright_where_it_is_dense() -> None:
    values = np.array([[-500, 0, 5, 10, 500]], np.float32)
    assert SUV.levels(values).tolist() == [[255, 255, 128, 0, 0]]
    assert HU.levels(values).tolist() == [[0, 102, 105, 108, 255]]


def test_the_grey_scale_is_said_with_its_unit() -> None:
    assert SUV.sentence == "Grey scale: white is SUV 0 or less, black is SUV 10 or more."
    assert HU.sentence == "Grey scale: black is -160 HU or less, white is 240 HU or more."


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))


def test_a_picture_has_its_columns_across_and_its_rows_down() -> None:
    values = np.zeros((4, 7), np.float32)
    values[3, 0] = 10
    picture = opened(png(values, SUV))
    assert picture.mode == "L"
    assert picture.size == (4, 7)
    assert picture.getpixel((3, 0)) == 0
    assert picture.getpixel((0, 6)) == 255


def test_what_was_not_acquired_is_transparent_and_takes_no_grey() -> None:
    values = np.array([[5, np.nan], [np.nan, 5]], np.float32)
    picture = opened(png(values, SUV))
    assert picture.mode == "LA"
    assert np.asarray(picture)[:, :, 1].tolist() == [[255, 0], [0, 255]]


def area(outline: np.ndarray) -> float:
    x, y = outline[:, 0], outline[:, 1]
    return float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:])) / 2


def test_an_outline_runs_along_the_edges_of_the_pixels() -> None:
    mask = np.zeros((60, 90), bool)
    mask[20:40, 30:80] = True
    (outline,) = outlines(mask, 0.5)
    assert outline.min(axis=0) == pytest.approx((10.0, 15.0))
    assert outline.max(axis=0) == pytest.approx((20.0, 40.0))
    assert abs(area(outline)) == pytest.approx(250, rel=0.005)


def test_a_hole_has_an_outline_of_the_opposite_sense() -> None:
    mask = np.zeros((60, 90), bool)
    mask[10:50, 20:80] = True
    mask[20:40, 40:60] = False
    assert sum(area(outline) for outline in outlines(mask, 1.0)) == pytest.approx(
        np.copysign(2000, area(outlines(mask, 1.0)[0])), rel=0.01
    )


def test_a_mask_cut_by_the_picture_has_an_open_outline() -> None:
    mask = np.zeros((60, 90), bool)
    mask[20:40, 70:] = True
    (outline,) = outlines(mask, 1.0)
    assert not np.array_equal(outline[0], outline[-1])
