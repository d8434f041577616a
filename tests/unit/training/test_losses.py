import dataclasses

import numpy as np
import pytest
import torch

from medseg.config import NetworkSettings
from medseg.training.losses import (
    dense_loss,
    dice_loss,
    heads,
    heatmap_loss,
    instance_loss,
    offset_loss,
    voxel_loss,
)
from medseg.training.sample import Batch, sample_of_instances, stack
from medseg.training.settings import LossSettings

SPACING = (5.0, 4.0, 3.0)
EVERYTHING = LossSettings(instance=1, focal_exponent=2, offset=0.5)
NETWORK = NetworkSettings(channels=(3, 4), structures=("lesion",))


@pytest.fixture
def batch() -> Batch:
    """A crop with a large and a small instance that touch, and one without any."""
    labels = np.zeros((9, 10, 8), np.uint16)
    labels[2:7, 2:8, 2:6], labels[7:9, 4:6, 3:5] = 1, 2
    centres = [np.array([20.0, 18.0, 10.5]), np.array([37.5, 18.0, 10.5])]
    data = np.zeros((1, *labels.shape), np.float32)
    both = sample_of_instances(data, labels, SPACING, centres, [12.0, 5.0], least_sigma_mm=4)
    none = sample_of_instances(data, labels * 0, SPACING, [], [], least_sigma_mm=4)
    return stack([both, none], torch.device("cpu"))


def sure(mask: torch.Tensor) -> torch.Tensor:
    """Logits of a prediction that is sure of the mask."""
    return (mask - 0.5) * 60


def right(batch: Batch) -> torch.Tensor:
    """What a network would say that has learnt the batch by heart."""
    return torch.cat([sure(batch.mask), sure((batch.heatmap == 1).float()), batch.offsets_mm], 1)


def test_a_perfect_prediction_costs_nothing_and_its_opposite_much(batch):
    perfect = dense_loss(heads(right(batch), NETWORK), batch, EVERYTHING)
    assert perfect.item() == pytest.approx(0, abs=1e-3)
    assert dense_loss(heads(-right(batch), NETWORK), batch, EVERYTHING) > 10


def test_every_part_can_be_left_out_and_has_its_weight(batch):
    said = heads(right(batch) * 0.02, NETWORK)
    none = LossSettings(dice=0, cross_entropy=0, heatmap=0, offset=0)
    assert dense_loss(said, batch, none).item() == 0
    parts = []
    for name in ("dice", "cross_entropy", "instance", "heatmap", "offset"):
        one = dense_loss(said, batch, none.model_copy(update={name: 1.0}))
        three = dense_loss(said, batch, none.model_copy(update={name: 3.0}))
        assert three.item() == pytest.approx(3 * one.item(), rel=1e-5)
        assert one > 0.01
        parts.append(one.item())
    all_of_them = LossSettings(instance=1, offset=1)
    assert dense_loss(said, batch, all_of_them).item() == pytest.approx(sum(parts), rel=1e-5)


def test_a_structure_that_was_not_outlined_is_left_out():
    rng = torch.Generator().manual_seed(4)
    mask = (torch.rand(2, 2, 4, 6, 5, generator=rng) < 0.3).float()
    known = torch.tensor([[True, False], [True, True]])
    logits = torch.randn(mask.shape, generator=rng)
    other = logits.clone()
    other[0, 1] += 5
    assert dice_loss(logits, mask, known).item() == dice_loss(other, mask, known).item()
    assert dice_loss(logits, mask, known | True) != dice_loss(other, mask, known | True)
    batch = Batch(logits, mask, known, *(mask[:, 0].int(),) * 2, mask[:, :1], mask)
    only = LossSettings()
    network = NetworkSettings(
        channels=(3, 4), structures=("a", "b"), centre_heatmap=False, offsets=False
    )
    values = [dense_loss(heads(x, network), batch, only).item() for x in (logits, other)]
    assert values[0] == values[1]
    everywhere = dataclasses.replace(batch, known=known | True)
    values = [dense_loss(heads(x, network), everywhere, only).item() for x in (logits, other)]
    assert values[0] != values[1]


def test_a_small_lesion_counts_as_much_as_a_large_one_and_an_empty_crop_counts_too():
    mask = torch.zeros(3, 1, 6, 8, 10)
    mask[0, 0, :5, :7, :9], mask[1, 0, 2:4, 2:4, 2:4] = 1, 1
    known = torch.ones(3, 1, dtype=torch.bool)
    missed = sure(mask)
    missed[1] = -50
    assert dice_loss(sure(mask), mask, known).item() == pytest.approx(0, abs=1e-4)
    small = 1 - 2 * 315 / (315 + 323)
    assert dice_loss(missed, mask, known).item() == pytest.approx((0.5 + small) / 2, abs=1e-3)
    loud = sure(mask)
    loud[2, 0, 1] = 50
    assert dice_loss(loud, mask, known) > 0.05


def test_the_instance_term_is_the_mean_over_territories_computed_one_by_one(batch):
    logits = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(2))
    crossed = voxel_loss(logits, batch.mask, 0)
    each = []
    for owner in (1, 2):
        here = batch.territories[0] == owner
        said, mask = logits[0, 0][here].sigmoid(), batch.mask[0, 0][here]
        dice = 1 - 2 * (said * mask).sum() / (said + mask).sum()
        each.append((dice + crossed[0, 0][here].mean()).item())
    value = instance_loss(logits, batch.mask, crossed, batch.territories)
    assert value.item() == pytest.approx(np.mean(each), rel=1e-4)


def test_a_missed_small_instance_costs_half_whatever_its_size(batch):
    missed = sure(batch.mask)
    missed[0, 0][batch.labels[0] == 2] = -30
    crossed = torch.zeros_like(missed)
    value = instance_loss(missed, batch.mask, crossed, batch.territories)
    assert value.item() == pytest.approx(0.5, abs=1e-3)


def test_without_instances_their_term_is_zero_and_can_be_followed_back(batch):
    logits = torch.randn(batch.mask.shape, requires_grad=True)
    nobody = torch.zeros_like(batch.territories)
    value = instance_loss(logits, batch.mask, voxel_loss(logits, batch.mask, 0), nobody)
    value.backward()
    assert value.item() == 0


def test_the_heatmaps_loss_is_that_of_the_paper_and_forgives_the_neighbourhood(batch):
    logits = torch.full(batch.heatmap.shape, -1.0)
    said = 1 / (1 + np.exp(1.0))
    target = batch.heatmap.numpy()
    expected = np.where(
        target == 1,
        -((1 - said) ** 2) * np.log(said),
        -((1 - target) ** 4) * said**2 * np.log(1 - said),
    ).sum()
    assert (target == 1).sum() == 2
    assert heatmap_loss(logits, batch.heatmap).item() == pytest.approx(expected / 2, rel=1e-5)
    near, far = sure((batch.heatmap == 1).float()), sure((batch.heatmap == 1).float())
    near[0, 0, 4, 5, 4], far[0, 0, 0, 0, 0] = 3, 3
    assert heatmap_loss(far, batch.heatmap) > 2 * heatmap_loss(near, batch.heatmap) > 0


def test_an_offset_counts_in_mm_and_only_inside_instances(batch):
    said = batch.offsets_mm.clone()
    said[:, 0] += 3
    outside = said + 100 * (batch.labels == 0).unsqueeze(1)
    for offsets in (said, outside):
        value = offset_loss(offsets, batch.offsets_mm, batch.labels)
        assert value.item() == pytest.approx(1, rel=1e-5)


def test_a_focal_exponent_makes_sure_voxels_count_less():
    mask = torch.ones(1, 1, 2, 3, 1)
    logits = torch.tensor([3.0, 0.0, -3.0]).view(1, 1, 1, 3, 1).expand(mask.shape)
    plain, focal = voxel_loss(logits, mask, 0), voxel_loss(logits, mask, 2)
    expected = plain * (1 - logits.sigmoid()) ** 2
    torch.testing.assert_close(focal, expected)
