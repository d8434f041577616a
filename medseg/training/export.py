"""From a finished run to a bundle: weights, and a card whose scores were measured."""

from pathlib import Path

import yaml

from medseg.config import ModelCard, SegmentSettings, plain
from medseg.model import weights
from medseg.model.load import load_weights
from medseg.training.checkpoint import State
from medseg.training.fit import unpublished_card
from medseg.training.settings import TrainingSettings
from medseg.training.tasks import Task


def export(settings: TrainingSettings, task: Task, state: State, folder: Path) -> ModelCard:
    """Write the running mean of the weights and its card, `NAME.safetensors` and `NAME.yaml`.

    The scores are those of the weights as written, in half precision, through the same line that
    a study takes.

    Args:
        settings: Of the run.
        task: Measures the scores.
        state: The end of the run.
        folder: Where the bundle goes; configs/models for an embedded one.
    """
    draft = unpublished_card(settings)
    sha256 = weights.save(folder / draft.weights, state.average)
    written = draft.model_copy(update={"sha256": sha256})
    model = load_weights(written, folder, SegmentSettings(model=written.name).tile_overlap)
    card = written.model_copy(update={"scores": task.scores(model)})
    write_card(folder / f"{settings.name}.yaml", card)
    return card


def write_card(path: Path, card: ModelCard) -> None:
    """Write a card as YAML, in the order of its fields."""
    text = yaml.safe_dump(dict(plain(card)), sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")
