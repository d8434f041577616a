"""Lesions on PET: what is drawn to learn from, and what a model is measured on."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from medseg.config import load_protocol
from medseg.core.prediction import VoxelModel
from medseg.training.bodies import phantom_case, read_phantoms, read_whole_body
from medseg.training.datasets import Case, check_split, content, fold, read_cases
from medseg.training.sample import Sample
from medseg.training.sampling import Sources, sample
from medseg.training.scores import score_cases, score_outside, score_pairs
from medseg.training.settings import TrainingSettings
from medseg.training.validate import mean_dice

UNSEEN_PHANTOMS = (0, 101, 102)
"""Seeds that no run may learn from; 0 is the demo's."""

PAIRS = 40
"""Synthetic pairs that splitting is scored on."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PetLesions:
    """Satisfies `tasks.Task`.

    Attributes:
        settings: Of the run.
        sources: What samples are made of; train only.
        val: Cases that are never learnt from.
    """

    settings: TrainingSettings
    sources: Sources
    val: tuple[Case, ...]

    def sample(self, rng: np.random.Generator) -> Sample:
        """A crop of a case, of a body, or synthetic."""
        return sample(self.sources, self.settings, rng)

    def validate(self, model: VoxelModel) -> Mapping[str, float]:
        """Mean Dice of the lesions on the acquired grids of `val`."""
        segment = load_protocol("pet-lesions").segment
        return {"val_dice": mean_dice(model, self.val, segment)}

    def scores(self, model: VoxelModel) -> dict[str, dict[str, float]]:
        """On `val`, on phantoms, on synthetic pairs and on the whole body.

        Raises:
            ValueError: The run learnt from a phantom that scores are measured on.
        """
        segment = load_protocol("pet-lesions").segment
        phantoms = [phantom_case(seed) for seed in UNSEEN_PHANTOMS]
        pairs = score_pairs(
            model, Sources(self.val, (), tuple(phantoms)), self.settings, segment, PAIRS
        )
        scores = {
            "pet_lesions/val": score_cases(model, self.val, segment),
            "phantom seed 0 (unseen)": score_cases(model, phantoms[:1], segment),
            "phantoms of seeds 101 and 102 (unseen)": score_cases(model, phantoms[1:], segment),
            "touching pairs of val tumours in phantoms (synthetic)": pairs,
        }
        for body in self.sources.bodies:
            scores["whole body (in training, so no evidence)"] = score_outside(model, body, segment)
        for name, values in scores.items():
            logger.info("%s: %s", name, values)
        return scores

    def content(self) -> Iterator[bytes]:
        """Of the cases and the bodies."""
        for case in (*self.sources.cases, *self.sources.bodies, *self.sources.phantoms):
            yield from content(case)


def read(settings: TrainingSettings) -> PetLesions:
    """The cases of `train` and `val` and the whole bodies that the settings name.

    Raises:
        InputError: The data cannot be read, or a patient is in both.
    """
    train, val = read_cases(settings.data / "train"), read_cases(settings.data / "val")
    check_split(train, val)
    if settings.pet_lesions.fold is not None:
        train, val = fold((*train, *val), settings.pet_lesions.fold, settings.pet_lesions.folds)
    learnt = train if settings.pet_lesions.real else ()
    bodies: tuple[Case, ...] = ()
    if settings.pet_lesions.whole_body is not None:
        bodies = tuple(
            read_whole_body(settings.pet_lesions.whole_body, case)
            for case in learnt
            if case.name == settings.pet_lesions.whole_body_case
        )
    phantoms = read_phantoms(settings.pet_lesions.varied_phantoms)
    return PetLesions(settings, Sources(learnt, bodies, phantoms), val)
