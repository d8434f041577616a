"""From a finished run to a bundle: weights, and a card whose scores were measured."""

import logging
from collections.abc import Mapping
from pathlib import Path

import yaml
from torch import Tensor

from medseg.config import ModelCard, SegmentSettings, TrainingSettings, load_protocol, plain
from medseg.model import weights
from medseg.model.networks.unet import build
from medseg.model.predict import TiledModel
from medseg.training.bodies import phantom_case, read_bodies
from medseg.training.checkpoint import State
from medseg.training.datasets import Case, read_cases
from medseg.training.fit import unpublished_card
from medseg.training.sampling import Sources
from medseg.training.scores import score_cases, score_outside, score_pairs

UNSEEN_PHANTOMS = (0, 101, 102)
"""Seeds that no run may learn from; 0 is the demo's."""

PAIRS = 40
"""Synthetic pairs that splitting is scored on."""

logger = logging.getLogger(__name__)


def export(settings: TrainingSettings, state: State, folder: Path) -> ModelCard:
    """Write the running mean of the weights and its card, `NAME.safetensors` and `NAME.yaml`.

    The scores are those of the weights as written, in half precision, through the same line that
    a study takes.

    Args:
        settings: Of the run.
        state: Its end.
        folder: Where the bundle goes; configs/models for an embedded one.

    Raises:
        ValueError: The run learnt from a phantom that scores are measured on.
        InputError: The data that scores are measured on cannot be read.
    """
    if set(UNSEEN_PHANTOMS) & set(settings.phantom_seeds):
        raise ValueError("the run learnt from a phantom that scores are measured on")
    draft = unpublished_card(settings)
    sha256 = weights.save(folder / draft.weights, state.average)
    model = load_written(draft, folder, sha256)
    scores = measure(settings, model, load_protocol("pet-lesions").segment)
    card = draft.model_copy(update={"sha256": sha256, "scores": scores})
    write_card(folder / f"{settings.name}.yaml", card)
    return card


def load_written(card: ModelCard, folder: Path, sha256: str) -> TiledModel:
    """The model as its written weights make it."""
    network = build(card.network, len(card.input.roles))
    state: Mapping[str, Tensor] = weights.read(folder / card.weights, sha256)
    weights.put(state, network)
    network.eval()
    return TiledModel(card, network, SegmentSettings(model=card.name).tile_overlap)


def measure(
    settings: TrainingSettings, model: TiledModel, segment: SegmentSettings
) -> dict[str, dict[str, float]]:
    """Every score of the card."""
    train, val = read_cases(settings.data / "train"), read_cases(settings.data / "val")
    phantoms: list[Case] = [phantom_case(seed) for seed in UNSEEN_PHANTOMS]
    scores = {
        "pet_lesions/val": score_cases(model, val, segment),
        "phantom seed 0 (unseen)": score_cases(model, phantoms[:1], segment),
        "phantoms of seeds 101 and 102 (unseen)": score_cases(model, phantoms[1:], segment),
        "touching pairs of val tumours in phantoms (synthetic)": score_pairs(
            model, Sources(val, tuple(phantoms)), settings, segment, PAIRS
        ),
    }
    if settings.whole_body is not None:
        only = settings.model_copy(update={"phantom_seeds": ()})
        (body,) = read_bodies(only, train)
        scores["whole body (in training, so no evidence)"] = score_outside(model, body, segment)
    for name, values in scores.items():
        logger.info("%s: %s", name, values)
    return scores


def write_card(path: Path, card: ModelCard) -> None:
    """Write a card as YAML, in the order of its fields."""
    text = yaml.safe_dump(dict(plain(card)), sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")
