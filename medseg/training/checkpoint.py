"""The state of a training run on disk, complete: to resume is to have never stopped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from medseg.errors import ModelError

FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Validation:
    """What was measured at one step.

    Attributes:
        step: Steps that were made before.
        loss: Mean of the training loss since the last validation.
        scores: What the task measures of the running mean of the weights on its validation cases;
            the first is the one that counts.
    """

    step: int
    loss: float
    scores: Mapping[str, float]


@dataclass(eq=False)
class State:
    """Everything that the next step depends on, besides the settings and the data.

    Attributes:
        network: With the weights of the last step.
        average: Name to running mean of the network's state.
        optimiser: With its own state.
        step: Steps made.
        losses: Training losses since the last validation.
        history: The validations so far.
    """

    network: nn.Module
    average: dict[str, Tensor]
    optimiser: Optimizer
    step: int
    losses: list[float]
    history: list[Validation]


def save(out: Path, state: State, settings_digest: str) -> None:
    """Write the state; the file appears whole or not at all.

    Args:
        out: Folder of the run.
        state: What is written.
        settings_digest: Of the settings and data that it belongs to.
    """
    tensors = {f"network/{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in state.average.items()}
    for index, values in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": tensor for name, tensor in values.items()}
    record = {
        "settings": settings_digest,
        "step": state.step,
        "losses": state.losses,
        "history": [asdict(entry) for entry in state.history],
    }
    beside = out / f"{FILE}.part"
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # One entry alone, because safetensors writes several in any order.
    save_file(whole, beside, {"record": json.dumps(record)})
    beside.replace(out / FILE)


def restore(out: Path, state: State, settings_digest: str) -> State:
    """The state that was saved, in the objects of a fresh one.

    Args:
        out: Folder of the run.
        state: Of a run that has not begun.
        settings_digest: As given to `save`.

    Returns:
        A state to go on from; the given one where nothing was saved.

    Raises:
        ModelError: It belongs to other settings, or cannot be read.
    """
    if not (out / FILE).is_file():
        return state
    record, tensors = _read(out)
    if record.get("settings") != settings_digest:
        raise ModelError(
            "The folder holds a checkpoint of a run with other settings, which cannot be mixed.",
            "Give another folder, or the settings of that run.",
        )
    state.network.load_state_dict(_part(tensors, "network/"))
    whole = state.optimiser.state_dict()
    whole["state"] = _by_parameter(_part(tensors, "optimiser/"))
    state.optimiser.load_state_dict(whole)
    return State(
        network=state.network,
        average={
            name: tensor.to(state.average[name].device)
            for name, tensor in _part(tensors, "average/").items()
        },
        optimiser=state.optimiser,
        step=int(record["step"]),
        losses=[float(value) for value in record["losses"]],
        history=[Validation(**entry) for entry in record["history"]],
    )


def read_average(out: Path) -> dict[str, Tensor]:
    """The running mean of the weights of a run, whatever its settings.

    Raises:
        ModelError: There is none, or it cannot be read.
    """
    if not (out / FILE).is_file():
        raise ModelError(
            "The training run to start from is not beside this one, so there is nothing to go on.",
            "Train it first, into a folder of its name beside this run's.",
        )
    _, tensors = _read(out)
    return _part(tensors, "average/")


def update_average(
    average: dict[str, Tensor], state: Mapping[str, Tensor], step: int, decay: float
) -> None:
    """Move the running mean towards the weights; faster at first, when they are far off.

    Args:
        average: Changed in place.
        state: The network's.
        step: Steps made, from 1.
        decay: Share of the mean that stays, once there are enough steps.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.is_floating_point():
                average[name].lerp_(tensor, share)
            else:
                average[name].copy_(tensor)


def mean(values: Sequence[float]) -> float:
    """The mean, of at least one value."""
    return sum(values) / len(values)


def _read(out: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What was written: the record, and every tensor."""
    try:
        with safe_open(out / FILE, "pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "{}"))
            return record, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        raise ModelError(
            "The checkpoint of this training run cannot be read, so it cannot go on.",
            "Begin again in a new folder.",
        ) from None


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _by_parameter(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    grouped: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/")
        grouped.setdefault(int(index), {})[key] = tensor
    return grouped
