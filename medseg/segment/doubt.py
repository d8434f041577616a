"""Where a network's doubt about centres parts what votes and peaks of the heatmap left as one.

Where two small lesions touch, the heatmap hardly falls between them, and less than its own scale
shows: from 0.02 to 0.01 is about as much doubt as from 0.9 to 0.8. Its logit says so. It also
varies within a lesion so large that its uptake does, whose parts are apt to meet in wider cuts than
lesions that touch.
"""

import heapq

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from medseg.segment.peaks import FORWARD, meeting

SUREST = 1e-6
"""Probabilities closer to 0 or 1 count as that close: single precision knows no closer ones."""

WIDEST_CUT = 1.8
"""Area of the cut between two parts over the smaller one's volume to the power of 2/3, above which
they are one lesion. A ball cut in the middle has 1.9 along its voxels, up to 3.3 across them, whose
faces are counted; an ellipsoid 1.1 times as long as wide, cut across, 1.8 (docs/decisions/0020)."""

FEWEST_VOXELS = 8
"""Of what a part is split into: fewer show no valley."""


def certainty(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logit of a probability: a landscape whose peaks are what a network is sure of."""
    sure: NDArray[np.float32] = logit(
        np.clip(probability.astype(np.float64), SUREST, 1 - SUREST)
    ).astype(np.float32)
    return sure


def join_wide(
    parts: NDArray[np.int32], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int32]:
    """Parts that meet in a cut wider than `WIDEST_CUT` made one, the widest first.

    A part of fewer voxels than `FEWEST_VOXELS` goes before them to what it touches most. The time
    grows with the voxels, and with N log² N of the pairs of parts that touch, however many touch
    one: of two, the one that touches fewer goes into the other. Of cuts equally wide the same one
    goes first each time.

    Args:
        parts: (I, J, K), 0 outside, else 1, 2, ..., each with a voxel.
        spacing_mm: Of the grid.

    Returns:
        The same with fewer parts, numbered 1, 2, ...
    """
    voxels = np.bincount(parts.ravel()).tolist()
    area = _touching(parts, spacing_mm)
    voxel_mm3 = float(np.prod(spacing_mm))
    lowest = list(range(len(voxels)))  # number of all that a part holds

    def wide(one: int, other: int) -> tuple[float, int, int, int, int]:
        """The cut between two as an entry of the queue, whose least comes first."""
        low, high = sorted((one, other), key=lowest.__getitem__)
        fewer = min(voxels[one], voxels[other])
        width = area[one][other] / (fewer * voxel_mm3) ** (2 / 3)
        crumb = 2 * WIDEST_CUT if fewer < FEWEST_VOXELS else 0
        return -(width + crumb), lowest[low], lowest[high], low, high

    queue = [wide(one, other) for one, those in enumerate(area) for other in those if one < other]
    heapq.heapify(queue)
    into = list(range(len(voxels)))
    while queue and -queue[0][0] > WIDEST_CUT:
        entry = heapq.heappop(queue)
        *_, one, other = entry
        if other not in area[one]:
            continue  # one of the two is gone
        now = wide(one, other)
        if now != entry:  # a part that has grown only makes its cuts narrower
            heapq.heappush(queue, now)
            continue
        kept, gone = (one, other) if len(area[one]) >= len(area[other]) else (other, one)
        into[gone] = kept
        voxels[kept] += voxels[gone]
        lowest[kept] = min(lowest[kept], lowest[gone])
        del area[kept][gone], area[gone][kept]
        for beside, shared in area[gone].items():
            del area[beside][gone]
            area[kept][beside] = area[beside][kept] = area[kept].get(beside, 0.0) + shared
        for beside in area[gone]:  # these cuts may be wider than before
            heapq.heappush(queue, wide(kept, beside))
        area[gone] = {}
    name = np.array([lowest[_end(into, number)] for number in range(len(into))])
    joined: NDArray[np.int32] = np.unique(name, return_inverse=True)[1].astype(np.int32)[parts]
    return joined


def _end(into: list[int], number: int) -> int:
    """The part that a part is in, by way of those that it went into; shortens the way."""
    while into[number] != number:
        into[number] = into[into[number]]
        number = into[number]
    return number


def _touching(
    parts: NDArray[np.int32], spacing_mm: tuple[float, float, float]
) -> list[dict[int, float]]:
    """For each part those it touches, corners included, and the area of common faces in mm2."""
    count = int(parts.max()) + 1
    pairs: list[NDArray[np.int64]] = []
    areas: list[NDArray[np.float64]] = []
    for step in FORWARD:
        _, codes = meeting(parts, count, step)
        pairs.append(codes)
        across = np.prod(spacing_mm) / np.dot(np.abs(step), spacing_mm)
        areas.append(np.full(len(codes), across if np.abs(step).sum() == 1 else 0.0))
    touching, which = np.unique(np.concatenate(pairs), return_inverse=True)
    sums = np.bincount(which, np.concatenate(areas), minlength=len(touching))
    beside: list[dict[int, float]] = [{} for _ in range(count)]
    for code, shared in zip(touching.tolist(), sums.tolist(), strict=True):
        low, high = divmod(code, count)
        beside[low][high] = beside[high][low] = shared
    return beside
