"""A network as TorchScript: torch's own language, which is code and must be trusted."""

import io
import re
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.jit import optimized_execution as unoptimised  # type: ignore[attr-defined]

from medseg.errors import ModelError
from medseg.model.predict import out_of_memory
from medseg.model.refusal import lacks, refused

UNKNOWN = re.compile(r"Unknown builtin op: ([\w:.]+\w)")
"""What torch says of an operator that it does not have."""

LONGEST_CAUSE = 200
"""Letters; what is longer is a trace."""


def opened(content: bytes) -> Callable[[Tensor], object]:
    """What asks a network for its answer to a tile, on the CPU.

    Nothing of Python's is unpickled: torch reads its archive by a reader of its own, which knows
    tensors and numbers alone.

    Args:
        content: Of the file.

    Raises:
        ModelError: It is no TorchScript, or needs operators that torch does not have.
    """
    try:
        with warnings.catch_warnings(), out_of_memory():
            # torch advises its exporters to write something else; files that are there stay.
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, torch.jit.Error) as error:
        raise _not_torchscript(error) from error
    if not hasattr(network, "forward"):
        raise refused(
            "has no method `forward`",
            "Export the module whose `forward` takes a tile and gives logits.",
        )
    network.eval()

    def ask(tile: Tensor) -> object:
        try:
            # Unoptimised, so that the first answers are as the later ones, bit for bit.
            with unoptimised(should_optimize=False), out_of_memory():
                return network(tile)
        except (RuntimeError, torch.jit.Error) as error:
            raise _failed(error) from error

    return ask


def _not_torchscript(error: Exception) -> ModelError:
    """Why a file cannot be loaded."""
    unknown = UNKNOWN.search(str(error))
    if unknown is not None:
        return lacks(unknown[1], f"torch {torch.__version__}", "ONNX")
    return refused(
        "is no TorchScript: perhaps weights alone or a Python object, which is not unpickled",
        "Write it with torch.jit.save(torch.jit.trace(network, tile), FILE), or as ONNX.",
    )


def _failed(error: Exception) -> ModelError:
    """What torch says of a tile that it could not compute, if that is short and names no place."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1].removeprefix("RuntimeError: ").rstrip(".") if lines else ""
    short = said and len(said) <= LONGEST_CAUSE and "/" not in said
    return refused(
        f"failed on a tile{f' ({said})' if short else ''}",
        "Check input.roles and input.tile of its card, and that it was exported for the CPU.",
    )
