"""One crop to learn from, and a batch of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.config import Spacing
from medseg.segment.pieces import territories
from medseg.training.targets import centre_heatmap, offsets_mm, sigma_mm


@dataclass(frozen=True, eq=False)
class Sample:
    """What the network sees of one crop, and what it is to say.

    Attributes:
        data: (C, I, J, K) float32, normalised.
        mask: (S, I, J, K) float32, 1 where a structure is, or the share of the voxel that it fills.
        known: (S,) whether the structure was outlined in this case at all; what was not is left
            out of the loss.
        labels: (I, J, K) int32, n where instance n is; zeros where the task has no instances.
        territories: (I, J, K) int32, the instance that a voxel is nearest to; zeros where there is
            none.
        heatmap: (1, I, J, K) float32 in 0..1, exactly 1 in the voxel of a centre.
        offsets_mm: (3, I, J, K) float32, the way to the centre of the voxel's instance along R, A
            and S; 0 outside instances.
        context: (C, ...) float32, normalised: what is around it on the coarse grid; None where the
            network has no such input.
    """

    data: NDArray[np.float32]
    mask: NDArray[np.float32]
    known: NDArray[np.bool_]
    labels: NDArray[np.int32]
    territories: NDArray[np.int32]
    heatmap: NDArray[np.float32]
    offsets_mm: NDArray[np.float32]
    context: NDArray[np.float32] | None = None


def sample_of_instances(
    data: NDArray[np.float32],
    labels: NDArray[np.integer],
    spacing_mm: Spacing,
    centres_mm: Sequence[NDArray[np.float64]],
    radii_mm: Sequence[float],
    *,
    least_sigma_mm: float,
) -> Sample:
    """A sample of one structure whose instances are known one by one.

    Args:
        data: (C, I, J, K) float32, normalised.
        labels: (I, J, K); n is the instance with the n-th centre, from 1.
        spacing_mm: Between voxels along R, A and S.
        centres_mm: (3,) each, relative to the first voxel's centre; of the whole instance, even
            where the crop shows a part.
        radii_mm: Of the ball of the instance's volume.
        least_sigma_mm: Least width of a centre's Gaussian.
    """
    shape = (labels.shape[0], labels.shape[1], labels.shape[2])
    sigmas = [sigma_mm(radius, least_sigma_mm) for radius in radii_mm]
    return Sample(
        data=data,
        mask=(labels > 0).astype(np.float32)[None],
        known=np.ones(1, bool),
        labels=labels.astype(np.int32),
        territories=territories(labels, spacing_mm),
        heatmap=centre_heatmap(shape, spacing_mm, centres_mm, sigmas)[None],
        offsets_mm=offsets_mm(labels, spacing_mm, centres_mm),
    )


def sample_of_structures(
    data: NDArray[np.float32], mask: NDArray[np.float32], known: NDArray[np.bool_]
) -> Sample:
    """A sample of structures of which each patient has one, such as organs.

    Args:
        data: (C, I, J, K) float32, normalised.
        mask: (S, I, J, K) the share of each voxel that each structure fills, 0 to 1.
        known: (S,) whether it was outlined at all.
    """
    none = np.zeros(mask.shape[1:], np.int32)
    return Sample(
        data=data,
        mask=mask.astype(np.float32),
        known=known,
        labels=none,
        territories=none,
        heatmap=np.zeros((1, *mask.shape[1:]), np.float32),
        offsets_mm=np.zeros((3, *mask.shape[1:]), np.float32),
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples as tensors; attributes as of `Sample`, with a first axis over the samples."""

    data: Tensor
    mask: Tensor
    known: Tensor
    labels: Tensor
    territories: Tensor
    heatmap: Tensor
    offsets_mm: Tensor
    context: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network takes."""
        return (self.data,) if self.context is None else (self.data, self.context)


def stack(samples: Sequence[Sample], device: torch.device) -> Batch:
    """Samples of one shape on a device; five-dimensional ones in the layout convolutions like."""

    def tensor(name: str) -> Tensor:
        whole = torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))
        layout = torch.channels_last_3d if whole.ndim == 5 else torch.contiguous_format
        return whole.to(device=device, memory_format=layout)

    return Batch(
        data=tensor("data"),
        mask=tensor("mask"),
        known=tensor("known"),
        labels=tensor("labels"),
        territories=tensor("territories"),
        heatmap=tensor("heatmap"),
        offsets_mm=tensor("offsets_mm"),
        context=None if samples[0].context is None else tensor("context"),
    )
