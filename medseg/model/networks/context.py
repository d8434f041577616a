"""What lies around a tile, far beyond it: the study seen coarsely.

Whether something hot is a heart, a bladder or a tumour is told by where in the body it lies. A tile
shows a part of the body; this network sees half a metre around it on a grid a few times as coarse,
which costs a tenth of the tile itself.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medseg.config import ContextSettings
from medseg.model.networks.pyramid import ConvolutionUnit, Norm, ResidualUnit, Shape

CUBE = (3, 3, 3)
HALVED = (2, 2, 2)


class ContextEncoder(nn.Module):
    """A small U-Net over the coarse grid, cut to the tile in its middle.

    Args:
        channels_in: Channels of the input, one for each role.
        settings: Its grid and size.
        ratio: Coarse voxels to one of the tile's deepest level, along R, A and S.
        norm: Of its features.
    """

    def __init__(
        self, channels_in: int, settings: ContextSettings, ratio: Shape, norm: Norm
    ) -> None:
        super().__init__()
        first, second, third = settings.channels
        self.enter = ConvolutionUnit(channels_in, first, CUBE, norm)
        self.down = ResidualUnit(first, second, CUBE, ratio, norm)
        self.deep = ResidualUnit(second, third, CUBE, HALVED, norm)
        self.deeper = ResidualUnit(third, third, CUBE, HALVED, norm)
        self.merge = ResidualUnit(2 * third, third, CUBE, norm=norm)
        self.leave = ConvolutionUnit(second + third, second, CUBE, norm)

    def forward(self, x: Tensor, shape: Shape) -> Tensor:
        """(N, C, I, J, K) to (N, second of the channels, *shape), the middle of it.

        Args:
            x: The coarse study around the tile, normalised.
            shape: Of the tile's deepest level.
        """
        near = self.down(self.enter(x))
        far = self.deep(near)
        far = self.merge(torch.cat([far, _enlarged(self.deeper(far), far)], dim=1))
        both = self.leave(torch.cat([near, _enlarged(far, near)], dim=1))
        starts = [(n - m) // 2 for n, m in zip(both.shape[2:], shape, strict=True)]
        i, j, k = (slice(s, s + m) for s, m in zip(starts, shape, strict=True))
        middle: Tensor = both[:, :, i, j, k]
        return middle


class Joined(nn.Module):
    """The deepest features of a tile, with those of its surroundings.

    It begins by leaving the tile's features as they are.

    Args:
        channels: Of the tile's deepest level.
        context_channels: Of the surroundings.
    """

    def __init__(self, channels: int, context_channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(channels + context_channels, channels, 3, padding=1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, deepest: Tensor, around: Tensor) -> Tensor:
        """(N, channels, I, J, K) and (N, context_channels, I, J, K) to the first's shape."""
        return torch.relu(deepest + self.mix(torch.cat([deepest, around], dim=1)))


def coarse(data: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means over blocks of a study, whose axes are multiples of the factor.

    Args:
        data: (C, I, J, K) intensities, not yet normalised.
        factor: Voxels of a block along each axis.
    """
    c, i, j, k = data.shape
    blocks = data.reshape(c, i // factor, factor, j // factor, factor, k // factor, factor)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4, 6), dtype=np.float32)
    return means


def margin(settings: ContextSettings, tile: Shape) -> Shape:
    """Coarse voxels of the surroundings before a tile, along R, A and S; as many follow it."""
    i, j, k = ((n - t // settings.factor) // 2 for n, t in zip(settings.tile, tile, strict=True))
    return (i, j, k)


def _enlarged(small: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(small, size=like.shape[2:], mode="trilinear")
