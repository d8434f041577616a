"""Tiles that cover a grid, and how much each has to say of its voxels."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]


def starts(length: int, tile: int, overlap: float, step: int) -> list[int]:
    """Where the tiles of one axis begin: spread evenly, from one end exactly to the other.

    They begin at multiples of the network's coarsest step. A network with strides says something
    slightly different when its input is shifted by less, and tiles shall agree.

    Args:
        length: Voxels of the axis, a multiple of `step`.
        tile: Voxels of a tile, a multiple of `step`; at most the length.
        overlap: Share of a tile that its neighbour covers too, 0 up to but not 1; as much as that
            or up to a step less.
        step: Voxels.

    Returns:
        Ascending indices.
    """
    if length <= tile:
        return [0]
    last = (length - tile) // step
    stride = max(1, round(tile * (1 - overlap) / step))
    count = -(-last // stride) + 1
    return [round(n * last / (count - 1)) * step for n in range(count)]


def corners(shape: Shape, tile: Shape, overlap: float, step: Shape) -> list[Shape]:
    """The first voxel of every tile of a grid; the arguments are those of `starts`, by axis."""
    i, j, k = (starts(n, t, overlap, s) for n, t, s in zip(shape, tile, step, strict=True))
    return list(product(i, j, k))


def owner(begins: list[int], tile: int, place: float) -> int:
    """Where the tile begins that owns a place: it is nearest to that tile's middle.

    Args:
        begins: Of the tiles of one axis, ascending.
        tile: Voxels of a tile.
        place: Index along the axis, between voxels too; half-way the later tile owns it.
    """
    middles = np.array(begins) + (tile - 1) / 2
    return begins[int(np.searchsorted((middles[1:] + middles[:-1]) / 2, place, side="right"))]


def weights(tile: Shape) -> NDArray[np.float32]:
    """A Gaussian over a tile: its voxels near the edge, which lack context, count least.

    The width is an eighth of the tile, as nnU-Net's (Isensee et al. 2021,
    doi 10.1038/s41592-020-01008-z), and the least weight 0.001, so that no voxel is lost.

    Returns:
        Array of the tile's shape, float32, 0.001 to 1.
    """
    profiles = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in tile]
    gaussian = profiles[0][:, None, None] * profiles[1][:, None] * profiles[2]
    weighted: NDArray[np.float32] = np.maximum(gaussian, 0.001).astype(np.float32)
    return weighted
