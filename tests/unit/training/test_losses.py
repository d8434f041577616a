import numpy as np
import pytest
import torch

from medseg.training.losses import crop_dice, heatmap_loss, loss


def arrays():
    rng = np.random.default_rng(0)
    mask = torch.from_numpy((rng.random((2, 1, 4, 6, 5)) < 0.3).astype(np.float32))
    heatmap = torch.from_numpy(rng.random((2, 1, 4, 6, 5)).astype(np.float32))
    return mask, heatmap


def test_a_perfect_prediction_costs_nothing():
    mask, heatmap = arrays()
    perfect = torch.cat([(mask - 0.5) * 100, torch.logit(heatmap.double()).float()], dim=1)
    assert loss(perfect, mask, heatmap, 1).item() == pytest.approx(0, abs=1e-4)


def test_the_heatmaps_loss_is_least_at_the_target_itself():
    _, heatmap = arrays()
    logits = torch.logit(heatmap.double()).float().requires_grad_()
    value = heatmap_loss(logits, heatmap)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert logits.grad.abs().max() < 1e-5
    assert heatmap_loss(logits.detach() + 0.5, heatmap) > 0.01


def test_a_lesion_where_there_is_none_costs_something():
    none = torch.zeros(1, 1, 4, 6, 5)
    quiet, loud = torch.full_like(none, -8), torch.full_like(none, -8)
    loud[0, 0, 1, 2, 3] = 8
    assert loss(loud, none, none, 1) > loss(quiet, none, none, 1) + 0.01


def test_without_a_heatmap_only_the_structures_count():
    mask, heatmap = arrays()
    sums = mask.flatten(1).sum(dim=1)
    each = 1 - sums / (mask[0].numel() / 2 + sums)
    together = 1 - mask.sum() / (mask.numel() / 2 + mask.sum())
    expected = np.log(2) + (each.mean() + together).item() / 2
    assert loss(torch.zeros_like(mask), mask, heatmap, 1).item() == pytest.approx(
        expected, rel=1e-3
    )


def test_a_small_lesion_counts_as_much_as_a_large_one_and_an_empty_crop_not_at_all():
    mask = torch.zeros(3, 1, 6, 8, 10)
    mask[0, 0, :5, :7, :9], mask[1, 0, 2:4, 2:4, 2:4] = 1, 1
    right = (mask - 0.5) * 100
    missed = right.clone()
    missed[1] = -50
    assert crop_dice(right, mask).item() == pytest.approx(0, abs=1e-4)
    assert crop_dice(missed, mask).item() == pytest.approx(0.5, abs=1e-3)
    assert crop_dice(right[2:], mask[2:]).item() == 0
