"""Lesions on PET: what is drawn to learn from, and what a model is measured on."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from torch import Tensor

from medseg.config import SegmentSettings, load_protocol
from medseg.core.prediction import VoxelModel
from medseg.training.bodies import phantom_case, read_phantoms, read_whole_body, varied_case
from medseg.training.confluence import sarcoma_body, separate_body, touching_body
from medseg.training.datasets import Case, check_split, content, fold, read_cases
from medseg.training.sample import Sample
from medseg.training.sampling import Sources, sample
from medseg.training.scores import score_cases, score_instances, score_outside
from medseg.training.settings import TrainingSettings
from medseg.training.validate import mean_dice

UNSEEN_PHANTOMS = (0, 101, 102)
"""Seeds of `phantom.body`, whose phantoms no run learns from; 0 is the demo's."""

UNSEEN_BODIES = (1000, 1001, *range(1003, 1010), 1011)
"""Seeds of `phantom.variety` that scores are measured on; no run learns from them.

1002 and 1010 are left out: scans of 19 and 23 cm are no whole bodies.
"""

GROUPS, APART = 5, 8
"""Groups of touching tumours, and tumours that lie apart, in each synthetic body."""

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

    def computed(self) -> Mapping[str, Tensor]:
        """Nothing."""
        return {}

    @property
    def segment(self) -> SegmentSettings:
        """How instances are separated: as the protocol says, which was chosen for `centre-offset`.

        Families that propose have scores of their own, and get the plain settings.
        """
        if self.settings.network.family in ("regions", "queries"):
            return SegmentSettings(model=self.settings.name)
        return load_protocol("pet-lesions").segment

    def validate(self, model: VoxelModel) -> Mapping[str, float]:
        """Mean Dice of the lesions on the acquired grids of `val`."""
        return {"val_dice": mean_dice(model, self.val, self.segment)}

    def scores(self, model: VoxelModel) -> dict[str, dict[str, float]]:
        """On `val`, on phantoms, on healthy ones with tumours of `val`, on the whole body."""
        segment = self.segment
        phantoms = [phantom_case(seed) for seed in UNSEEN_PHANTOMS]
        own = [varied_case(seed) for seed in UNSEEN_BODIES]
        bodies = [varied_case(seed, healthy=True) for seed in UNSEEN_BODIES]
        seeded = list(zip(bodies, UNSEEN_BODIES, strict=True))
        touching = [
            touching_body(body, self.val, self.settings, seed, GROUPS) for body, seed in seeded
        ]
        apart = [separate_body(body, self.val, self.settings, seed, APART) for body, seed in seeded]
        whole = [
            sarcoma_body(body, case, self.settings, seed)
            for (body, seed), case in zip(seeded, cycle(self.val), strict=False)
        ]
        scores = {
            "pet_lesions/val": score_cases(model, self.val, segment),
            "phantom seed 0 (unseen)": score_cases(model, phantoms[:1], segment),
            "phantoms of seeds 101 and 102 (unseen)": score_cases(model, phantoms[1:], segment),
            "varied phantoms with lesions of their own (unseen)": score_instances(
                model, own, segment
            ),
            "val tumours that touch, in unseen phantoms (synthetic)": score_instances(
                model, touching, segment
            ),
            "val tumours apart, in unseen phantoms (synthetic)": score_instances(
                model, apart, segment
            ),
            "one whole val tumour in each unseen phantom (synthetic)": score_instances(
                model, whole, segment
            ),
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
    phantoms = read_phantoms(
        settings.pet_lesions.varied_phantoms, settings.pet_lesions.plain_phantoms
    )
    return PetLesions(settings, Sources(learnt, bodies, phantoms), val)
