"""Where the voxels of a component say that the centres of their instances are."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from skimage.segmentation import watershed

from medseg.core.geometry import Geometry
from medseg.segment.peaks import CUBE
from medseg.segment.pieces import largest_pieces

VOTE_SIGMA_VOXELS = 1.0
"""Width of a vote along the coarsest axis; with 0.75 noisy offsets split more lesions that lay
alone (docs/decisions/0012)."""

SUPPORTED_FROM = 0.1
"""Votes in a voxel from which a centre may lie there, outside the component too: the middle of a
hollow lesion is none of its voxels."""


def votes(
    mask: NDArray[np.bool_], offsets_mm: NDArray[np.float32], geometry: Geometry
) -> NDArray[np.float64]:
    """Where each voxel of a mask sees the centre of its instance.

    Args:
        mask: Boolean (I, J, K), a component in a box of the grid.
        offsets_mm: (3, I, J, K) in the same box, RAS+ mm.
        geometry: Of the whole grid; only its axes count.

    Returns:
        (N, 3) positions in voxels of the box, in the order of `np.argwhere(mask)`.
    """
    ways = np.linalg.solve(geometry.affine[:3, :3], offsets_mm[:, mask].astype(np.float64))
    places: NDArray[np.float64] = np.argwhere(mask) + ways.T
    return places


def centre_landscape(
    mask: NDArray[np.bool_],
    seen: NDArray[np.float64],
    heatmap: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float32]:
    """How much speaks for a centre in each voxel, by the heatmap and by the votes alike.

    Where voxels do not agree on a centre there is one vote in each; where they do there are many.
    So the votes' part is n / (1 + n), whatever the size of the instance. It is flat where many
    votes of a large instance scatter, and falls to 0 between two instances, whose voxels point
    away from each other. The heatmap counts only where the component or its votes are, because the
    box may hold centres of others.

    Args:
        mask: Boolean (I, J, K), one component in a box.
        seen: (N, 3) votes, in voxels of the box; those outside are lost.
        heatmap: (I, J, K) float32 in 0..1.
        spacing_mm: Of the grid.

    Returns:
        (I, J, K) float32 in 0..1.
    """
    index = np.round(seen).astype(np.intp)
    inside = ((index >= 0) & (index < mask.shape)).all(axis=1)
    flat = np.ravel_multi_index(tuple(index[inside].T), mask.shape)
    count = np.bincount(flat, minlength=mask.size).reshape(mask.shape).astype(np.float32)
    sigma = VOTE_SIGMA_VOXELS * max(spacing_mm) / np.array(spacing_mm)
    density = gaussian_filter(count, sigma, mode="constant")
    supported = mask | (density >= SUPPORTED_FROM)
    landscape: NDArray[np.float32] = (np.where(supported, heatmap, 0) + density / (1 + density)) / 2
    return landscape


def split_by_votes(
    mask: NDArray[np.bool_],
    seen: NDArray[np.float64],
    peaks: NDArray[np.intp],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.int32]:
    """Give each voxel of a component to the peak that its vote is nearest to, in mm.

    Voxels that are cut off from most of their peak's own go to whoever surrounds them.

    Args:
        mask: Boolean (I, J, K), one component.
        seen: (N, 3) its votes, in voxels.
        peaks: (P, 3) indices.
        spacing_mm: Of the grid.

    Returns:
        (I, J, K) int32: 0 outside the mask, else 1 + the row of the peak; a peak may get none.
    """
    _, nearest = KDTree(peaks * spacing_mm).query(seen * spacing_mm)
    parts = np.zeros(mask.shape, np.int32)
    parts[mask] = nearest + 1
    markers = np.where(largest_pieces(parts), parts, 0)
    whole: NDArray[np.int32] = watershed(mask, markers, connectivity=CUBE, mask=mask)
    return whole
