"""An outline holds exactly the pixels of its mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import points_in_poly

from medseg.formats.outlines import outlines


def filled(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Which pixel centres lie inside an odd number of times."""
    centres = np.argwhere(np.ones(shape))
    inside = np.zeros(len(centres), int)
    for polygon in polygons:
        inside += points_in_poly(centres, polygon)
    return (inside % 2 == 1).reshape(shape)


def area(polygon: np.ndarray) -> float:
    ahead = np.roll(polygon, -1, axis=0)
    return 0.5 * float((polygon[:, 0] * ahead[:, 1] - polygon[:, 1] * ahead[:, 0]).sum())


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.9))
def test_any_mask_is_filled_again_with_its_holes(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((14, 9)) < share
    polygons = list(outlines(mask))
    assert np.array_equal(filled(polygons, mask.shape), mask)
    assert sum(area(one) for one in polygons) == pytest.approx(mask.sum())
    assert len(polygons) == ndimage.label(mask)[1]


def test_nested_rings_are_two_polygons_of_the_same_sense() -> None:
    mask = np.zeros((15, 12), bool)
    mask[1:14, 1:11] = True
    mask[3:12, 3:9] = False
    mask[5:10, 4:8] = True
    mask[6:8, 5:7] = False
    polygons = list(outlines(mask))
    assert sorted(area(one) for one in polygons) == [16, 76]
    assert np.array_equal(filled(polygons, mask.shape), mask)


def test_corners_only_are_kept() -> None:
    mask = np.zeros((8, 7), bool)
    mask[2:7, 3:5] = True
    (polygon,) = outlines(mask)
    assert {tuple(corner) for corner in polygon.tolist()} == {
        (1.5, 2.5), (6.5, 2.5), (6.5, 4.5), (1.5, 4.5)
    }  # fmt: skip
    assert len(polygon) == 4
