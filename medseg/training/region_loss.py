"""How wrong the two stages of a region network are."""

import numpy as np
import torch
from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher
from monai.data.box_utils import box_iou
from scipy.ndimage import find_objects
from torch import Tensor
from torch.nn import functional

from medseg.model.networks.regions import (
    ANCHORS_MM,
    CODER,
    MASK_BINS,
    FirstStage,
    RegionNetwork,
    grown,
)
from medseg.model.networks.roi_align import roi_align
from medseg.training.sample import Batch

ATSS_CANDIDATES = 4
"""Anchors of each level nearest to an instance, of which the best overlapping ones are its own."""

SAME_IOU = 0.4
"""A proposed box is an instance's from this intersection over union on."""

JUDGED = 16
"""Boxes of an image that the second stage learns from, half of them at most wrong ones."""

FOCAL_EXPONENT = 2.0


def region_loss(network: RegionNetwork, stage: FirstStage, batch: Batch) -> Tensor:
    """The mean over the images of both stages' losses; the foreground's is not in it."""
    losses = []
    for number, labels in enumerate(batch.labels):
        boxes = boxes_of(labels)
        losses.append(first_loss(stage, number, boxes))
        if len(boxes):
            losses.append(second_loss(network, stage, number, (batch, boxes)))
        else:
            losses.append(wrong_boxes_loss(network, stage, number))
    return torch.stack(losses).sum() / len(batch.labels)


def boxes_of(labels: Tensor) -> Tensor:
    """(G, 6) the box of each instance in voxels, edge to edge; the n-th is label n of those there.

    Args:
        labels: (I, J, K) whole numbers.
    """
    found = [box for box in find_objects(labels.cpu().numpy()) if box is not None]
    edges = [[s.start for s in box] + [s.stop for s in box] for box in found]
    return torch.tensor(np.array(edges).reshape(-1, 6), dtype=torch.float32, device=labels.device)


def first_loss(stage: FirstStage, number: int, boxes: Tensor) -> Tensor:
    """Focal loss of the anchors' objectness, and the deltas of those that are an instance's."""
    logits, deltas = stage.objectness[number].float(), stage.deltas[number].float()
    owner = owners(stage, boxes)
    right = owner >= 0
    crossed = functional.binary_cross_entropy_with_logits(logits, right.float(), reduction="none")
    focal = crossed * (1 - torch.exp(-crossed)) ** FOCAL_EXPONENT
    total: Tensor = focal.sum() / right.sum().clamp(min=1)
    if right.any():
        wanted = CODER.encode_single(boxes[owner[right]], stage.anchors[right])
        total = total + functional.smooth_l1_loss(deltas[right], wanted, beta=0.1)
    return total


def owners(stage: FirstStage, boxes: Tensor) -> Tensor:
    """(M,) which box each anchor is to find; -1 none.

    ATSS gives a box the candidates above the mean of their overlaps and a standard deviation. Where
    half of them overlap as much as one another and the others hardly, that is more than any has;
    other boxes lose all to a neighbour. No anchor would learn of such a box, so it gets those that
    overlap it most, of the ones that are nobody's (as Faster R-CNN does: Ren et al. 2015, arXiv
    1506.01497, section 3.1.2).
    """
    if not len(boxes):
        return torch.full_like(stage.objectness[0], -1, dtype=torch.long)
    matcher = ATSSMatcher(ATSS_CANDIDATES, box_iou, center_in_gt=False)
    overlaps: Tensor
    owner: Tensor
    overlaps, owner = matcher.compute_matches(
        boxes, stage.anchors, stage.anchors_of_levels, len(ANCHORS_MM)
    )
    for number in range(len(boxes)):
        if not (owner == number).any():
            free = torch.where(owner < 0, overlaps[number], 0)
            owner[(free > 0) & (free == free.max())] = number
    return owner


def second_loss(
    network: RegionNetwork, stage: FirstStage, number: int, truth: tuple[Batch, Tensor]
) -> Tensor:
    """Class, box and mask of the boxes that the first stage proposes, and of the true ones."""
    batch, boxes = truth
    proposed = torch.cat([boxes, network.boxes(stage, number)])
    overlap, owner = box_iou(proposed, boxes).max(dim=1)
    right = torch.nonzero(overlap >= SAME_IOU).squeeze(1)[: JUDGED // 2]
    wrong = torch.nonzero(overlap < SAME_IOU).squeeze(1)[: JUDGED // 2]
    classes, deltas = network.judged(stage, number, proposed[torch.cat([right, wrong])])
    structure = structures_of(batch.labels[number], batch.mask[number])[owner[right]]
    wanted = torch.zeros_like(classes)
    wanted[torch.arange(len(right)), structure] = 1
    total = functional.binary_cross_entropy_with_logits(classes, wanted)
    targets = CODER.encode_single(boxes[owner[right]], proposed[right])
    total = total + functional.smooth_l1_loss(deltas[: len(right)], targets, beta=0.1)
    return total + mask_loss(network, stage, number, (batch, proposed[right], owner[right]))


def wrong_boxes_loss(network: RegionNetwork, stage: FirstStage, number: int) -> Tensor:
    """In an image without instances every box that is proposed is wrong."""
    classes, _ = network.judged(stage, number, network.boxes(stage, number)[: JUDGED // 2])
    return functional.binary_cross_entropy_with_logits(classes, torch.zeros_like(classes))


def mask_loss(
    network: RegionNetwork, stage: FirstStage, number: int, truth: tuple[Batch, Tensor, Tensor]
) -> Tensor:
    """Cross-entropy and Dice of the masks of right boxes, on the regions' grids."""
    batch, boxes, owner = truth
    numbers = torch.unique(batch.labels[number])
    numbers = numbers[numbers > 0]
    masks = (batch.labels[number] == numbers.view(-1, 1, 1, 1)).float()
    wanted = torch.stack(
        [
            roi_align(masks[n, None], box[None], MASK_BINS)[0, 0]
            for n, box in zip(owner.tolist(), grown(boxes), strict=True)
        ]
    )
    logits = network.masks(stage, number, boxes)
    crossed = functional.binary_cross_entropy_with_logits(logits, wanted)
    said = logits.sigmoid()
    both, sums = (said * wanted).flatten(1).sum(1), (said + wanted).flatten(1).sum(1)
    return crossed + (1 - 2 * both / sums.clamp(min=1)).mean()


def structures_of(labels: Tensor, mask: Tensor) -> Tensor:
    """(G,) the structure that has most voxels of each instance, in the order of its label."""
    numbers = torch.unique(labels)
    found = [mask[:, labels == n].sum(dim=1).argmax() for n in numbers[numbers > 0]]
    return torch.stack(found)
