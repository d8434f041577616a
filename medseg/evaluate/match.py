"""Which predicted and which reference lesions overlap, and which belong together."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The pairs of labels that share a voxel; all others share none.

    Attributes:
        predicted: (N,) predicted label of each pair.
        reference: (N,) reference label of each pair; pairs ascend by reference, then predicted.
        voxels: (N,) int64, voxels that the pair shares, at least 1.
        predicted_voxels: (L + 1,) int64, voxels of each predicted label; 0 for one that is absent.
        reference_voxels: (M + 1,) int64, the same of the reference.
    """

    predicted: NDArray[np.int64]
    reference: NDArray[np.int64]
    voxels: NDArray[np.int64]
    predicted_voxels: NDArray[np.int64]
    reference_voxels: NDArray[np.int64]

    @property
    def predicted_labels(self) -> NDArray[np.int64]:
        """Predicted labels that occur, ascending."""
        return np.flatnonzero(self.predicted_voxels[1:]) + 1

    @property
    def reference_labels(self) -> NDArray[np.int64]:
        """Reference labels that occur, ascending."""
        return np.flatnonzero(self.reference_voxels[1:]) + 1

    @property
    def iou(self) -> NDArray[np.float64]:
        """(N,) intersection over union of each pair, above 0 and up to 1."""
        either = self.predicted_voxels[self.predicted] + self.reference_voxels[self.reference]
        shares: NDArray[np.float64] = self.voxels / (either - self.voxels)
        return shares


def overlaps(
    prediction: NDArray[np.unsignedinteger], reference: NDArray[np.unsignedinteger]
) -> Overlaps:
    """Count the voxels that predicted and reference labels share, in one pass.

    Args:
        prediction: (I, J, K) labels; 0 is background.
        reference: (I, J, K) labels on the same grid.
    """
    both = (prediction > 0) & (reference > 0)
    sizes = np.bincount(prediction.ravel()), np.bincount(reference.ravel())
    count = len(sizes[0])
    code = reference[both].astype(np.int64) * count + prediction[both]
    pairs, voxels = np.unique(code, return_counts=True)
    for size in sizes:
        size[0] = 0
    return Overlaps(pairs % count, pairs // count, voxels.astype(np.int64), *sizes)


def at_least(found: Overlaps, iou: float) -> Overlaps:
    """The pairs whose IoU is at least that; the sizes of the labels stay."""
    kept = found.iou >= iou
    return replace(
        found,
        predicted=found.predicted[kept],
        reference=found.reference[kept],
        voxels=found.voxels[kept],
    )


def shared_voxels(found: Overlaps, reference: int, predicted: int) -> int:
    """Voxels that two labels share; 0 where they do not overlap."""
    first, end = np.searchsorted(found.reference, (reference, reference + 1))
    row = first + np.searchsorted(found.predicted[first:end], predicted)
    return int(found.voxels[row]) if row < end and found.predicted[row] == predicted else 0


def match(found: Overlaps) -> NDArray[np.intp]:
    """The rows of `found` that pair lesions one to one with the highest sum of IoU.

    Lesions can only compete within a group that is connected by overlaps, so the assignment
    (Hungarian, scipy) is solved for each group, and many lesions cost no more than many groups.

    Returns:
        Row numbers, ascending.
    """
    offset = len(found.reference_voxels)
    nodes = offset + len(found.predicted_voxels)
    graph = coo_array(
        (np.ones(len(found.voxels)), (found.reference, found.predicted + offset)), (nodes, nodes)
    )
    _, group = connected_components(graph, directed=False)
    of_row = group[found.reference]
    order = np.argsort(of_row, kind="stable")
    borders = np.flatnonzero(np.diff(of_row[order])) + 1
    chosen: list[int] = []
    iou = found.iou
    for rows in np.split(order, borders):
        references, i = np.unique(found.reference[rows], return_inverse=True)
        predicted, j = np.unique(found.predicted[rows], return_inverse=True)
        table = np.zeros((len(references), len(predicted)))
        row_at = np.full(table.shape, -1)
        table[i, j] = iou[rows]
        row_at[i, j] = rows
        best = row_at[linear_sum_assignment(table, maximize=True)]
        chosen += best[best >= 0].tolist()
    return np.sort(np.array(chosen, np.intp))
