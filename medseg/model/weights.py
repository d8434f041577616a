"""Weights on disk, opened only after their digest was checked; those of ours are safetensors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save_file
from torch import Tensor, nn

from medseg.errors import ModelError

INSTALL_AGAIN = "Install the model again, or use another; `medseg models` lists them."


def save(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write weights in half precision, which moves no prediction by more than rounding.

    Args:
        path: The .safetensors to write.
        state: What `network.state_dict()` gives; whole numbers are kept as they are.

    Returns:
        SHA-256 of the file.
    """
    halved = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    save_file(halved, path)
    path.chmod(0o644)  # safetensors gives it to its owner alone
    return digest(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stored(path: Path, sha256: str, remedy: str = INSTALL_AGAIN) -> bytes:
    """The bytes of a file whose digest is known.

    Args:
        path: The file.
        sha256: The digest that it must have.
        remedy: What to do where it has not.

    Raises:
        ModelError: There is no such file, or its digest differs.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise ModelError(
            "The weights of the model are missing, so nothing was predicted.", remedy
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(
            "The weights of the model are not those that its card names, so they were not opened.",
            remedy,
        )
    return content


def read(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read weights whose digest is known.

    Args:
        path: The .safetensors.
        sha256: The digest that it must have; another is refused before anything is parsed.

    Returns:
        Name to tensor; floating point ones as float32.

    Raises:
        ModelError: There is no such file, its digest differs, or it is not safetensors.
    """
    content = stored(path, sha256)
    try:
        tensors = parse(content)
    except SafetensorError:
        raise ModelError(
            "The weights of the model are not a safetensors file, so nothing was predicted.",
            INSTALL_AGAIN,
        ) from None
    return {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def put(state: Mapping[str, Tensor], network: nn.Module) -> None:
    """Put weights into the network that its card describes.

    Raises:
        ModelError: Names or shapes differ from the network's.
    """
    try:
        network.load_state_dict(dict(state), strict=True)
    except RuntimeError:
        raise ModelError(
            "The weights do not fit the network that the model card describes, so nothing was "
            "predicted.",
            "Correct the card's section `network`, or take the card that came with the weights.",
        ) from None
