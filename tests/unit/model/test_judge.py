import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medseg.config import InputSettings, JudgeSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.model.networks.build import build
from medseg.model.networks.judge import from_afar, judged, stretched
from medseg.model.predict import TiledModel

JUDGE = JudgeSettings(factor=3, blur_mm=4, channels=(2, 3), least_extent_mm=100)
SEEN = InputSettings(roles=("pet",), spacing_mm=(5.0, 5.0, 4.0), clip=((0, 20),), tile=(16, 16, 24))
NETWORK = NetworkSettings(channels=(3, 4), structures=("lesion", "brain"), judge=JUDGE)


@pytest.fixture
def network():
    torch.manual_seed(1)
    made = build(NETWORK, SEEN).eval()
    torch.nn.init.constant_(made.head.bias, 4.0)  # the tiles call everything everything
    return made


def study(length: int) -> ModelInput:
    data = np.random.default_rng(0).uniform(0, 9, (1, 19, 22, length)).astype(np.float32)
    return ModelInput(data, Geometry((19, 22, length), np.diag([5.0, 5.0, 4.0, 1.0])))


def says(network, logit: float) -> None:
    torch.nn.init.zeros_(network.judge.head.weight)
    torch.nn.init.constant_(network.judge.head.bias, logit)


def test_the_judge_takes_lesions_away_and_adds_none(network, card_of):
    model = TiledModel(card_of(NETWORK, SEEN), network, 0.25)
    says(network, 50)
    free = model.predict(study(30))
    says(network, -2)
    strict = model.predict(study(30))
    assert free.probabilities[0].min() > 0.5
    np.testing.assert_allclose(strict.probabilities[0], 1 / (1 + np.exp(2)), atol=1e-5)
    np.testing.assert_array_equal(strict.probabilities[1], free.probabilities[1])
    np.testing.assert_array_equal(strict.offsets_mm, free.offsets_mm)


def test_a_part_of_the_body_is_not_judged(network, card_of):
    says(network, -9)
    model = TiledModel(card_of(NETWORK, SEEN), network, 0.25)
    assert model.predict(study(24)).probabilities[0].min() > 0.5
    assert model.predict(study(25)).probabilities[0].max() < 0.01


def test_what_is_seen_from_afar_lies_where_it_is():
    data = np.zeros((1, 30, 27, 33), np.float32)
    data[0, 12, 9, 21] = 1
    far = from_afar(data, JUDGE, SEEN.spacing_mm)
    assert far.shape == (1, 10, 9, 11)
    assert np.unravel_index(far.argmax(), far.shape) == (0, 4, 3, 7)
    back = stretched(far[0], tuple(np.arange(n) / 3 for n in (28, 25, 31)))
    assert np.unravel_index(back.argmax(), back.shape) == (12, 9, 21)


def test_any_size_is_judged(network):
    for shape in ((19, 22, 30), (7, 40, 31)):
        coarse = from_afar(np.ones((1, *shape), np.float32), JUDGE, SEEN.spacing_mm)
        said = judged(network.judge, coarse, shape, JUDGE.factor)
        assert said.shape == shape
        assert np.isfinite(said).all()


@pytest.mark.parametrize("family", ["crop-unet", "regions"])
def test_only_centre_offset_has_a_judge(family):
    heads = {"centre_heatmap": False, "offsets": False}
    with pytest.raises(ValidationError, match=f"{family} have no judge"):
        NetworkSettings(
            family=family, channels=(3, 4), structures=("lesion",), judge=JUDGE, **heads
        )
