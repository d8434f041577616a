"""Of a label map: the piece of each label that counts, and what lies nearest to each label."""

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt


def largest_pieces(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(I, J, K) whether a voxel is in the largest piece of its label (26-connectivity).

    Of pieces as large the one that comes first; nowhere where there is no label.
    """
    pieces, count = cc3d.connected_components(labels, connectivity=26, return_N=True)
    label_of = np.zeros(count + 1, np.int32)
    there = labels > 0
    label_of[pieces[there]] = labels[there]
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    # By label, largest piece first.
    order = np.lexsort((-sizes[1:], label_of[1:])) + 1
    _, first = np.unique(label_of[order], return_index=True)
    is_largest = np.zeros(count + 1, bool)
    is_largest[order[first]] = True
    found: NDArray[np.bool_] = is_largest[pieces]
    return found


def territories(
    labels: NDArray[np.integer], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int32]:
    """The instance that each voxel is nearest to in mm (Voronoi); 0 where there is none at all."""
    if not labels.any():
        return np.zeros(labels.shape, np.int32)
    nearest = distance_transform_edt(
        labels == 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    owned: NDArray[np.int32] = labels[tuple(nearest)].astype(np.int32)
    return owned
