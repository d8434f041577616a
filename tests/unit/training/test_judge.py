import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.config import JudgeSettings
from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats.itk import resample
from medseg.model.networks.judge import Judge, from_afar
from medseg.segment.prepare import prepare
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


def test_a_labelled_lesion_of_a_body_is_lesion_where_it_is_seen_and_nowhere_else(
    run, sources, monkeypatch
):
    """Where the view is cut off there is none, and beside it nothing is normal."""
    monkeypatch.setattr(training, "SHAPE", (40, 36, 60))
    monkeypatch.setattr(training, "_add", lambda *_: None)
    (body,) = sources.bodies
    labels = np.zeros(body.labels.shape, np.uint16)
    labels[8:14, 20:26, 10:40] = 1
    image = np.where(labels > 0, np.float32(20), body.image)
    ill = Sources(sources.cases, (make_case("ill", image, labels, body.geometry),))
    shares, cut = [], 0
    for n in range(30):
        view = draw_view(ill, run, np.random.default_rng(n))
        hot, empty = view.data[0] > 0.75, view.data[0] == 0
        assert not (view.lesion & empty).any()
        assert not (view.normal & ndimage.binary_dilation(view.lesion)).any()
        both = (view.lesion & hot).sum()
        shares.append((both / max(1, view.lesion.sum()), both / max(1, hot.sum())))
        cut += empty[:, :, 0].all() or empty[:, :, -1].all()
        assert view.lesion.any()
    lesion_is_hot, hot_is_lesion = np.median(shares, axis=0)
    assert lesion_is_hot > 0.55  # the rest is its blurred rim
    assert hot_is_lesion > 0.8
    assert cut > 3


@pytest.mark.parametrize("radius_mm", [8, 12, 18])
def test_a_body_is_as_blurred_to_learn_from_as_a_study_is_to_predict(radius_mm):
    """Else a sharp blob would be a tumour, which is added as blurred as it is predicted."""
    grid = Geometry((44, 36, 46), np.diag([-4.1, 3.9, 3.3, 1.0]))
    places = grid.to_world(np.stack(np.indices(grid.shape), axis=-1))
    middle = grid.to_world((np.array(grid.shape) - 1) / 2)
    ball = np.linalg.norm(places - middle, axis=-1) < radius_mm
    body = make_case("ball", ball.astype(np.float32), np.zeros(grid.shape, np.uint16), grid)
    volume = Volume(body.image, grid, IntensityUnit.SUV)
    study = prepare({"pet": volume}, ("pet",), (5.0, 5.0, 4.0))
    predicted = from_afar(study.data, (5.0, 5.0, 4.0))[0]
    image, coarse = body.coarse
    learnt = resample(image, coarse, study.geometry, interpolation="linear", outside=0)
    there = predicted > predicted.max() / 2
    assert learnt[there].mean() == pytest.approx(predicted[there].mean(), rel=0.1)
    assert learnt.max() == pytest.approx(predicted.max(), rel=0.12)


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
