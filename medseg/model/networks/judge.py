"""The whole study seen at once and coarsely: is what is hot there a lesion or normal uptake?

A tile knows what lies a hand's breadth around it. Whether something hot is a kidney or a tumour is
seen at a glance from far enough away, so this network looks at the whole body on voxels a few times
as large and speaks against what the tiles call lesion. It has learnt to part lesions from what is
hot and normal, and nothing of tissue that is neither.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from medseg.config import InputSettings, JudgeSettings, Spacing
from medseg.model.networks.pyramid import NORMS, Pyramid, Shape


class Judge(nn.Module):
    """The backbone on the coarse study, with one logit: how likely a hot voxel is lesion.

    Args:
        settings: Its size.
        seen: Roles and spacing of the fine input.
    """

    def __init__(self, settings: JudgeSettings, seen: InputSettings) -> None:
        super().__init__()
        strides: tuple[Shape, ...] = ((2, 2, 2),) * (len(settings.channels) - 1)
        self.step = 2 ** len(strides)
        self.backbone = Pyramid(
            len(seen.roles),
            settings.channels,
            coarse_spacing(settings, seen.spacing_mm),
            strides,
            NORMS["crop"],
        )
        self.head = nn.Conv3d(settings.channels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) normalised, each of I, J, K a multiple of `step`, to (N, 1, I, J, K)."""
        logits: Tensor = self.head(self.backbone(x)[0])
        return logits


def coarse_spacing(settings: JudgeSettings, spacing_mm: Spacing) -> Spacing:
    """Of what the judge sees."""
    r, a, s = (mm * settings.factor for mm in spacing_mm)
    return (r, a, s)


def from_afar(
    data: NDArray[np.float32], settings: JudgeSettings, spacing_mm: Spacing
) -> NDArray[np.float32]:
    """A study blurred, and every so-many-th voxel of it.

    Args:
        data: (C, I, J, K) intensities, not normalised.
        settings: How coarse, how blurred.
        spacing_mm: Of the study.
    """
    sigmas = [settings.blur_mm / mm for mm in spacing_mm]
    n = settings.factor
    few = [gaussian_filter(channel, sigmas)[::n, ::n, ::n] for channel in data]
    return np.ascontiguousarray(np.stack(few))


def judged(
    judge: Judge, coarse: NDArray[np.float32], shape: Shape, factor: int
) -> NDArray[np.float32]:
    """Logits on the fine grid.

    Args:
        judge: The network.
        coarse: (C, ...) as from `from_afar`, normalised; air has 0.
        shape: Of the fine grid.
        factor: Fine voxels to a coarse one.
    """
    padding = [
        (0, -n % judge.step if n > judge.step else 2 * judge.step - n) for n in coarse.shape[1:]
    ]
    x = torch.from_numpy(np.pad(coarse, [(0, 0), *padding]))[None]
    with torch.inference_mode():
        logits = judge(x.to(memory_format=torch.channels_last_3d))[0, 0].contiguous().numpy()
    i, j, k = (
        np.minimum(np.arange(n) / factor, m - 1)
        for n, m in zip(shape, coarse.shape[1:], strict=True)
    )
    return stretched(logits, (i, j, k))


def stretched(
    field: NDArray[np.float32], at: tuple[NDArray[np.float64], ...]
) -> NDArray[np.float32]:
    """Linear interpolation at the product of positions, one axis after the other."""
    for axis, positions in enumerate(at):
        low = np.minimum(positions.astype(int), field.shape[axis] - 2)
        shape = [1, 1, 1]
        shape[axis] = -1
        share = (positions - low).astype(np.float32).reshape(shape)
        field = field.take(low, axis) * (1 - share) + field.take(low + 1, axis) * share
    return field
