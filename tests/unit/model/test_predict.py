import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from medseg.config import InputSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.model.networks.build import build
from medseg.model.predict import TiledModel, out_of_memory
from tests.unit.model.conftest import SHAPE


@pytest.fixture
def model(card) -> TiledModel:
    torch.manual_seed(2)
    network = build(card.network, card.input).eval()
    nn.init.normal_(network.head.weight, std=20)
    return TiledModel(card, network, tile_overlap=0.5)


def pointwise(model: TiledModel) -> TiledModel:
    """The same with a network that looks at one voxel only, so tiling must not show at all."""

    class Pointwise(nn.Module):
        def forward(self, x):
            pet, ct = x[:, 0], x[:, 1]
            return torch.stack([pet - ct, pet * 3, -ct, pet * 50, -pet, ct - 7], dim=1)

    return dataclasses.replace(model, network=Pointwise())


def test_it_predicts_every_structure_and_the_centres_on_the_studys_grid(model, study):
    prediction = model.predict(study)
    assert prediction.structures == ("lesion", "node")
    assert prediction.probabilities.shape == (2, *SHAPE)
    assert prediction.centre_heatmap.shape == SHAPE
    assert prediction.offsets_mm.shape == (3, *SHAPE)
    assert prediction.geometry is study.geometry
    assert 0 <= prediction.probabilities.min() < prediction.probabilities.max() <= 1
    assert prediction.probabilities.dtype == np.float32


def test_roles_and_spacing_are_the_cards(model):
    assert model.roles == ("pet", "ct")
    assert model.spacing_mm == (5, 4, 3)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.7])
def test_tiles_are_put_back_where_they_were_taken(model, study, overlap):
    said = dataclasses.replace(pointwise(model), tile_overlap=overlap).predict(study)
    pet = np.clip(study.data[0] / 20, 0, 1)
    ct = np.clip((study.data[1] + 1000) / 2000, 0, 1)
    expected = 1 / (1 + np.exp(-np.stack([pet - ct, pet * 3, -ct])))
    np.testing.assert_allclose(said.probabilities, expected[:2], atol=1e-6)
    np.testing.assert_allclose(said.centre_heatmap, expected[2], atol=1e-6)
    np.testing.assert_allclose(said.offsets_mm, [pet * 50, -pet, ct - 7], rtol=1e-5, atol=1e-5)


def test_where_tiles_begin_moves_a_prediction_little(model, study):
    """What lies beyond a tile is not seen, so something shows at its edges; noise and chance
    weights are the worst case. tests/realdata has the shipped network on a patient."""
    tiled = model.predict(study).probabilities
    whole_card = model.card.model_copy(
        update={"input": model.card.input.model_copy(update={"tile": (32, 20, 36)})}
    )
    whole = dataclasses.replace(model, card=whole_card).predict(study).probabilities
    assert whole.std() > 0.01
    assert np.corrcoef(tiled.ravel(), whole.ravel())[0, 1] > 0.7


def test_nothing_is_predicted_where_there_is_only_air(model, study):
    """And what is predicted elsewhere does not change."""
    data = study.data.copy()
    data[0, :, :, 20:] = np.random.default_rng(1).uniform(0, 0.9, data[0, :, :, 20:].shape)
    air = ModelInput(data, study.geometry)
    settings = model.card.input.model_copy(update={"empty_below": 0.05, "tile": (32, 20, 8)})
    card = model.card.model_copy(update={"input": settings})
    skipping = dataclasses.replace(model, card=card, tile_overlap=0)
    everywhere = dataclasses.replace(
        skipping,
        card=card.model_copy(update={"input": settings.model_copy(update={"empty_below": 0})}),
    )
    said, noise = skipping.predict(air), everywhere.predict(air)
    assert said.probabilities[..., 24:].max() < 1e-6
    assert said.centre_heatmap[..., 24:].max() < 1e-6
    assert noise.probabilities[..., 24:].max() > 1e-3
    assert not said.offsets_mm[..., 24:].any()
    np.testing.assert_array_equal(said.probabilities[..., :20], noise.probabilities[..., :20])


def test_the_same_study_is_predicted_the_same_bit_for_bit(model, study):
    first, second = model.predict(study), model.predict(study)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    np.testing.assert_array_equal(first.centre_heatmap, second.centre_heatmap)


def test_a_study_smaller_than_a_tile_is_predicted_too(model):
    small = ModelInput(np.ones((2, 3, 1, 2), np.float32), Geometry((3, 1, 2), np.eye(4)))
    assert model.predict(small).probabilities.shape == (2, 3, 1, 2)


def test_progress_rises_to_one(model, study):
    told: list[tuple[str, float]] = []
    model.predict(study, lambda stage, share: told.append((stage, share)))
    shares = [share for _, share in told]
    assert {stage for stage, _ in told} == {"predict"}
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) > 8


def test_a_model_without_a_heatmap_gives_none(model, study):
    network = model.card.network.model_copy(update={"centre_heatmap": False, "offsets": False})
    card = model.card.model_copy(update={"network": network})
    said = TiledModel(card, build(network, card.input).eval(), 0).predict(study)
    assert said.centre_heatmap is None
    assert said.offsets_mm is None


def test_a_full_memory_is_told_from_other_faults() -> None:
    with pytest.raises(MemoryError), out_of_memory():
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="shape"), out_of_memory():
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_a_mirrored_patient_is_said_to_have_everything_on_the_other_side(card):
    """With `mirrored`, whatever the network; without it, only a symmetric one would."""
    network = NetworkSettings(
        channels=(3, 4), structures=("parotid_right", "spinal_cord", "parotid_left")
    )
    seen = InputSettings(
        roles=("ct",), spacing_mm=(5, 4, 3), clip=((0, 30),), tile=(12, 8, 16), mirrored=True
    )
    card = card.model_copy(update={"network": network, "input": seen})
    torch.manual_seed(4)
    built = build(network, seen).eval()
    nn.init.normal_(built.head.weight, std=5)
    shape = (28, 18, 35)
    data = np.random.default_rng(5).uniform(0, 30, (1, *shape)).astype(np.float32)
    grid = Geometry(shape, np.diag((5, 4, 3, 1)))
    turned = ModelInput(np.ascontiguousarray(data[:, ::-1]), grid)
    shares = []

    def told(stage, share):
        shares.append((stage, share))

    model = TiledModel(card, built, tile_overlap=0.5)
    one, other = model.predict(ModelInput(data, grid), told), model.predict(turned)
    swapped = other.probabilities[[2, 1, 0], ::-1]
    np.testing.assert_allclose(one.probabilities, swapped, atol=1e-5)
    np.testing.assert_allclose(one.centre_heatmap, other.centre_heatmap[::-1], atol=1e-5)
    away = np.array([-1, 1, 1]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(one.offsets_mm, away * other.offsets_mm[:, ::-1], atol=1e-3)
    assert shares[-1] == ("predict", 1)
    assert [share for _, share in shares] == sorted(share for _, share in shares)
    plain = TiledModel(
        card.model_copy(update={"input": seen.model_copy(update={"mirrored": False})}), built, 0.5
    )
    one, other = plain.predict(ModelInput(data, grid)), plain.predict(turned)
    assert np.abs(one.probabilities - other.probabilities[[2, 1, 0], ::-1]).max() > 0.01
