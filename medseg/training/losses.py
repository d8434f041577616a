"""How wrong a dense prediction is."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medseg.config import NetworkSettings
from medseg.training.sample import Batch
from medseg.training.settings import LossSettings

SMOOTH = 1e-5
"""In voxels; keeps Dice of nothing from being nothing over nothing."""


@dataclass(frozen=True, eq=False)
class Heads:
    """What the network says, taken apart; in float32.

    Attributes:
        names: The S structures.
        structures: (N, S, I, J, K) logits.
        heatmap: (N, 1, I, J, K) logits, or None without such a head.
        offsets_mm: (N, 3, I, J, K), or None without such a head.
    """

    names: tuple[str, ...]
    structures: Tensor
    heatmap: Tensor | None
    offsets_mm: Tensor | None


def heads(outputs: Tensor, network: NetworkSettings) -> Heads:
    """Take apart (N, S (+ 1 (+ 3)), I, J, K), in the order of `NetworkSettings`."""
    count = len(network.structures)
    said = outputs.float()
    return Heads(
        network.structures,
        said[:, :count],
        said[:, count : count + 1] if network.centre_heatmap else None,
        said[:, network.logits :] if network.offsets else None,
    )


def dense_loss(said: Heads, batch: Batch, settings: LossSettings) -> Tensor:
    """The weighted sum of what the settings ask for.

    Returns:
        A scalar, 0 for a perfect prediction.
    """
    logits, mask = said.structures, batch.mask
    weights = torch.tensor([settings.structures.get(name, 1.0) for name in said.names])
    known = batch.known * weights.to(batch.known.device)
    total = settings.dice * dice_loss(logits, mask, known, settings.dice_spared_voxels)
    crossed = voxel_loss(logits, mask, settings.focal_exponent)
    total = total + settings.cross_entropy * _mean_of_known(crossed, known)
    if settings.instance:
        total = total + settings.instance * instance_loss(logits, mask, crossed, batch.territories)
    if said.heatmap is not None:
        total = total + settings.heatmap * heatmap_loss(said.heatmap, batch.heatmap)
    if said.offsets_mm is not None:
        far = offset_loss(said.offsets_mm, batch.offsets_mm, batch.labels)
        total = total + settings.offset * far
    return total


def dice_loss(logits: Tensor, mask: Tensor, known: Tensor, spared: float = SMOOTH) -> Tensor:
    """Soft Dice, half over the whole batch and half over each crop that holds the structure.

    The first half makes a crop without a lesion count, the second a small lesion as much as a large
    one. A structure that was not outlined in a crop counts there neither way.

    Args:
        logits: (N, S, I, J, K).
        mask: (N, S, I, J, K) 0 or 1.
        known: (N, S) how much each counts; 0 where it was not outlined.
        spared: As of `LossSettings.dice_spared_voxels`.
    """
    both, sums = _sums(logits, mask)
    there = mask.flatten(2).any(dim=2) * known
    each = 1 - (2 * both + SMOOTH) / (sums + SMOOTH)
    apart = (each * there).sum() / there.sum().clamp(min=SMOOTH)
    outlined = known > 0
    both, sums = both * outlined, sums * outlined
    seen = known.amax(dim=0)
    whole = 1 - (2 * both.sum(dim=0) + spared) / (sums.sum(dim=0) + spared)
    together = (whole * seen).sum() / seen.sum().clamp(min=SMOOTH)
    return (together + apart) / 2


def voxel_loss(logits: Tensor, mask: Tensor, focal_exponent: float) -> Tensor:
    """Cross-entropy of each voxel and structure, focal where the exponent is above 0."""
    crossed = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    if focal_exponent == 0:
        return crossed
    return crossed * (1 - torch.exp(-crossed)) ** focal_exponent


def instance_loss(logits: Tensor, mask: Tensor, crossed: Tensor, territories: Tensor) -> Tensor:
    """Dice + cross-entropy within each instance's territory, and their mean over the instances.

    Args:
        logits: (N, S, I, J, K); all structures of a territory are taken together.
        mask: (N, S, I, J, K) 0 or 1.
        crossed: (N, S, I, J, K) as of `voxel_loss`.
        territories: (N, I, J, K) whole numbers; 0 is nobody's.

    Returns:
        A scalar, 0 where there is no instance.
    """
    most = int(territories.max()) + 1
    first = torch.arange(len(territories), device=logits.device) * most
    owner = (territories + first.view(-1, 1, 1, 1)).flatten().long()
    size = most * len(territories)

    def per_territory(values: Tensor) -> Tensor:
        return values.new_zeros(size).index_add(0, owner, values.sum(dim=1).flatten())

    said = logits.sigmoid()
    voxels = per_territory(torch.ones_like(mask))
    counts = (voxels > 0) & (torch.arange(size, device=logits.device) % most > 0)
    if not counts.any():
        return logits.sum() * 0
    both, sums = per_territory(said * mask), per_territory(said + mask)
    dice = 1 - (2 * both + SMOOTH) / (sums + SMOOTH)
    each = dice + per_territory(crossed) / voxels.clamp(min=1)
    return each[counts].mean()


def heatmap_loss(logits: Tensor, heatmap: Tensor) -> Tensor:
    """Penalty-reduced focal loss of the centres (Zhou et al. 2019, arXiv 1904.07850, equation 1).

    A voxel that holds a centre is to say 1; every other one 0, the less strictly the nearer it is.
    The sum is divided by the number of centres, so that the few voxels that matter are not lost in
    the mean over all.

    Args:
        logits: (N, 1, I, J, K).
        heatmap: (N, 1, I, J, K) in 0..1, exactly 1 in the voxel of a centre.
    """
    centre = heatmap == 1
    said = logits.sigmoid()
    near = -functional.logsigmoid(logits) * (1 - said) ** 2
    far = -functional.logsigmoid(-logits) * said**2 * (1 - heatmap) ** 4
    return torch.where(centre, near, far).sum() / centre.sum().clamp(min=1)


def offset_loss(said_mm: Tensor, offsets_mm: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute error of R, A and S in mm over the voxels of instances; 0 without any."""
    inside = (labels > 0).unsqueeze(1)
    off = (said_mm - offsets_mm).abs() * inside
    return off.sum() / (3 * inside.sum()).clamp(min=1)


def _sums(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(N, S) sums over the voxels of what both say, and of what either says."""
    said = logits.sigmoid()
    return (said * mask).flatten(2).sum(dim=2), (said + mask).flatten(2).sum(dim=2)


def _mean_of_known(crossed: Tensor, known: Tensor) -> Tensor:
    return (crossed.flatten(2).mean(dim=2) * known).sum() / known.sum().clamp(min=SMOOTH)
