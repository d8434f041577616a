"""Lesions paired by their bounding boxes, as nnDetection does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects


@dataclass(frozen=True, eq=False)
class Boxes:
    """The bounding boxes of labels.

    Attributes:
        labels: (N,) ascending.
        low, high: (N, 3) ends along the array axes, a voxel beyond the outermost voxels' indices
            as nnDetection's `instances_to_boxes` draws them, so that one voxel is a box of 2.
    """

    labels: NDArray[np.intp]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def boxes_of(labels: NDArray[np.integer]) -> Boxes:
    """The bounding box of every label that occurs."""
    found = [(n, box) for n, box in enumerate(find_objects(labels), start=1) if box is not None]
    ends = np.array([[(s.start, s.stop) for s in box] for _, box in found], float)
    ends = ends.reshape(len(found), 3, 2)
    return Boxes(np.array([n for n, _ in found], np.intp), ends[..., 0] - 1, ends[..., 1])


def pair_boxes(
    prediction: Boxes, reference: Boxes, confidences: NDArray[np.float64], least_iou: float
) -> list[tuple[int, int]]:
    """Pair boxes one to one, as COCO and nnDetection do.

    The most confident prediction first takes the free reference box with which it has the highest
    IoU, if that reaches the least (Baumgartner et al. 2021, doi 10.1007/978-3-030-87240-3_51).
    nnDetection keeps the 100 most confident of a case; here all count.

    Args:
        prediction: N boxes.
        reference: M boxes.
        confidences: (N,); of equal ones the first is served first.
        least_iou: IoU from which two boxes may be paired.

    Returns:
        (predicted, reference) rows.
    """
    volume = np.prod(reference.high - reference.low, axis=1)
    # Only boxes that meet along one axis can meet: sorted by their start, few are looked at.
    axis = int(np.argmax(np.ptp(reference.low, axis=0))) if len(volume) else 0
    order = np.argsort(reference.low[:, axis], kind="stable")
    starts = reference.low[order, axis]
    longest = float((reference.high - reference.low)[:, axis].max(initial=0))
    free = np.ones(len(volume), bool)
    pairs: list[tuple[int, int]] = []
    for row in np.argsort(-confidences, kind="stable"):
        low, high = prediction.low[row], prediction.high[row]
        first = np.searchsorted(starts, low[axis] - longest, "left")
        near = np.sort(order[first : np.searchsorted(starts, high[axis], "right")])
        sides = np.minimum(high, reference.high[near]) - np.maximum(low, reference.low[near])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        iou = np.where(free[near], shared / (np.prod(high - low) + volume[near] - shared), -1)
        if not len(near) or iou.max() < least_iou:
            continue
        # Of equally good ones nnDetection takes the last.
        best = int(near[len(near) - 1 - int(np.argmax(iou[::-1]))])
        free[best] = False
        pairs.append((int(row), best))
    return pairs
