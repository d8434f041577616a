"""Features of regions of any size on one small grid: RoIAlign in three dimensions, in plain torch.

After He et al. 2017 (arXiv 1703.06870), with the half-voxel correction of Detectron2. A region is a
box along the axes, so that the interpolation is one of each axis after the other: three small
matrix products, the same bit for bit on every run, and no compiled extension.

Boxes are (first along I, J, K, last along I, J, K) in voxels, edge to edge: voxel n reaches from n
to n + 1.
"""

import torch
from torch import Tensor

Shape = tuple[int, int, int]

SAMPLES = 2
"""Points along each axis of a bin, whose mean is taken."""


def roi_align(features: Tensor, boxes: Tensor, size: Shape, samples: int = SAMPLES) -> Tensor:
    """Mean over the points of each bin of the features between voxels.

    Args:
        features: (C, I, J, K).
        boxes: (R, 6); beyond the edge the outermost voxels go on.
        size: Bins of a region along each axis.
        samples: Points along each axis of a bin.

    Returns:
        (R, C, *size).
    """
    i, j, k = (
        weights(boxes[:, axis], boxes[:, axis + 3], bins * samples, voxels)
        .view(len(boxes), bins, samples, voxels)
        .mean(dim=2)
        for axis, (bins, voxels) in enumerate(zip(size, features.shape[1:], strict=True))
    )
    aligned = torch.einsum("ral,clmn->rcamn", i, features)
    aligned = torch.einsum("rbm,rcamn->rcabn", j, aligned)
    return torch.einsum("rdn,rcabn->rcabd", k, aligned)


def paste(grids: Tensor, boxes: Tensor, shape: Shape) -> Tensor:
    """The way back: what lies on the grids of regions, in the voxels of the image.

    Args:
        grids: (R, *size) values at the middles of each region's bins.
        boxes: (R, 6).
        shape: Voxels of the image.

    Returns:
        (R, *shape); in a voxel whose centre lies outside a region, 0.
    """
    found = grids
    for axis, voxels in enumerate(shape):
        low, high = boxes[:, axis, None], boxes[:, axis + 3, None]
        bins = grids.shape[axis + 1]
        centres = torch.arange(voxels, dtype=boxes.dtype, device=boxes.device) + 0.5
        place = (centres - low) / (high - low) * bins
        hat = hats(place - 0.5, bins) * ((place >= 0) & (place <= bins)).unsqueeze(2)
        found = torch.einsum("rvb,r...b->r...v", hat, found.movedim(axis + 1, -1))
        found = found.movedim(-1, axis + 1)
    return found


def weights(low: Tensor, high: Tensor, points: int, voxels: int) -> Tensor:
    """How much each voxel of an axis counts for each of the points spread evenly over regions.

    Args:
        low: (R,) where each region begins.
        high: (R,) where it ends.
        points: Along the axis.
        voxels: Of the axis.

    Returns:
        (R, points, voxels); rows sum to 1.
    """
    share = (torch.arange(points, dtype=low.dtype, device=low.device) + 0.5) / points
    return hats(low[:, None] + share * (high - low)[:, None] - 0.5, voxels)


def hats(place: Tensor, voxels: int) -> Tensor:
    """(..., voxels) weights of linear interpolation at places (...) between voxels' centres."""
    inside = place.clamp(0, voxels - 1)
    away = (inside.unsqueeze(-1) - torch.arange(voxels, device=place.device)).abs()
    return (1 - away).clamp(min=0)
