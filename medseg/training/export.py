"""From a finished run to a bundle: weights, and a card whose scores were measured."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from medseg.config import (
    Calibration,
    ModelCard,
    SegmentSettings,
    configs_folder,
    load_card,
    plain,
)
from medseg.core.prediction import VoxelModel
from medseg.model import weights
from medseg.model.load import load_model, load_weights
from medseg.training import ms_lesions
from medseg.training.calibrate import Described, calibrate
from medseg.training.checkpoint import State
from medseg.training.fit import averaged, run, unpublished_card
from medseg.training.judge import fit_judge
from medseg.training.pet_calibration import describe_pet
from medseg.training.pet_lesions import PetLesions
from medseg.training.settings import PaintedLesionsTask, TrainingSettings
from medseg.training.tasks import Task

DESCRIBERS: Mapping[str, Callable[[TrainingSettings, VoxelModel], tuple[list[Described], str]]] = {
    "pet-lesions": describe_pet
}
"""Kind of task to what describes its predicted lesions, for their confidence."""


def export(settings: TrainingSettings, task: Task, state: State, folder: Path) -> ModelCard:
    """Write the running mean of the weights and its card, `NAME.safetensors` and `NAME.yaml`.

    A judge is trained first, where the network has one.

    The scores are those of the weights as written, in half precision, through the same line that
    a study takes; those of held-out patients are of networks trained for it the same way.

    Args:
        settings: Of the run.
        task: Measures the scores.
        state: The end of the run.
        folder: Where the bundle goes; configs/models for an embedded one.
    """
    if settings.network.judge is not None and isinstance(task, PetLesions):
        steps = settings.pet_lesions.judge_steps
        for name, tensor in fit_judge(settings, task.sources, steps).items():
            state.average[f"judge.{name}"] = tensor
    draft = unpublished_card(settings)
    sha256 = weights.save(folder / draft.weights, state.average)
    written = draft.model_copy(update={"sha256": sha256})
    model = load_weights(written, folder, SegmentSettings(model=written.name).tile_overlap)
    scores = {**held_out_scores(settings), **task.scores(model)}
    measured = {"scores": scores, "calibration": calibration_of(settings, model)}
    card = written.model_copy(update=measured)
    write_card(folder / f"{settings.name}.yaml", card)
    return card


def held_out_scores(settings: TrainingSettings) -> dict[str, dict[str, float]]:
    """Each patient scored by a network that learnt from all others, where all are learnt from.

    Returns:
        Nothing for a task whose run has cases that it never learns from.
    """
    if not isinstance(settings.task, PaintedLesionsTask) or settings.task.fold is not None:
        return {}
    scores: dict[str, dict[str, float]] = {}
    for fold in range(len(ms_lesions.read_cases(settings.data / "cases"))):
        one = settings.model_copy(update={"task": settings.task.model_copy(update={"fold": fold})})
        task = ms_lesions.read(one)
        with TemporaryDirectory() as folder:
            state = run(one, task, Path(folder))
        for name, row in task.scores(averaged(state, one)).items():
            scores[f"held out: {name}"] = row
    return scores


def calibration_of(settings: TrainingSettings, model: VoxelModel) -> Calibration | None:
    """How sure a model is of a lesion, fitted on the cases of its task that no run learns from.

    Returns:
        None for a task without lesions, or with too few cases.
    """
    if settings.task.kind not in DESCRIBERS:
        return None
    return calibrate(*DESCRIBERS[settings.task.kind](settings, model))


def recalibrate(settings: TrainingSettings) -> ModelCard:
    """Fit the confidence of an embedded model again, and write it into its card."""
    card = load_card(settings.name)
    model = load_model(card, SegmentSettings(model=card.name).tile_overlap)
    card = card.model_copy(update={"calibration": calibration_of(settings, model)})
    write_card(configs_folder() / "models" / f"{card.name}.yaml", card)
    return card


def write_card(path: Path, card: ModelCard) -> None:
    """Write a card as YAML, in the order of its fields."""
    text = yaml.safe_dump(dict(plain(card)), sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")
