"""Training, from settings to a checkpoint: seeded, and the same whether or not it was interrupted.

Chance is drawn anew for each crop from (seed, step, number in the batch), so it has no state that
could get lost between two sittings.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medseg.config import ModelCard, load, plain
from medseg.core.prediction import Progress, VoxelModel, silent
from medseg.errors import ModelError
from medseg.model import weights
from medseg.model.load import model_of
from medseg.model.networks.build import build
from medseg.training import checkpoint
from medseg.training.checkpoint import State, Validation
from medseg.training.curve import draw_curve
from medseg.training.objectives import objective
from medseg.training.sample import stack
from medseg.training.settings import TrainingSettings
from medseg.training.tasks import Task, read

WARM_UP_STEPS = 100


def train(settings: Path, out: Path, progress: Progress = silent) -> Path:
    """Train as a file of settings says; otherwise as `fit`.

    Args:
        settings: Path of a .yaml file, or the name of an embedded one.
        out: Folder of the runs; this run's is named after its settings.
        progress: As for `fit`.

    Returns:
        The run's folder.

    Raises:
        SettingsError: There is no such file, or it does not hold a training run.
    """
    chosen = load(TrainingSettings, str(settings), "training")
    fit(chosen, out / chosen.name, progress)
    return out / chosen.name


def fit(settings: TrainingSettings, out: Path, progress: Progress = silent) -> State:
    """Train a network, or go on with a run that was interrupted.

    Args:
        settings: The run.
        out: Its folder; with a checkpoint of the same settings, the run goes on from there.
        progress: Told `train` and the share of the steps that is done.

    Returns:
        The final state. The folder holds the checkpoint, `metrics.json` and `curve.svg`.

    Raises:
        InputError: The data cannot be read, or is not what the settings say.
        ModelError: The folder holds a run with other settings, or the run to start from is not
            beside it.
    """
    start = None
    if settings.start_from is not None:
        start = checkpoint.read_average(out.parent / settings.start_from)
    return run(settings, read(settings), out, progress, start)


def run(
    settings: TrainingSettings,
    task: Task,
    out: Path,
    progress: Progress = silent,
    start: Mapping[str, Tensor] | None = None,
) -> State:
    """Train on what is in memory, from given weights or at random; otherwise as `fit`."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.threads)
    # On a GPU some sums have no fixed order; there a run is repeated closely, not bit for bit.
    torch.use_deterministic_algorithms(mode=True, warn_only=device().type == "cuda")
    key = digest(settings, task, start)
    state = checkpoint.restore(out, begin(settings, start, task.computed()), key)
    while state.step < settings.steps:
        state.losses.append(advance(state, settings, task))
        progress("train", state.step / settings.steps)
        if state.step % settings.checkpoint_steps == 0 or state.step == settings.steps:
            validate(state, settings, task)
            checkpoint.save(out, state, key)
            report(out, state)
    return state


def begin(
    settings: TrainingSettings,
    start: Mapping[str, Tensor] | None = None,
    computed: Mapping[str, Tensor] | None = None,
) -> State:
    """The state before the first step: given weights, or drawn by the seed, and what is computed.

    Raises:
        ModelError: The given weights are of another network.
    """
    torch.manual_seed(settings.seed)
    network = build(settings.network, settings.input)
    given = network.state_dict() if start is None else begun_with(start, network)
    weights.put({**given, **(computed or {})}, network)
    network.to(device())
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    return State(network, average, optimiser, step=0, losses=[], history=[])


def begun_with(start: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """The given weights; those of another family's heads are replaced by the network's own.

    A judge learns by itself, so what is given of one is not taken.

    Raises:
        ModelError: The given weights have no backbone, or one with more levels.
    """
    own = network.state_dict()
    given = {name: tensor for name, tensor in start.items() if not name.startswith("judge.")}
    if given.keys() != {name for name in own if not name.startswith("judge.")}:
        given = {name: tensor for name, tensor in given.items() if name.startswith("backbone.")}
    if not given or not given.keys() <= own.keys():
        raise ModelError(
            "The run to start from is of a network whose backbone does not fit this one's.",
            "Name a run of the same network, or one whose backbone this network has.",
        )
    return own | given


def device() -> torch.device:
    """A GPU where there is one, which nothing needs."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def advance(state: State, settings: TrainingSettings, task: Task) -> float:
    """Make one step; changes the state. Returns the loss before it."""
    there = device()
    samples = [
        task.sample(np.random.default_rng((settings.seed, state.step, number)))
        for number in range(settings.batch)
    ]
    batch = stack(samples, there)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(state.step, settings)
    state.network.train()
    with torch.autocast(there.type, torch.bfloat16, enabled=in_bfloat16(settings, there)):
        outputs = state.network(*batch.inputs)
    value = objective(state.network, outputs, batch, settings)
    state.optimiser.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    state.optimiser.step()
    state.step += 1
    checkpoint.update_average(state.average, state.network.state_dict(), state.step, settings.ema)
    return value.item()


def in_bfloat16(settings: TrainingSettings, there: torch.device) -> bool:
    """Whether a step is made in bfloat16: where it is asked for and the machine can.

    A processor without such instructions emulates them: a step of 2.3 s took 68 s.
    """
    able = there.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
    return settings.precision == "bfloat16" and bool(able)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear rise, then a cosine down to 1 % of the highest rate."""
    if step < WARM_UP_STEPS:
        return settings.learning_rate * (step + 1) / WARM_UP_STEPS
    share = (step - WARM_UP_STEPS) / max(1, settings.steps - WARM_UP_STEPS)
    return settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)


def validate(state: State, settings: TrainingSettings, task: Task) -> None:
    """Measure the running mean of the weights on cases that it never learns from."""
    scores = task.validate(averaged(state, settings))
    state.history.append(Validation(state.step, checkpoint.mean(state.losses), scores))
    state.losses.clear()


def averaged(state: State, settings: TrainingSettings) -> VoxelModel:
    """The model that the running mean of the weights makes, before it is published."""
    network = build(settings.network, settings.input)
    network.load_state_dict(state.average)
    return model_of(unpublished_card(settings), network, tile_overlap=0.25)


def unpublished_card(settings: TrainingSettings) -> ModelCard:
    """The card of a model that is not published yet: without weights on disk and scores."""
    card = settings.card
    return ModelCard(
        name=settings.name,
        title=card.title,
        weights=f"{settings.name}.safetensors",
        sha256="0" * 64,
        input=settings.input,
        network=settings.network,
        data=card.data,
        attribution=card.attribution,
        licence=card.licence,
        training=card.training,
        scores={},
        limits=card.limits,
    )


def report(out: Path, state: State) -> None:
    """Write what was measured so far, as numbers and as a picture."""
    rows = [asdict(entry) for entry in state.history]
    (out / "metrics.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (out / "curve.svg").write_text(draw_curve(state.history), encoding="utf-8")


def digest(
    settings: TrainingSettings, task: Task, start: Mapping[str, Tensor] | None = None
) -> str:
    """SHA-256 of all that a run depends on: the content of the data, not its place."""
    state = hashlib.sha256()
    values = settings.model_dump(mode="json", exclude={"data", "card"})
    # Where a file lies is not what it holds, which the task's content says.
    values["task"] = {
        name: value
        for name, value in plain(settings.task).items()
        if not isinstance(getattr(settings.task, name), Path)
    }
    state.update(json.dumps(values, sort_keys=True).encode())
    for part in task.content():
        state.update(part)
    for name, tensor in sorted((start or {}).items()):
        state.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return state.hexdigest()
