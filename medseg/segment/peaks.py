"""Where a landscape has peaks that are more than noise."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

CUBE = np.ones((3, 3, 3), bool)
"""A voxel and its 26 neighbours."""

FORWARD = tuple(step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0))
"""One step to each pair of opposite neighbours: 13 of 26."""


def along(step: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The voxels of an array that have a neighbour one step on, and these neighbours."""
    here = tuple(slice(max(0, -s), -s if s > 0 else None) for s in step)
    there = tuple(slice(max(0, s), s if s < 0 else None) for s in step)
    return here, there


def meeting(
    parts: NDArray[np.int32], count: int, step: tuple[int, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Where neighbours one step apart belong to two parts, and to which.

    Args:
        parts: (I, J, K), 0 is nobody's.
        count: One more than the highest number.
        step: One of `FORWARD`.

    Returns:
        Over `along(step)`, where they do; and for each such place `count` times the lower part's
        number, plus the higher one's.
    """
    here, there = along(step)
    one, other = parts[here], parts[there]
    meet = (one != other) & (one > 0) & (other > 0)
    low, high = np.minimum(one[meet], other[meet]), np.maximum(one[meet], other[meet])
    return meet, low.astype(np.int64) * count + high


def prominent_peaks(
    landscape: NDArray[np.float32], mask: NDArray[np.bool_], *, least: float, share: float = 0.0
) -> NDArray[np.intp]:
    """The peaks of a landscape that rise far enough above the saddle to any higher one.

    A peak counts if it is the highest of its mask, or if every way from it to a higher peak leads
    down by `max(least, share * its height)` or more. That is persistence by the elder rule; it is
    computed as in ToMATo (Chazal et al., Persistence-based clustering in Riemannian manifolds,
    J. ACM 60(6), 2013): each voxel belongs to the peak that it rises to, and the basins are merged
    over their saddles, highest saddle first.

    Args:
        landscape: (I, J, K) heights, positive within the mask.
        mask: Boolean (I, J, K), 26-connected: where peaks and the ways between them may lie.
        least: Depth of the saddle below the lower peak that separates two, in units of height.
        share: The same as a share of the lower peak's height.

    Returns:
        (P, 3) indices of one voxel of each peak, highest first, P at least 1.
    """
    heights = np.where(mask, landscape, -np.inf).astype(np.float32)
    markers = label(local_maxima(heights, connectivity=3) & mask, connectivity=3)
    if not markers.any():  # of an array that is flat scikit-image finds no maximum
        markers = mask.astype(np.int32)
    summits = _summits(markers)
    if len(summits) > 1:
        basins = watershed(-heights, markers, connectivity=CUBE, mask=mask)
        tops = heights[tuple(summits.T)]
        kept = _kept(tops, _saddles(heights, basins), np.maximum(least, share * tops))
        summits = summits[kept]
    return summits[np.argsort(-heights[tuple(summits.T)], kind="stable")]


def _summits(markers: NDArray[np.int32]) -> NDArray[np.intp]:
    """(P, 3) voxel of each marker: the one nearest to the middle of its plateau."""
    where = np.argwhere(markers > 0)
    numbers = markers[tuple(where.T)]
    where = where[np.argsort(numbers, kind="stable")]
    counts = np.bincount(numbers)[1:]
    starts = np.cumsum(counts) - counts
    middles = np.add.reduceat(where, starts, axis=0) / counts[:, None]
    off = np.linalg.norm(where - np.repeat(middles, counts, axis=0), axis=1)
    group = np.repeat(np.arange(len(counts)), counts)
    summits: NDArray[np.intp] = where[np.lexsort((off, group))[starts]]
    return summits


def _saddles(
    heights: NDArray[np.float32], basins: NDArray[np.int32]
) -> list[tuple[float, int, int]]:
    """(height, basin, basin) of the highest way between neighbouring basins, highest first."""
    pairs: list[NDArray[np.int64]] = []
    passes: list[NDArray[np.float32]] = []
    count = int(basins.max()) + 1
    for step in FORWARD:
        here, there = along(step)
        border, codes = meeting(basins, count, step)
        pairs.append(codes)
        passes.append(np.minimum(heights[here][border], heights[there][border]))
    code, height = np.concatenate(pairs), np.concatenate(passes)
    order = np.lexsort((code, -height))
    code, height = code[order], height[order]
    _, first = np.unique(code, return_index=True)
    first.sort()
    return [(float(height[n]), int(code[n] // count) - 1, int(code[n] % count) - 1) for n in first]


def _kept(
    tops: NDArray[np.float32],
    saddles: list[tuple[float, int, int]],
    needed: NDArray[np.floating],
) -> list[int]:
    """Indices of the peaks that remain when those that do not rise enough joined a higher one."""
    root = list(range(len(tops)))

    def find(n: int) -> int:
        while root[n] != n:
            root[n] = root[root[n]]
            n = root[n]
        return n

    for height, one, other in saddles:
        a, b = find(one), find(other)
        high, low = (a, b) if (tops[a], -a) >= (tops[b], -b) else (b, a)
        if high != low and tops[low] - height < needed[low]:
            root[low] = high
    return [n for n in range(len(tops)) if root[n] == n]
