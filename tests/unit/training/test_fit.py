import dataclasses
import json

import numpy as np
import pytest
import torch

from medseg.config import JudgeSettings
from medseg.core.geometry import Geometry
from medseg.errors import ModelError
from medseg.training import checkpoint
from medseg.training.datasets import make_case
from medseg.training.fit import begin, fit, learning_rate, run
from medseg.training.pet_lesions import PetLesions
from medseg.training.sampling import Sources, sample


@pytest.fixture
def task(settings, case) -> PetLesions:
    """One ball to learn from and one to be measured on."""
    return PetLesions(settings, Sources((case,), ()), (dataclasses.replace(case, name="val"),))


def test_to_resume_is_to_have_never_stopped_bit_for_bit(settings, task, tmp_path):
    whole = run(settings, task, tmp_path / "whole", _nothing)

    def stop(_stage: str, share: float) -> None:
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(settings, task, tmp_path / "parts", stop)
    parts = run(settings, task, tmp_path / "parts", _nothing)
    assert parts.step == whole.step == 4
    assert parts.history == whole.history
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, parts.network.state_dict()[name]), name
        assert torch.equal(whole.average[name], parts.average[name]), name
    names = ("checkpoint.safetensors", "metrics.json", "curve.svg")
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_another_seed_makes_another_network(settings, task, tmp_path):
    one = run(settings, task, tmp_path / "one", _nothing)
    other = run(settings.model_copy(update={"seed": 12}), task, tmp_path / "b", _nothing)
    assert not torch.equal(one.average["head.weight"], other.average["head.weight"])


def test_a_checkpoint_of_other_settings_is_refused(settings, task, tmp_path):
    run(settings, task, tmp_path, _nothing)
    with pytest.raises(ModelError, match="other settings"):
        run(settings.model_copy(update={"seed": 12}), task, tmp_path, _nothing)


def test_a_checkpoint_of_other_data_is_refused(settings, task, tmp_path):
    run(settings, task, tmp_path, _nothing)
    case = task.sources.cases[0]
    brighter = make_case(case.name, case.image + 1, case.labels, case.geometry)
    with pytest.raises(ModelError, match="other settings"):
        run(settings, PetLesions(settings, Sources((brighter,), ()), ()), tmp_path, _nothing)


def test_a_damaged_checkpoint_is_refused(settings, task, tmp_path):
    (tmp_path / checkpoint.FILE).write_bytes(b"PK")
    with pytest.raises(ModelError, match="cannot be read"):
        run(settings, task, tmp_path, _nothing)


def test_every_validation_is_in_the_metrics_and_the_curve(settings, task, tmp_path):
    run(settings, task, tmp_path, _nothing)
    rows = json.loads((tmp_path / "metrics.json").read_text())
    assert [row["step"] for row in rows] == [2, 4]
    assert all(0 <= row["scores"]["val_dice"] <= 1 for row in rows)
    assert (tmp_path / "curve.svg").read_text().count("<polyline") == 2


def test_it_learns_from_the_files_that_the_settings_name(settings, data, tmp_path):
    told: list[float] = []
    small = settings.model_copy(update={"data": data, "steps": 2})
    state = fit(small, tmp_path / "run", lambda _, share: told.append(share))
    assert told == [0.5, 1]
    assert state.history[-1].step == 2


def test_the_rate_rises_and_falls_to_a_hundredth(settings):
    long = settings.model_copy(update={"steps": 1000})
    rates = [learning_rate(step, long) for step in range(1000)]
    assert max(rates) == rates[100] == pytest.approx(long.learning_rate)
    assert rates[-1] == pytest.approx(long.learning_rate / 100, rel=1e-3)
    assert all(np.diff(rates[:100]) > 0)
    assert all(np.diff(rates[100:]) < 0)


def test_a_run_begins_with_the_mean_weights_of_the_one_it_names(settings, data, tmp_path):
    first = settings.model_copy(update={"data": data, "steps": 2})
    begun = fit(first, tmp_path / "runs" / "first", _nothing)
    second = first.model_copy(update={"start_from": "first", "steps": 1, "learning_rate": 1e-9})
    ended = fit(second, tmp_path / "runs" / "second", _nothing)
    for name, tensor in ended.network.state_dict().items():
        torch.testing.assert_close(tensor, begun.average[name], rtol=0, atol=1e-6)


def test_a_judge_is_never_taken_from_a_run(settings):
    judged = settings.network.model_copy(update={"judge": JudgeSettings(channels=(2, 3))})
    larger = judged.judge.model_copy(update={"channels": (3, 4)})
    given = begin(settings.model_copy(update={"network": judged, "seed": 1})).average
    for network in (settings.network, judged.model_copy(update={"judge": larger})):
        other = settings.model_copy(update={"network": network})
        own, begun = begin(other).average, begin(other, given).average
        for name, tensor in begun.items():
            wanted = own if name.startswith("judge.") else given
            assert torch.equal(tensor, wanted[name]), name


def test_weights_without_a_backbone_are_refused(settings):
    with pytest.raises(ModelError, match="backbone does not fit"):
        begin(settings, {"head.weight": torch.zeros(1)})


def test_a_run_to_start_from_that_is_not_there_is_refused(settings, data, tmp_path):
    missing = settings.model_copy(update={"data": data, "start_from": "none"})
    with pytest.raises(ModelError, match="not beside"):
        fit(missing, tmp_path / "runs" / "second", _nothing)


def test_the_running_mean_follows_a_constant_exactly():
    average = {"w": torch.zeros(3), "n": torch.tensor(0)}
    target = {"w": torch.full((3,), 2.0), "n": torch.tensor(7)}
    for step in range(1, 200):
        checkpoint.update_average(average, target, step, 0.9)
    torch.testing.assert_close(average["w"], target["w"])
    assert average["n"] == 7


def test_a_sample_is_the_same_for_the_same_seed_and_in_the_networks_range(task):
    one, again = (task.sample(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.data, again.data)
    for array in (one.data, one.mask, one.heatmap):
        assert array.shape == (1, 16, 20, 24)
        assert array.dtype == np.float32
        assert 0 <= array.min() <= array.max() <= 1


def test_crops_of_a_body_are_drawn_too(settings, case, oblique):
    body = make_case("body", np.full(oblique.shape, 3, np.float32), case.labels * 0, oblique)
    only = drawing(settings, touching_share=0, background_share=1)
    drawn = [
        sample(Sources((case,), (body,)), only, np.random.default_rng(n)).mask.sum()
        for n in range(8)
    ]
    assert min(drawn) == 0


def test_touching_scenes_hold_more_than_one_instance(settings, case):
    only = drawing(settings, touching_share=1, background_share=0)
    peaks = [
        (sample(Sources((case,), ()), only, np.random.default_rng(n)).heatmap > 0.9).sum()
        for n in range(6)
    ]
    assert max(peaks) > 1


def test_geometry_of_the_fixture_is_oblique(oblique):
    assert isinstance(oblique, Geometry)
    assert np.count_nonzero(oblique.affine[:3, :3]) > 3


def drawing(settings, **shares):
    return settings.model_copy(update={"task": settings.task.model_copy(update=shares)})


def _nothing(_stage: str, _share: float) -> None:
    """Progress of no interest."""
