import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medseg.config import InputSettings, JudgeSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.model.networks.build import build
from medseg.model.networks.judge import from_afar, judged, stretched, with_mirror_image
from medseg.model.predict import TiledModel

JUDGE = JudgeSettings(factor=3, channels=(2, 3), least_extent_mm=100)
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


def test_what_is_taken_off_comes_off_a_study_that_is_judged_and_off_no_other(network, card_of):
    says(network, -1)
    less = NETWORK.model_copy(update={"judge": JUDGE.model_copy(update={"taken_off": 0.7})})
    before, after = (TiledModel(card_of(n, SEEN), network, 0.25) for n in (NETWORK, less))
    lower = after.predict(study(30))
    np.testing.assert_allclose(lower.probabilities[0], 1 / (1 + np.exp(1.7)), atol=1e-5)
    np.testing.assert_array_equal(
        lower.probabilities[1], before.predict(study(30)).probabilities[1]
    )
    np.testing.assert_array_equal(
        after.predict(study(24)).probabilities, before.predict(study(24)).probabilities
    )


def test_a_part_of_the_body_is_not_judged(network, card_of):
    says(network, -9)
    model = TiledModel(card_of(NETWORK, SEEN), network, 0.25)
    short, long = model.predict(study(24)), model.predict(study(25))
    assert short.probabilities[0].min() > 0.5
    assert long.probabilities[0].max() < 0.01
    assert ([flag.code for flag in short.flags], long.flags) == (["short-scan"], ())
    # 96 mm: rounded up, the sentence would contradict itself.
    assert "is 9 cm long" in short.flags[0].message
    assert "at least 10 cm" in short.flags[0].message


def test_what_is_seen_from_afar_lies_where_it_is():
    data = np.zeros((1, 30, 27, 33), np.float32)
    data[0, 12, 9, 21] = 1
    far = from_afar(data, SEEN.spacing_mm)
    assert far.shape == data.shape
    assert np.unravel_index(far.argmax(), far.shape) == (0, 12, 9, 21)
    back = stretched(far[0, ::3, ::3, ::3], tuple(np.arange(n) / 3 for n in (28, 25, 31)))
    assert np.unravel_index(back.argmax(), back.shape) == (12, 9, 21)


def test_what_is_said_lies_where_it_is_seen(network):
    """A judge that says how hot a voxel is itself, whatever lies around it and beside it."""
    judge = network.judge
    judge.forward = lambda x: 7 * x[:, :1]
    i, j, k = np.meshgrid(*(np.linspace(0.1, 0.9, n) for n in (19, 22, 30)), indexing="ij")
    far = (0.5 * i + 0.2 * j + 0.3 * k).astype(np.float32)[None]
    said = judged(judge, far, JUDGE.factor)
    inside = (slice(2, -4),) * 3  # at the edges a view that begins later knows no more than its own
    np.testing.assert_allclose(said[inside], 7 * far[0][inside], atol=1e-4)
    assert np.abs(said - 7 * far[0]).max() < 0.6


def test_any_size_is_judged(network):
    for shape in ((19, 22, 30), (7, 40, 31), (1, 2, 30), (3, 4, 5)):
        far = from_afar(np.ones((1, *shape), np.float32), SEEN.spacing_mm)
        said = judged(network.judge, far, JUDGE.factor)
        assert said.shape == shape
        assert np.isfinite(said).all()


def test_the_mirror_image_is_about_the_middle_of_the_patient():
    coarse = np.zeros((1, 14, 5, 6), np.float32)
    coarse[0, 2:10, 1:4] = 0.3  # from 2 to 9: the middle is 5.5
    coarse[0, 3, 2, 4] = 0.9
    coarse[0, 13, 0, 0] = 0.05  # air, and its image would lie outside
    seen = with_mirror_image(coarse, air_below=0.1)
    np.testing.assert_array_equal(seen[0], coarse[0])
    assert seen[1, 8, 2, 4] == np.float32(0.9)
    np.testing.assert_array_equal(seen[1, 2:10] > 0.1, coarse[0, 2:10] > 0.1)
    assert seen[1, 12:].max() == 0
    assert with_mirror_image(np.zeros_like(coarse), 0.1).shape == (2, 14, 5, 6)


def test_every_view_is_asked_as_it_is_and_mirrored_each_with_its_mirror_image(network):
    judge = network.judge
    far = np.random.default_rng(1).uniform(0, 1, (1, 24, 24, 36)).astype(np.float32)
    asked = []
    judge.forward = lambda x: (asked.append(x[0].numpy().copy()), x[:, :1])[1]
    judged(judge, far, JUDGE.factor)
    views = [far[:, n::3, n::3, n::3] for n in range(3)]  # 8, 8, 12 voxels: nothing is padded
    wanted = [side for view in views for side in (view, view[:, ::-1])]
    assert len(asked) == 6
    for seen, view in zip(asked, wanted, strict=True):
        np.testing.assert_array_equal(seen, with_mirror_image(view, SEEN.empty_below))


@pytest.mark.parametrize("family", ["crop-unet", "regions"])
def test_only_centre_offset_has_a_judge(family):
    heads = {"centre_heatmap": False, "offsets": False}
    with pytest.raises(ValidationError, match=f"{family} have no judge"):
        NetworkSettings(
            family=family, channels=(3, 4), structures=("lesion",), judge=JUDGE, **heads
        )
