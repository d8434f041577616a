"""Where a network's doubt about the foreground parts a component.

Where two small lesions touch, the network hesitates between them: the probability stays above the
threshold, but its logit falls. Inside one lesion it does not, unless the lesion is so large that
its uptake varies; its parts then meet in wide cuts, and lesions that touch meet in narrow ones.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

SUREST = 1e-6
"""Probabilities closer to 0 or 1 count as that close: single precision knows no closer ones."""

WIDEST_CUT = 1.3
"""Area of the cut between two parts over the smaller one's volume to the power of 2/3, above which
they are one lesion; a ball cut in the middle has 1.9. With it none of 35 real training tumours was
split, of which 8 were without it (docs/decisions/0020)."""


def certainty(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logit of a probability: a landscape whose peaks are what the network is sure of."""
    sure: NDArray[np.float32] = logit(
        np.clip(probability.astype(np.float64), SUREST, 1 - SUREST)
    ).astype(np.float32)
    return sure


def join_wide(
    parts: NDArray[np.int32], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int32]:
    """Parts that meet in a cut wider than `WIDEST_CUT` made one, the widest first.

    Args:
        parts: (I, J, K), 0 outside, else 1, 2, ..., each with a voxel.
        spacing_mm: Of the grid.

    Returns:
        The same with fewer parts, numbered 1, 2, ...
    """
    area, volume = _cuts(parts, spacing_mm)
    name = np.arange(len(volume))
    while True:
        smaller = np.minimum(volume[:, None], volume[None, :])
        width = area / np.where(smaller > 0, smaller, np.inf) ** (2 / 3)
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
