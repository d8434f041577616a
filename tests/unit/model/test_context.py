import numpy as np
import pytest
import torch

from medseg.config import ContextSettings, InputSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.model.networks.build import build
from medseg.model.networks.context import coarse, margin
from medseg.model.predict import TiledModel

CONTEXT = ContextSettings(factor=2, tile=(16, 16, 24), channels=(2, 3, 4))
SEEN = InputSettings(
    roles=("pet",),
    spacing_mm=(5.0, 5.0, 4.0),
    clip=((0, 20),),
    tile=(16, 16, 24),
    whole_tiles=True,
    context=CONTEXT,
)
NETWORK = NetworkSettings(
    channels=(3, 4, 5), structures=("lesion", "brain"), head_levels=2, norm="crop"
)


@pytest.fixture
def network():
    torch.manual_seed(3)
    made = build(NETWORK, SEEN)
    torch.nn.init.normal_(made.joined.mix.weight, std=0.3)
    torch.nn.init.normal_(made.head.weight)
    return made.eval()


def test_blocks_are_averaged_and_the_tile_lies_in_the_middle():
    data = np.arange(4 * 6 * 2, dtype=np.float32).reshape(1, 4, 6, 2)
    small = coarse(data, 2)
    assert small.shape == (1, 2, 3, 1)
    assert small[0, 1, 2, 0] == pytest.approx(data[0, 2:4, 4:6].mean())
    assert margin(CONTEXT, (16, 16, 24)) == (4, 4, 6)


def test_what_lies_far_from_a_tile_changes_what_is_said_of_it(network):
    x = torch.rand(1, 1, 16, 16, 24)
    around = torch.zeros(1, 1, 16, 16, 24)
    far = around.clone()
    far[:, :, :2] = 1
    with torch.inference_mode():
        assert not torch.allclose(network(x, around), network(x, far), atol=1e-4)


def test_a_new_network_begins_as_if_it_saw_no_surroundings():
    torch.manual_seed(3)
    fresh = build(NETWORK, SEEN).eval()
    x = torch.rand(1, 1, 16, 16, 24)
    with torch.inference_mode():
        apart = fresh(x, torch.rand(1, 1, 16, 16, 24))
        torch.testing.assert_close(apart, fresh(x))


def test_the_surroundings_of_a_tile_are_those_of_its_place(network, monkeypatch, card_of):
    """A study as large as a tile: the coarse study lies in the middle of the surroundings."""
    seen = {}

    def spy(x, context):
        seen["x"], seen["context"] = x, context
        return torch.zeros(1, NETWORK.outputs, *x.shape[2:])

    monkeypatch.setattr(network, "forward", spy)
    card = card_of(NETWORK, SEEN)
    data = np.zeros((1, 10, 12, 20), np.float32)
    data[0, 6, 3, 15] = 16
    geometry = Geometry((10, 12, 20), np.diag([5.0, 5.0, 4.0, 1.0]))
    TiledModel(card, network, 0.25).predict(ModelInput(data, geometry))
    # In the middle of a tile of 16 x 16 x 24 the study begins at 3, 2, 2.
    assert np.argwhere(seen["x"][0, 0].numpy()).tolist() == [[9, 5, 17]]
    at = np.argwhere(seen["context"][0, 0].numpy()).tolist()
    assert at == [[4 + 9 // 2, 4 + 5 // 2, 6 + 17 // 2]]
    assert seen["context"].max() == pytest.approx(16 / 20 / 8)
