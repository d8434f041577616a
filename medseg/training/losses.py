"""How wrong a prediction is."""

import torch
from monai.losses.dice import DiceLoss
from torch import Tensor
from torch.nn import functional

CENTRE_WEIGHT = 9.0
"""A voxel at a centre counts ten times one far from all: few voxels are near a centre."""


def loss(logits: Tensor, mask: Tensor, heatmap: Tensor, heatmap_weight: float) -> Tensor:
    """Dice + cross-entropy of the structures, and cross-entropy of the heatmap.

    Half of Dice is taken over the whole batch, so that a crop without a lesion counts too, and half
    over each crop that has one, so that a small lesion counts as much as a large one.

    Args:
        logits: (N, S + 1, I, J, K): structures, then the heatmap; or (N, S, ...) without one.
        mask: (N, S, I, J, K) 0 or 1.
        heatmap: (N, 1, I, J, K) in 0..1.
        heatmap_weight: Weight of the heatmap's part.

    Returns:
        A scalar, 0 for a perfect prediction.
    """
    structures = mask.shape[1]
    said = logits[:, :structures].float()
    together: Tensor = DiceLoss(sigmoid=True, batch=True)(said, mask)
    total = (together + crop_dice(said, mask)) / 2
    total = total + functional.binary_cross_entropy_with_logits(said, mask)
    if logits.shape[1] > structures:
        total = total + heatmap_weight * heatmap_loss(logits[:, structures:].float(), heatmap)
    return total


def crop_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean Dice loss of the structures that are there, each in its crop; 0 where there is none."""
    each: Tensor = DiceLoss(sigmoid=True, reduction="none")(logits, mask).flatten(1)
    there = mask.flatten(2).any(dim=2)
    return (each * there).sum() / there.sum().clamp(min=1)


def heatmap_loss(logits: Tensor, heatmap: Tensor) -> Tensor:
    """Cross-entropy above the target's own entropy, weighted towards the centres; 0 if equal."""
    cross = functional.binary_cross_entropy_with_logits(logits, heatmap, reduction="none")
    sure = heatmap.clamp(1e-6, 1 - 1e-6)
    entropy = -(sure * sure.log() + (1 - sure) * (1 - sure).log())
    weight = 1 + CENTRE_WEIGHT * heatmap
    return torch.mean(weight * (cross - entropy))
