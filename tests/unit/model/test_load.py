from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from medseg.errors import ModelError
from medseg.model import load, weights
from medseg.model.networks.build import build


@pytest.fixture
def installed(tmp_path, monkeypatch, card):
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(load, "configs_folder", lambda: tmp_path)
    torch.manual_seed(4)
    network = build(card.network, card.input)
    sha256 = weights.save(tmp_path / "models" / card.weights, network.state_dict())
    return card.model_copy(update={"sha256": sha256})


def test_a_loaded_model_is_ready_to_predict(installed):
    model = load.load_model(installed, 0.25)
    assert not model.network.training
    assert model.tile_overlap == 0.25
    assert model.card == installed


def test_threads_that_ask_at_once_share_one_model(installed):
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: load.load_model(installed, 0.25), range(8)))
    assert len({id(model) for model in models}) == 1


def test_weights_with_another_digest_than_the_cards_are_refused(installed):
    with pytest.raises(ModelError, match="not those that its card names"):
        load.load_model(installed.model_copy(update={"sha256": "f" * 64}), 0.25)


def test_a_card_that_describes_another_network_is_refused(installed):
    network = installed.network.model_copy(update={"channels": (3, 4, 6)})
    with pytest.raises(ModelError, match="do not fit"):
        load.load_model(installed.model_copy(update={"network": network}), 0.25)


def test_a_card_without_weights_is_refused(installed):
    with pytest.raises(ModelError, match="missing"):
        load.load_model(installed.model_copy(update={"weights": "none.safetensors"}), 0.25)
