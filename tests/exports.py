"""Networks as users export them, and the card and protocol that go with one."""

import hashlib
import io
import logging
import warnings
from pathlib import Path

import torch
import yaml
from torch import nn

CARD = {
    "name": "hot-spots",
    "title": "What has an SUV of 4 and more",
    "input": {
        "roles": ["pet"],
        "spacing_mm": [4.0, 3.0, 2.5],
        "clip": [[0, 20]],
        "tile": [16, 24, 20],
        "whole_tiles": True,
    },
    "network": {
        "family": "exported",
        "activation": "sigmoid",
        "tile_step": [2, 2, 2],
        "structures": ["lesion"],
    },
    "data": "none: it is a threshold",
    "attribution": [],
    "licence": "Apache-2.0",
    "training": "none",
    "scores": {},
    "limits": ["it takes every organ with uptake for a lesion"],
}

PROTOCOL = {
    "name": "hot-spots",
    "title": "Hot spots on PET",
    "description": "Every place with an SUV of 4 and more.",
    "roles": {"pet": {"modality": "PT", "unit": "SUV"}},
    "segment": {"model": "card.yaml"},
    "report": {"window": [0, 10]},
}


class Hot(nn.Module):
    """The logit of an SUV, or of the blurred one, that is 0 at 4 where clip is 0 to 20."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :1] - 0.2) * 100


def torchscript(network: nn.Module, tile: torch.Tensor) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network.eval(), tile, check_trace=False), made)
    return made.getvalue()


def scripted(network: nn.Module) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network.eval()), made)
    return made.getvalue()


def onnx(network: nn.Module, tile: torch.Tensor, **options: object) -> bytes:
    """By the exporter that knows no other packages than `onnx`."""
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (tile,), made, dynamo=False, **options)
    return made.getvalue()


def onnx_by_default(network: nn.Module, tile: torch.Tensor, path: Path, **options: object) -> bytes:
    """By the exporter that torch takes unless it is told."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (tile,), path, verbose=False, **options)
    return path.read_bytes()


def sections(**changes: dict[str, object]) -> dict[str, object]:
    """The card, with keys of its sections changed."""
    return CARD | {name: CARD[name] | values for name, values in changes.items()}


def write(folder: Path, content: bytes, name: str, card: dict[str, object] = CARD) -> Path:
    """A network, its card and its protocol in a folder; returns the protocol."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    whole = {"weights": name, "sha256": sha256} | card
    (folder / "card.yaml").write_text(yaml.safe_dump(whole))
    (folder / "protocol.yaml").write_text(yaml.safe_dump(PROTOCOL))
    return folder / "protocol.yaml"
