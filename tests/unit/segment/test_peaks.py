"""Prominent peaks against the definition, computed the slow way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, label

from medseg.segment.peaks import CUBE, prominent_peaks
from tests.strategies import shapes


def prominences(heights: np.ndarray, mask: np.ndarray) -> list[tuple[float, float]]:
    """(height, prominence) of every peak, by flooding at every height that occurs.

    The prominence of the highest is infinite. Heights have to differ from voxel to voxel.
    """
    found: list[tuple[float, float]] = []
    lowered = np.where(mask, heights, -np.inf)
    for peak in np.argwhere(mask):
        top = heights[tuple(peak)]
        box = tuple(slice(max(n - 1, 0), n + 2) for n in peak)
        if lowered[box].max() > top:
            continue
        prominence = np.inf
        for level in np.sort(heights[mask & (heights <= top)])[::-1]:
            island, _ = label(mask & (heights >= level), CUBE)
            if heights[island == island[tuple(peak)]].max() > top:
                prominence = top - level
                break
        found.append((float(top), float(prominence)))
    return sorted(found, reverse=True)


@given(shapes(4, 7), st.integers(0, 2**32 - 1), st.floats(0.02, 0.5), st.sampled_from((0.0, 0.3)))
def test_exactly_the_peaks_above_the_prominence_are_found(shape, seed, least, share):
    rng = np.random.default_rng(seed)
    heights = gaussian_filter(rng.random(shape), 0.6).astype(np.float32)
    heights = (heights - heights.min() + 0.01) / np.ptp(heights)
    mask = label(rng.random(shape) < 0.8, CUBE)[0] == 1
    expected = [
        top
        for top, prominence in prominences(heights, mask)
        if prominence >= max(np.float32(least), np.float32(share) * np.float32(top))
    ]
    peaks = prominent_peaks(heights, mask, least=least, share=share)
    assert heights[tuple(peaks.T)].tolist() == expected
    assert mask[tuple(peaks.T)].all()


def test_a_plateau_is_one_peak_in_its_middle():
    heights = np.full((5, 7, 9), 0.1, np.float32)
    heights[1:4, 2:5, 3:8] = 0.9
    peaks = prominent_peaks(heights, np.ones(heights.shape, bool), least=0.01)
    assert peaks.tolist() == [[2, 3, 5]]


def test_two_plateaus_of_equal_height_are_two_peaks():
    heights = np.full((4, 5, 11), 0.1, np.float32)
    heights[1:3, 1:4, 1:3] = heights[1:3, 1:4, 7:10] = 0.9
    mask = np.ones(heights.shape, bool)
    assert len(prominent_peaks(heights, mask, least=0.79)) == 2
    assert len(prominent_peaks(heights, mask, least=0.81)) == 1


@pytest.mark.parametrize("height", [0.0, 0.4])
def test_a_flat_landscape_has_one_peak(height: float):
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2:4, 1:5] = True
    peaks = prominent_peaks(np.full(mask.shape, height, np.float32), mask, least=0.1)
    assert len(peaks) == 1
    assert mask[tuple(peaks[0])]


def test_peaks_outside_the_mask_do_not_count():
    heights = np.linspace(0, 1, 4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    mask = np.zeros(heights.shape, bool)
    mask[1, 1:4, 2:5] = True
    assert prominent_peaks(heights, mask, least=0.1).tolist() == [[1, 3, 4]]
