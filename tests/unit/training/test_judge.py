import numpy as np
import pytest
import torch

from medseg.config import JudgeSettings
from medseg.core.geometry import Geometry
from medseg.model.networks.judge import Judge
from medseg.training import judge as training
from medseg.training.datasets import make_case
from medseg.training.judge import View, draw_view, fit_judge, judge_loss
from medseg.training.sampling import Sources


@pytest.fixture
def run(settings):
    network = settings.network.model_copy(update={"judge": JudgeSettings(channels=(2, 3))})
    return settings.model_copy(update={"network": network})


@pytest.fixture
def sources(case):
    """A quiet body with one hot organ, and the tumour of the case."""
    geometry = Geometry((40, 36, 50), np.diag([-14.0, 13.0, 15.0, 1.0]))
    image = np.full(geometry.shape, 0.8, np.float32)
    image[25:32, 10:16, 30:38] = 12
    body = make_case("body", image, np.zeros(geometry.shape, np.uint16), geometry)
    return Sources((case,), (body,))


def test_lesion_and_normal_uptake_never_share_a_voxel_and_both_occur(run, sources, monkeypatch):
    monkeypatch.setattr(training, "SHAPE", (24, 20, 40))
    views = [draw_view(sources, run, np.random.default_rng(n)) for n in range(6)]
    assert any(view.lesion.any() for view in views)
    assert any(view.normal.any() for view in views)
    for view in views:
        assert not (view.lesion & view.normal).any()
        assert view.data.shape == (1, 24, 20, 40)
        assert 0 <= view.data.min() < view.data.max() <= 1


def test_the_loss_falls_when_lesions_are_kept_and_normal_uptake_is_refused(run, sources):
    view = draw_view(sources, run, np.random.default_rng(4))
    judge = Judge(run.network.judge, run.input)
    truth = torch.from_numpy(view.lesion.astype(np.float32))[None, None]

    def said(logits):
        judge.forward = lambda _x: logits
        return judge_loss(judge, view).item()

    assert said(20 * (truth - 0.5)) < 0.01 < said(truth * 0) < said(-20 * (truth - 0.5))


def test_training_is_the_same_every_time_and_moves_the_weights(run, sources, monkeypatch):
    monkeypatch.setattr(training, "SHAPE", (16, 16, 16))
    one, other = (fit_judge(run, sources, steps=2) for _ in range(2))
    torch.manual_seed(run.seed)
    fresh = Judge(run.network.judge, run.input).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], fresh[name]) for name in one)


def test_in_bfloat16_other_weights_are_learnt_and_stay_in_single_precision(
    run, sources, monkeypatch
):
    monkeypatch.setattr(training, "SHAPE", (16, 16, 16))
    said = []
    for fast in (False, True):
        monkeypatch.setattr(training, "in_bfloat16", lambda *_, fast=fast: fast)
        said.append(fit_judge(run, sources, steps=2))
    plain, fast = said
    assert {tensor.dtype for tensor in fast.values()} == {torch.float32}
    assert any(not torch.equal(plain[name], fast[name]) for name in plain)


def test_the_loss_in_bfloat16_is_that_in_single_precision_to_a_hundredth(run):
    data = np.random.default_rng(1).random((1, 16, 16, 16), np.float32)
    view = View(data, lesion=data[0] > 0.9, normal=data[0] < 0.5)
    torch.manual_seed(0)
    judge = Judge(run.network.judge, run.input)
    exact = judge_loss(judge, view)
    with torch.autocast("cpu", torch.bfloat16):
        rough = judge_loss(judge, view)
    assert rough.dtype == torch.float32
    assert exact.item() > 0.1
    assert rough.item() == pytest.approx(exact.item(), rel=0.01)
