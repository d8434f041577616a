import hashlib

import pytest
import torch
import yaml
from pydantic import ValidationError

from medseg.config import ModelCard, load_card, parse
from medseg.core.prediction import ModelInput
from medseg.core.volume import IntensityUnit, Volume
from medseg.model.load import load_weights
from medseg.segment.prepare import prepare
from medseg.training import bodies, export, pet_calibration, pet_lesions
from medseg.training.fit import begin
from medseg.training.settings import PetLesionsTask
from medseg.training.tasks import read


@pytest.fixture
def exported(settings, data, case, tmp_path, monkeypatch):
    for module in (pet_lesions, pet_calibration):
        monkeypatch.setattr(module, "phantom_case", lambda _: case)
    for name in ("touching_body", "separate_body", "sarcoma_body"):
        monkeypatch.setattr(pet_lesions, name, lambda *_: case)
    monkeypatch.setattr(pet_lesions, "varied_case", lambda *_, **__: case)
    monkeypatch.setattr(pet_lesions, "UNSEEN_BODIES", (1000, 1001))
    monkeypatch.setattr(pet_calibration, "PAIRS", 2)
    monkeypatch.setattr(pet_calibration, "PHANTOMS", (0, 101))
    run = settings.model_copy(update={"data": data})
    state = begin(run)
    card = export.export(run, read(run), state, tmp_path)
    return card, state, tmp_path


def test_the_written_card_is_the_returned_one_and_names_the_weights_by_digest(exported):
    card, _, folder = exported
    written = yaml.safe_load((folder / "tiny.yaml").read_text(encoding="utf-8"))
    assert parse(ModelCard, written) == card
    assert card.sha256 == hashlib.sha256((folder / card.weights).read_bytes()).hexdigest()
    assert load_card(str(folder / "tiny.yaml")) == card


def test_every_score_is_there_and_those_on_training_data_say_so(exported):
    card, *_ = exported
    assert card.scores["pet_lesions/val"]["cases"] == 1
    assert card.scores["phantom seed 0 (unseen)"]["lesions"] == 1
    synthetic = [values for name, values in card.scores.items() if "synthetic" in name]
    assert [values["bodies"] for values in synthetic] == [2, 2, 2]
    assert not any("whole body" in name for name in card.scores)


def test_the_confidence_is_fitted_on_every_named_case_where_there_are_enough(
    exported, settings, data, monkeypatch
):
    card, _, folder = exported
    assert card.calibration is None  # a network that learnt nothing finds too few lesions
    run = settings.model_copy(update={"data": data})
    model = load_weights(card, folder, 0.25)
    seen = []
    monkeypatch.setattr(export, "calibrate", lambda cases, named: seen.append((cases, named)))
    export.calibration_of(run, model)
    ((cases, named),) = seen
    names = [one.patient for one in cases]
    assert len(names) == 1 + 2 + 2
    assert names[-2:] == ["pair 0", "pair 1"]
    assert named.startswith("1 patients of pet_lesions/val (real")
    assert "2 unseen phantoms" in named


def test_the_running_mean_is_what_is_shipped(exported, case):
    card, state, folder = exported
    with torch.no_grad():
        state.network.head.bias.fill_(7)
    model = load_weights(card, folder, 0.25)
    volume = Volume(case.image, case.geometry, IntensityUnit.SUV)
    study: ModelInput = prepare({"pet": volume}, model.roles, model.spacing_mm)
    assert model.predict(study).probabilities.max() < 0.9
    assert model.network.head.bias[0].item() == pytest.approx(state.average["head.bias"][0].item())


def test_a_phantom_is_a_case_with_its_lesions_known():
    case = bodies.phantom_case(3)
    assert len(case.lesions) > 3
    assert len({lesion.label for lesion in case.lesions}) == len(case.lesions)
    assert case.image.shape == case.labels.shape


def test_no_score_and_no_confidence_is_of_a_phantom_that_may_be_learnt_from():
    with pytest.raises(ValidationError):
        PetLesionsTask(plain_phantoms=101)
    assert not set(range(1, 101)) & {*pet_lesions.UNSEEN_PHANTOMS, *pet_calibration.PHANTOMS}


def test_bodies_are_as_many_phantoms_of_either_kind_as_the_settings_say(settings, data):
    task = settings.pet_lesions.model_copy(update={"varied_phantoms": 1, "plain_phantoms": 2})
    sources = read(settings.model_copy(update={"data": data, "task": task})).sources
    names = [case.name for case in sources.phantoms]
    assert names == ["varied phantom 0", "phantom 1", "phantom 2"]
