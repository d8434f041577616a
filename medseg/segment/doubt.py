"""Where a network's doubt about centres parts what votes and peaks of the heatmap left whole.

Where two small lesions touch, the heatmap hardly falls between them, and less than its own scale
shows: from 0.02 to 0.01 is about as much doubt as from 0.9 to 0.8. Its logit says so. It also
varies within a lesion so large that its uptake does; the parts of such a one meet in wide cuts, and
lesions that touch meet in narrow ones.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

SUREST = 1e-6
"""Probabilities closer to 0 or 1 count as that close: single precision knows no closer ones."""

WIDEST_CUT = 1.8
"""Area of the cut between two parts over the smaller one's volume to the power of 2/3, above which
they are one lesion. A ball cut in the middle has 1.9 along its voxels, up to 3.3 across them, whose
faces are counted (docs/decisions/0020)."""

FEWEST_VOXELS = 8
"""Of what a part is split into: fewer show no valley."""


def certainty(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logit of a probability, 0 being the least: its peaks are what a network is sure of."""
    sure: NDArray[np.float32] = logit(
        np.clip(probability.astype(np.float64), SUREST, 1 - SUREST)
    ).astype(np.float32)
    return sure - np.float32(logit(SUREST))


def join_wide(
    parts: NDArray[np.int32], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int32]:
    """Parts that meet in a cut wider than `WIDEST_CUT` made one, the widest first.

    So is a part of fewer voxels than `FEWEST_VOXELS`, however narrow the cut.

    Args:
        parts: (I, J, K), 0 outside, else 1, 2, ..., each with a voxel.
        spacing_mm: Of the grid.

    Returns:
        The same with fewer parts, numbered 1, 2, ...
    """
    area, volume = _cuts(parts, spacing_mm)
    crumb = FEWEST_VOXELS * float(np.prod(spacing_mm))
    name = np.arange(len(volume))
    while True:
        smaller = np.minimum(volume[:, None], volume[None, :])
        width = area / np.where(smaller > 0, smaller, np.inf) ** (2 / 3)
        width[(smaller < crumb) & (area > 0)] += WIDEST_CUT
        low, high = sorted(np.unravel_index(int(width.argmax()), width.shape))
        if width[low, high] <= WIDEST_CUT:
            break
        name[name == high] = low
        volume[low] += volume[high]
        volume[high] = 0
        area[low] += area[high]
        area[:, low] += area[:, high]
        area[high] = area[:, high] = area[low, low] = 0
    joined: NDArray[np.int32] = np.unique(name, return_inverse=True)[1].astype(np.int32)[parts]
    return joined


def _cuts(
    parts: NDArray[np.int32], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(P + 1, P + 1) area in mm2 of the faces between parts, and (P + 1,) their volumes in mm3."""
    count = int(parts.max()) + 1
    area = np.zeros((count, count))
    for axis, step in enumerate(spacing_mm):
        first, second = np.moveaxis(parts, axis, 0)[:-1], np.moveaxis(parts, axis, 0)[1:]
        meet = (first != second) & (first > 0) & (second > 0)
        np.add.at(area, (first[meet], second[meet]), np.prod(spacing_mm) / step)
    voxels = np.bincount(parts.ravel(), minlength=count).astype(np.float64)
    volume: NDArray[np.float64] = voxels * float(np.prod(spacing_mm))
    volume[0] = 0
    both: NDArray[np.float64] = area + area.T
    return both, volume
