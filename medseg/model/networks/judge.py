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

BLUR_MM = 7.0
"""Standard deviation of the blur before voxels are left out, in a study and in what is learnt."""


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
            2 * len(seen.roles),
            settings.channels,
            coarse_spacing(settings, seen.spacing_mm),
            strides,
            NORMS["crop"],
        )
        self.head = nn.Conv3d(settings.channels[0], 1, 1)
        self.air_below = seen.empty_below

    def shown(self, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it is to see of a coarse study, (C, I, J, K) normalised, before any padding."""
        return with_mirror_image(coarse, self.air_below)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, I, J, K) as from `shown`, I, J, K multiples of `step`, to (N, 1, I, J, K)."""
        logits: Tensor = self.head(self.backbone(x)[0])
        return logits


def coarse_spacing(settings: JudgeSettings, spacing_mm: Spacing) -> Spacing:
    """Of what the judge sees."""
    r, a, s = (mm * settings.factor for mm in spacing_mm)
    return (r, a, s)


def from_afar(data: NDArray[np.float32], spacing_mm: Spacing) -> NDArray[np.float32]:
    """A study blurred so that every so-many-th voxel of it shows it.

    Args:
        data: (C, I, J, K) intensities, not normalised.
        spacing_mm: Of the study.
    """
    sigmas = [BLUR_MM / mm for mm in spacing_mm]
    return np.stack([gaussian_filter(channel, sigmas) for channel in data])


def with_mirror_image(coarse: NDArray[np.float32], air_below: float) -> NDArray[np.float32]:
    """A study with its mirror image as further channels.

    Left and right are exchanged about the middle of the patient, not of the image, to half a voxel.

    Args:
        coarse: (C, I, J, K) as a judge sees it, normalised.
        air_below: What the first channel of the patient's voxels reaches (`input.empty_below`).

    Returns:
        (2 C, I, J, K); 0 where the mirror image lies beyond the study.
    """
    across = np.arange(coarse.shape[1])
    patient = (coarse[0] >= air_below).sum(axis=(1, 2))
    middle = np.average(across, weights=patient) if patient.any() else across.mean()
    from_here = round(2 * middle) - across
    inside = (from_here >= 0) & (from_here < len(across))
    image = np.zeros_like(coarse)
    image[:, inside] = coarse[:, from_here[inside]]
    return np.concatenate([coarse, image])


def judged(judge: Judge, far: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Logits on the fine grid: the mean of what is said of several coarse views of the study.

    Which voxels are left out, and which side is which, is chance. So there is a view that begins
    with the first voxel, one that begins with the second, up to the `factor`-th, each as it is and
    mirrored.

    Args:
        judge: The network.
        far: (C, I, J, K) as from `from_afar`, normalised; air has 0.
        factor: Fine voxels to a coarse one.

    Returns:
        (I, J, K) float32.
    """
    shape = far.shape[1:]
    total = np.zeros(shape, np.float32)
    begins = range(min(factor, *shape))
    for begin in begins:
        coarse = far[:, begin::factor, begin::factor, begin::factor]
        said = _said(judge, coarse) + _said(judge, coarse[:, ::-1])[::-1]
        i, j, k = (
            np.clip((np.arange(n) - begin) / factor, 0, m - 1)
            for n, m in zip(shape, said.shape, strict=True)
        )
        total += stretched(said, (i, j, k))
    total /= 2 * len(begins)
    return total


def _said(judge: Judge, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of one view."""
    sizes = coarse.shape[1:]
    padding = [(0, -n % judge.step if n > judge.step else 2 * judge.step - n) for n in sizes]
    x = torch.from_numpy(np.pad(judge.shown(coarse), [(0, 0), *padding]))[None]
    with torch.inference_mode():
        logits = judge(x.to(memory_format=torch.channels_last_3d))[0, 0].numpy()
    said: NDArray[np.float32] = logits[tuple(slice(n) for n in sizes)]
    return said


def stretched(
    field: NDArray[np.float32], at: tuple[NDArray[np.float64], ...]
) -> NDArray[np.float32]:
    """Linear interpolation at the product of positions, one axis after the other."""
    for axis, positions in enumerate(at):
        last = field.shape[axis] - 1
        low = np.minimum(positions.astype(int), max(0, last - 1))
        shape = [1, 1, 1]
        shape[axis] = -1
        share = (positions - low).astype(np.float32).reshape(shape)
        high = np.minimum(low + 1, last)
        field = field.take(low, axis) * (1 - share) + field.take(high, axis) * share
    return field
