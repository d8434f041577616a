"""From a model card to a model that predicts."""

from medseg.config import ModelCard, configs_folder
from medseg.model import weights
from medseg.model.networks.unet import build
from medseg.model.predict import TiledModel


def load_model(card: ModelCard, tile_overlap: float) -> TiledModel:
    """Load an embedded model.

    Args:
        card: The model card, whose weights lie beside it in configs/models/.
        tile_overlap: Share of a sliding-window tile that its neighbour covers too.

    Raises:
        ModelError: The weights are missing, not those of the card, or do not fit its network.
    """
    state = weights.read(configs_folder() / "models" / card.weights, card.sha256)
    network = build(card.network, len(card.input.roles))
    weights.put(state, network)
    network.eval()
    return TiledModel(card, network, tile_overlap)
