"""The backbone that every family shares: a residual 3D U-Net whose decoder is a feature pyramid.

At full resolution it has one convolution on the way in and one on the way out, because most of the
time would go there and a PET resolves little more than the next level; below, residual units.
Strides and kernels follow the spacing. Written in plain torch: importing `monai.networks` costs
seconds and 130 MiB in every process that predicts. After He et al. 2016
(doi 10.1109/CVPR.2016.90), Cicek et al. 2016 (doi 10.1007/978-3-319-46723-8_49) and Lin et al.
2017 (arXiv 1612.03144).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.config import Spacing

Shape = tuple[int, int, int]


class VoxelNorm(nn.Module):
    """The channels of each voxel to mean 0 and variance 1, then scaled and shifted as learnt.

    What is said of a voxel then depends on what lies around it, never on how large the crop is or
    on what else is in it (Ba et al. 2016, arXiv 1607.06450).

    Args:
        channels: Channels that come in and go out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) to the same."""
        last = x.permute(0, 2, 3, 4, 1)  # as it lies in memory
        normed = functional.layer_norm(last, self.weight.shape, self.weight, self.bias)
        return normed.permute(0, 4, 1, 2, 3)


class CropNorm(nn.Module):
    """Each channel of each crop to mean 0 and variance 1, then scaled and shifted as learnt.

    The same as `nn.InstanceNorm3d` (Ulyanov et al. 2016, arXiv 1607.08022), which leaves the memory
    layout that convolutions are fast in.

    Args:
        channels: Channels that come in and go out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) to the same."""
        crops = [
            functional.batch_norm(x[n : n + 1], None, None, self.weight, self.bias, training=True)
            for n in range(len(x))
        ]
        return crops[0] if len(crops) == 1 else torch.cat(crops)


Norm = Callable[[int], nn.Module]
"""Makes the normalisation of so many channels."""

NORMS: Mapping[str, Norm] = {"voxel": VoxelNorm, "crop": CropNorm}
"""Those of `NetworkSettings.norm`."""


class ConvolutionUnit(nn.Module):
    """One convolution.

    Args:
        channels_in: Channels that come in.
        channels: Channels that go out.
        kernel: Voxels along R, A and S.
        norm: Of its features.
        bias: Whether a number of its own is added to each feature.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: Shape,
        norm: Norm = VoxelNorm,
        *,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.only = convolution(channels_in, channels, kernel, bias=bias)
        self.only_norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) to (N, channels, I, J, K)."""
        return torch.relu(self.only_norm(self.only(x)))


class ResidualUnit(nn.Module):
    """Two convolutions and a way around them.

    Args:
        channels_in: Channels that come in.
        channels: Channels that go out.
        kernel: Voxels along R, A and S.
        stride: By how much the grid becomes coarser.
        norm: Of its features.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: Shape,
        stride: Shape = (1, 1, 1),
        norm: Norm = VoxelNorm,
    ) -> None:
        super().__init__()
        self.first = convolution(channels_in, channels, kernel, stride)
        self.first_norm = norm(channels)
        self.second = convolution(channels, channels, kernel)
        self.second_norm = norm(channels)
        same = stride == (1, 1, 1) and channels_in == channels
        self.around: nn.Module = (
            nn.Identity() if same else nn.Conv3d(channels_in, channels, stride, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) to (N, channels, I / stride, ...)."""
        y = torch.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return torch.relu(y + self.around(x))


class Pyramid(nn.Module):
    """The backbone.

    Args:
        channels_in: Channels of the input, one for each role.
        channels: Of each level, finest first.
        spacing_mm: Of the input along R, A and S.
        strides: From each level to the next, along R, A and S.
        norm: Of its features.
    """

    def __init__(
        self,
        channels_in: int,
        channels: tuple[int, ...],
        spacing_mm: Spacing,
        strides: tuple[Shape, ...],
        norm: Norm = VoxelNorm,
    ) -> None:
        super().__init__()
        kernels = [kernel(spacing) for spacing in spacings(spacing_mm, strides)]
        # Normed over its channels, a voxel in the midst of its like would say the same however
        # bright it is, were there nothing that its brightness is measured against.
        first = ConvolutionUnit(channels_in, channels[0], kernels[0], norm, bias=norm is VoxelNorm)
        down: list[nn.Module] = [first]
        up: list[nn.Module] = []
        merge: list[nn.Module] = [ConvolutionUnit(2 * channels[0], channels[0], kernels[0], norm)]
        for level, stride in enumerate(strides, start=1):
            fine, coarse = channels[level - 1], channels[level]
            down.append(ResidualUnit(fine, coarse, kernels[level], stride, norm))
            up.append(nn.ConvTranspose3d(coarse, fine, stride, stride))
            if level < len(strides):
                merge.append(ResidualUnit(2 * coarse, coarse, kernels[level], norm=norm))
        self.down, self.up, self.merge = map(nn.ModuleList, (down, up, merge))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of every level, finest first, each of what is around it on every scale.

        Args:
            x: (N, C, I, J, K); each of I, J, K a multiple of the strides' product.
        """
        levels = self.descend(x)
        return self.ascend(levels, levels[-1])

    def descend(self, x: Tensor) -> list[Tensor]:
        """The way down: features of every level, finest first."""
        levels: list[Tensor] = []
        for unit in self.down:
            x = unit(x)
            levels.append(x)
        return levels

    def ascend(self, levels: list[Tensor], deepest: Tensor) -> list[Tensor]:
        """The way up from what takes the deepest level's place; features, finest first."""
        levels = levels[:-1]
        features = [deepest]
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            features.append(merge(torch.cat([levels.pop(), up(features[-1])], dim=1)))
        return features[::-1]


def spacings(spacing_mm: Spacing, strides: tuple[Shape, ...]) -> list[Spacing]:
    """Of every level, finest first."""
    found = [spacing_mm]
    for stride in strides:
        r, a, s = (mm * n for mm, n in zip(found[-1], stride, strict=True))
        found.append((r, a, s))
    return found


def kernel(spacing_mm: Spacing) -> Shape:
    """3 voxels along each axis; 1 along one whose voxels are twice as long as the shortest."""
    i, j, k = (3 if mm < 2 * min(spacing_mm) else 1 for mm in spacing_mm)
    return (i, j, k)


def convolution(
    channels_in: int,
    channels: int,
    kernel: Shape,
    stride: Shape = (1, 1, 1),
    *,
    bias: bool = False,
) -> nn.Conv3d:
    """A convolution that keeps the grid, or makes it coarser by the stride."""
    i, j, k = (n // 2 for n in kernel)
    return nn.Conv3d(channels_in, channels, kernel, stride, padding=(i, j, k), bias=bias)
