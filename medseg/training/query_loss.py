"""How wrong the answers of a mask transformer are, each compared with the instance it fits best."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from medseg.model.networks.queries import Answer, Answers, mask_logits
from medseg.training.region_loss import structures_of
from medseg.training.sample import Batch

NOTHING_WEIGHT = 0.1
"""How much a query that has no instance to find counts: most have none."""

MASK_WEIGHT = 2.0
"""Of cross-entropy and of Dice of a mask, beside the class."""


def query_loss(answers: Answers, batch: Batch) -> Tensor:
    """The mean over the images of every round's loss; the foreground's is not in it."""
    total = answers.voxels.new_zeros(())
    for number, labels in enumerate(batch.labels):
        masks, structures = truth(labels, batch.mask[number])
        for answer in answers.rounds:
            said = Answer(answer.classes[number], answer.queries[number])
            total = total + image_loss(said, answers.voxels[number], masks, structures)
    return total / (len(batch.labels) * len(answers.rounds))


def truth(labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(G, V) where each instance is, and (G,) what it is; V is all voxels in a row."""
    numbers = torch.unique(labels)
    numbers = numbers[numbers > 0]
    masks = (labels.flatten() == numbers.view(-1, 1)).float()
    if not len(numbers):
        return masks, numbers.long()
    return masks, structures_of(labels, mask)


def image_loss(answer: Answer, voxels: Tensor, masks: Tensor, structures: Tensor) -> Tensor:
    """Of one image and round: every query's class, and the masks of those that have an instance."""
    wanted = torch.zeros_like(answer.classes)
    weight = torch.full_like(answer.classes, NOTHING_WEIGHT)
    if not len(masks):
        return weighted(answer.classes, wanted, weight)
    queries, instances = assign(answer, voxels, masks, structures)
    wanted[queries, structures[instances]] = 1
    weight[queries] = 1
    said = mask_logits(answer.queries[None, queries], voxels[None])[0].flatten(1)
    there = masks[instances]
    crossed = functional.binary_cross_entropy_with_logits(said, there)
    dice = dice_costs(said.sigmoid(), there, paired=True).mean()
    return weighted(answer.classes, wanted, weight) + MASK_WEIGHT * (crossed + dice)


def assign(
    answer: Answer, voxels: Tensor, masks: Tensor, structures: Tensor
) -> tuple[Tensor, Tensor]:
    """Which query finds which instance at the least cost: (P,) queries and (P,) instances."""
    with torch.no_grad():
        said = mask_logits(answer.queries[None], voxels[None])[0].flatten(1)
        # Cross-entropy of every query with every instance, as two products (Mask2Former, B).
        right, wrong = functional.softplus(-said), functional.softplus(said)
        crossed = (right @ masks.T + wrong @ (1 - masks).T) / masks.shape[1]
        dice = dice_costs(said.sigmoid(), masks, paired=False)
        likely = answer.classes.sigmoid()[:, structures]
        cost = MASK_WEIGHT * (crossed + dice) - likely
    queries, instances = linear_sum_assignment(cost.cpu().numpy())
    device = voxels.device
    return torch.from_numpy(queries).to(device), torch.from_numpy(instances).to(device)


def dice_costs(said: Tensor, masks: Tensor, *, paired: bool) -> Tensor:
    """1 - Dice of (Q, V) probabilities with (G, V) masks: of each pair (P,), or of all (Q, G)."""
    if paired:
        both, sums = (said * masks).sum(1), (said + masks).sum(1)
    else:
        both, sums = said @ masks.T, said.sum(1)[:, None] + masks.sum(1)
    return 1 - (2 * both + 1) / (sums + 1)


def weighted(logits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the cross-entropy."""
    crossed = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (crossed * weight).sum() / weight.sum()
