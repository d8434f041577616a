import numpy as np
import pytest
import torch

from medseg.training.losses import heatmap_loss, loss


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
    assert loss(torch.zeros_like(mask), mask, heatmap, 1).item() == pytest.approx(
        np.log(2) + 1 - (mask.sum().item() + 1e-5) / (mask.numel() / 2 + mask.sum().item() + 1e-5),
        rel=1e-4,
    )
