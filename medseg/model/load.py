"""From a model card to a model that predicts."""

import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import nn

from medseg.config import ExportedSettings, ModelCard, configs_folder
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput, VoxelModel
from medseg.model import weights
from medseg.model.exported import load_exported
from medseg.model.networks.build import build
from medseg.model.predict import TiledModel
from medseg.model.propose import ProposingModel

ONE_AT_A_TIME = threading.Lock()
"""Two threads that ask at once get one model, not two."""


LOOK_AT_THE_CARD = (
    "Put the file that the card names beside it, and its digest (sha256sum FILE) into the card."
)


def load_model(card: ModelCard, tile_overlap: float, folder: Path | None = None) -> VoxelModel:
    """Load a model; its weights lie beside its card.

    The last one stays in memory, so that a process that does many studies loads it once.

    Args:
        card: The model card.
        tile_overlap: Share of a sliding-window tile that its neighbour covers too.
        folder: Where the card lies, `config.card_folder`; None is that of the embedded ones.

    Raises:
        ModelError: The weights are missing, not those of the card, or do not fit its network.
    """
    with ONE_AT_A_TIME:
        place = configs_folder() / "models" if folder is None else folder
        return _kept(card.model_dump_json(), place, tile_overlap)


@lru_cache(maxsize=1)
def _kept(card: str, folder: Path, tile_overlap: float) -> VoxelModel:
    return load_weights(ModelCard.model_validate_json(card), folder, tile_overlap)


def load_weights(card: ModelCard, folder: Path, tile_overlap: float) -> VoxelModel:
    """Load a model whose weights lie in the given folder; otherwise as `load_model`."""
    if isinstance(card.network, ExportedSettings):
        content = weights.stored(folder / card.weights, card.sha256, LOOK_AT_THE_CARD)
        return model_of(card, load_exported(content, card, card.network), tile_overlap)
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


def check_model(card: ModelCard, folder: Path) -> None:
    """See that a model predicts something of a study of one tile.

    Args:
        card: The model card.
        folder: Where it lies with its weights.

    Raises:
        ModelError: The weights are missing or others, or the network is not what the card says.
    """
    model = load_model(card, 0, folder)
    # The brightest there is: what is air is not predicted.
    data = np.empty((len(card.input.clip), *card.input.tile), np.float32)
    for channel, (_, high) in enumerate(card.input.clip):
        data[channel] = high
    model.predict(ModelInput(data, Geometry(card.input.tile, np.diag((*card.input.spacing_mm, 1)))))
