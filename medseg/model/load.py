"""From a model card to a model that predicts."""

import threading
from functools import lru_cache
from pathlib import Path

from torch import nn

from medseg.config import ModelCard, configs_folder
from medseg.core.prediction import VoxelModel
from medseg.model import weights
from medseg.model.networks.build import build
from medseg.model.predict import TiledModel
from medseg.model.propose import ProposingModel

ONE_AT_A_TIME = threading.Lock()
"""Two threads that ask at once get one model, not two."""


def load_model(card: ModelCard, tile_overlap: float) -> VoxelModel:
    """Load an embedded model; its weights lie beside its card in configs/models/.

    The last one stays in memory, so that a process that does many studies loads it once.

    Args:
        card: The model card.
        tile_overlap: Share of a sliding-window tile that its neighbour covers too.

    Raises:
        ModelError: The weights are missing, not those of the card, or do not fit its network.
    """
    with ONE_AT_A_TIME:
        return _kept(card.model_dump_json(), configs_folder() / "models", tile_overlap)


@lru_cache(maxsize=1)
def _kept(card: str, folder: Path, tile_overlap: float) -> VoxelModel:
    return load_weights(ModelCard.model_validate_json(card), folder, tile_overlap)


def load_weights(card: ModelCard, folder: Path, tile_overlap: float) -> VoxelModel:
    """Load a model whose weights lie in the given folder; otherwise as `load_model`."""
    state = weights.read(folder / card.weights, card.sha256)
    network = build(card.network, card.input)
    weights.put(state, network)
    return model_of(card, network, tile_overlap)


def model_of(card: ModelCard, network: nn.Module, tile_overlap: float) -> VoxelModel:
    """The model that a network of the card's family makes, ready to predict."""
    network.eval()
    if card.network.family in ("regions", "queries"):
        return ProposingModel(card, network, tile_overlap)  # type: ignore[arg-type]  # by family
    return TiledModel(card, network, tile_overlap)
