"""From a model card to a model that predicts."""

from pathlib import Path

from medseg.config import ModelCard, configs_folder
from medseg.model import weights
from medseg.model.networks.build import build
from medseg.model.predict import TiledModel


def load_model(card: ModelCard, tile_overlap: float) -> TiledModel:
    """Load an embedded model; its weights lie beside its card in configs/models/.

    Args:
        card: The model card.
        tile_overlap: Share of a sliding-window tile that its neighbour covers too.

    Raises:
        ModelError: The weights are missing, not those of the card, or do not fit its network.
    """
    return load_weights(card, configs_folder() / "models", tile_overlap)


def load_weights(card: ModelCard, folder: Path, tile_overlap: float) -> TiledModel:
    """Load a model whose weights lie in the given folder; otherwise as `load_model`."""
    state = weights.read(folder / card.weights, card.sha256)
    network = build(card.network, card.input)
    weights.put(state, network)
    network.eval()
    return TiledModel(card, network, tile_overlap)
