"""A network of the user, exported as TorchScript or ONNX: what it is asked, what it may say."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from medseg.config import ExportedSettings, ModelCard, load_structures
from medseg.errors import ModelError
from medseg.model import onnx_network, torchscript
from medseg.model.refusal import refused

ASK_AGAIN = (
    "Correct the card's section `network`, or export the network again (docs/own-models.md)."
)

READ = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Types of what may be logits."""


class ExportedNetwork(nn.Module):
    """It gives for each tile the logits and offsets that a network of ours would give.

    Attributes:
        ask: Gives (1, channels, I, J, K) for a contiguous float32 tile (1, roles, I, J, K); what it
            really gives is checked for every tile.
        settings: What its outputs are.
    """

    def __init__(self, ask: Callable[[Tensor], object], settings: ExportedSettings) -> None:
        super().__init__()
        self.ask = ask
        self.settings = settings

    def forward(self, tile: Tensor) -> Tensor:
        """Logits and offsets of a tile, (1, outputs, I, J, K) float32.

        Args:
            tile: (1, roles, I, J, K) float32.

        Raises:
            ModelError: The network fails, or gives something else than its card says.
        """
        # A graph that was traced may look at its input in ways that only this layout allows.
        said = self.ask(tile.contiguous())
        return log_odds(_checked(said, tile, self.settings).float(), self.settings)


def load_exported(content: bytes, card: ModelCard, settings: ExportedSettings) -> ExportedNetwork:
    """A network from the bytes of its file, whose digest was checked.

    Args:
        content: Of the file.
        card: Says what it sees; the ending of its weights says what the file is.
        settings: Its section `network`.

    Raises:
        ModelError: It is no such file, needs what is not here, or names unknown structures.
    """
    unknown = sorted(set(settings.structures) - set(load_structures()))
    if unknown:
        raise ModelError(
            f"The model card names the structures {', '.join(unknown)}, which have no title and no "
            "code here, so nothing was predicted.",
            f"Name its structures as these: {', '.join(load_structures())}.",
        )
    if Path(card.weights).suffix == ".onnx":
        ask = onnx_network.opened(content, (1, len(card.input.roles), *card.input.tile))
    else:
        ask = torchscript.opened(content)
    return ExportedNetwork(ask, settings)


def log_odds(said: Tensor, settings: ExportedSettings) -> Tensor:
    """What a network says, as outputs of which a sigmoid makes probabilities.

    Of a softmax over background and structures, the logit of a structure is its own output less
    the logarithm of the sum of the exponentials of all the others.

    Args:
        said: (1, channels, I, J, K).
        settings: What the channels are.

    Returns:
        (1, outputs, I, J, K): structures, then heatmap and offsets as they are.
    """
    if settings.activation == "sigmoid":
        return said
    classes = len(settings.structures) + 1
    others = [[m for m in range(classes) if m != n] for n in range(classes)]
    logits = [said[:, n] - said[:, others[n]].logsumexp(1) for n in range(1, classes)]
    return torch.cat([torch.stack(logits, 1), said[:, classes:]], 1)


def _checked(said: object, tile: Tensor, settings: ExportedSettings) -> Tensor:
    """What a network said of a tile, if it is what its card announces.

    Raises:
        ModelError: It is not.
    """
    if not isinstance(said, Tensor):
        raise refused(
            "gives more than one answer, or one that is no array",
            "Export it with one output, without deep supervision.",
        )
    if said.layout is not torch.strided or said.dtype not in READ:
        raise refused(_instead(said), "Export it so that it gives logits (float32).")
    if said.ndim != tile.ndim or said.shape[:1] + said.shape[2:] != tile.shape[:1] + tile.shape[2:]:
        raise refused(
            f"gives an answer of {_sizes(said)} for a tile of {_sizes(tile)}",
            "Export it so that it gives channels for each voxel of the tile that it was given.",
        )
    if said.shape[1] != settings.channels_out:
        raise refused(
            f"gives {said.shape[1]} channels for each voxel, and its card "
            f"{settings.channels_out} ({_announced(settings)})",
            ASK_AGAIN,
        )
    if not said.isfinite().all():
        raise refused(
            "gives values that are no finite numbers",
            "Check input.clip of the card, and that it was not exported in half precision.",
        )
    if _are_probabilities(said, settings):
        raise refused(
            "gives values that are probabilities already, and logits are needed",
            f"Export it without its final {settings.activation}.",
        )
    return said


def _instead(said: Tensor) -> str:
    """What a network gives that are no logits to be read."""
    if said.layout is not torch.strided:
        return "gives a sparse array, or one of another layout"
    if said.is_complex():
        return "gives complex numbers"
    if said.is_floating_point():
        return f"gives {said.dtype}"
    return "gives whole numbers, such as labels"


def _sizes(array: Tensor) -> str:
    return " x ".join(map(str, array.shape))


def _announced(settings: ExportedSettings) -> str:
    """The channels that a card announces, in their order."""
    names = [
        *(["background"] if settings.activation == "softmax" else []),
        *settings.structures,
        *(["centre_heatmap"] if settings.centre_heatmap else []),
        *(["offsets R, A, S"] if settings.offsets else []),
    ]
    return ", ".join(names)


def _are_probabilities(said: Tensor, settings: ExportedSettings) -> bool:
    """Whether values are what comes after the activation.

    Logits of a whole tile never all lie from 0 to 1: it would be a foreground that is unsure of
    itself everywhere. To take probabilities for logits would call everything a lesion.
    """
    count = settings.channels_out - settings.outputs + len(settings.structures)
    low, high = said[:, :count].aminmax()
    if low < 0 or high > 1:
        return False
    if settings.activation == "sigmoid":
        return True
    return bool((said[:, :count].sum(1) - 1).abs().max() < 1e-2)  # half precision rounds to that
