"""MS lesions on FLAIR: what is drawn to learn from, and what a model is measured on.

Data is a folder with `cases` (`*_flair.nii.gz`, a brain without its skull, and
`*_lesion_mask.nii.gz`) and `masks_only` (masks of further patients in the same space).
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medseg.config import SegmentSettings
from medseg.core.prediction import VoxelModel
from medseg.core.volume import IntensityUnit, Volume
from medseg.evaluate.rules import CC26_ANY_OVERLAP
from medseg.evaluate.scores import Scores, evaluate
from medseg.evaluate.sizes import BIN_DIAMETERS_MM
from medseg.formats import nifti
from medseg.model.networks.prior import extent, scaled_frequency
from medseg.segment.delineate import delineate
from medseg.training.augment import Pose, look
from medseg.training.brains import Voxels, box_of, brain_of, voxels_of
from medseg.training.datasets import Case, TrainingDataError, content, labelled, make_case
from medseg.training.sample import Sample, sample_of_structures
from medseg.training.scores import instances_of
from medseg.training.settings import TrainingSettings

IMAGE = "_flair.nii.gz"
MASK = "_lesion_mask.nii.gz"

PRIOR_BLUR_MM = 5.0
"""Standard deviation of the blur of the map of where lesions lie: 27 patients are few."""

SEPARATION = SegmentSettings(
    model="unpublished",
    foreground_threshold=0.6,
    min_peak=0.97,
    certain_from=0.95,
    min_certain_share=0.125,
    peak_prominence=1,
    core_sides=7,
)
"""Nothing says where confluent lesions end, so each component is one; what a lesion encloses may
be a ventricle, so no core is filled; and a place of which the model is sure of too little is left
out (docs/decisions/0022)."""

NARROWEST = 1e-2
"""A feature that hardly ever changes is told in units of it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MsLesions:
    """Satisfies `tasks.Task`.

    Attributes:
        settings: Of the run.
        learnt: Patients that are learnt from.
        masks: Lesions of patients without image, that are painted: each image is its mask.
        scored: FLAIRs as acquired, with their lesions, to be measured on; those that are learnt
            from where none is held out.
        prior: The map of where lesions are wont to lie.
        pictures: Voxels of every picture of every brain.
    """

    settings: TrainingSettings
    learnt: tuple[Case, ...]
    masks: tuple[Case, ...]
    scored: tuple[Case, ...]
    prior: NDArray[np.float32]
    pictures: tuple[Voxels, ...]

    @property
    def middles(self) -> NDArray[np.float32]:
        """(F,) mean of each feature over all voxels."""
        return self._statistics[0]

    @property
    def widths(self) -> NDArray[np.float32]:
        """(F,) its standard deviation."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        every = np.concatenate([group for one in self.pictures for group in one.groups])
        return every.mean(axis=0), np.maximum(every.std(axis=0), NARROWEST)

    def computed(self) -> Mapping[str, Tensor]:
        """The map of places, and mean and standard deviation of each feature."""
        return {
            "prior": torch.from_numpy(self.prior),
            "middle": torch.from_numpy(self.middles),
            "width": torch.from_numpy(self.widths),
        }

    def sample(self, rng: np.random.Generator) -> Sample:
        """Voxels of all pictures: each picture as often, of each of its groups a share."""
        task, count = self.settings.painted_lesions, self.settings.crop[0]
        chosen = rng.integers(len(self.pictures), size=count)
        drawn = [self.pictures[n].draw(task.lesion_share, task.hard_share, rng) for n in chosen]
        data = np.array([features for features, _ in drawn], np.float32)
        data += (rng.normal(0, task.blur, data.shape) * self.widths).astype(np.float32)
        mask = np.array([lesion for _, lesion in drawn], np.float32)
        return sample_of_structures(
            data.T.reshape(-1, count, 1, 1), mask.reshape(1, count, 1, 1), np.ones(1, bool)
        )

    def validate(self, model: VoxelModel) -> Mapping[str, float]:
        """Means over the cases that are scored; of lesions by the rule `cc26-any-overlap`.

        The precision of nothing is 0.
        """
        rows = [summary(measure(model, case)) for case in self.scored]
        return {
            f"val_{name}": float(np.mean([row.get(name, 0.0) for row in rows]))
            for name in ("lesion_f1", "dice", "lesion_recall", "lesion_precision")
        }

    def scores(self, model: VoxelModel) -> dict[str, dict[str, float]]:
        """Of each case that is scored."""
        fold = self.settings.painted_lesions.fold
        known = "" if fold is not None else "in training, so no evidence; "
        scores = {
            f"ms_flair {case.name} ({known}{CC26_ANY_OVERLAP})": summary(measure(model, case))
            for case in self.scored
        }
        for name, row in scores.items():
            logger.info("%s: %s", name, row)
        return scores

    def content(self) -> Iterator[bytes]:
        """Of the brains and the masks."""
        for case in self.learnt:
            yield from content(case)
        for mask in self.masks:
            yield from content(mask)


def measure(model: VoxelModel, case: Case) -> Scores:
    """How well the lesions of one case are found, through the line of a study."""
    volume = Volume(case.image, case.geometry, IntensityUnit.ARBITRARY)
    volumes = dict.fromkeys(model.roles, volume)
    found = delineate(volumes, model, SEPARATION, identity="score").lesions
    return evaluate(found, instances_of(case.labels, case.geometry))


def summary(scores: Scores) -> dict[str, float]:
    """Dice, and what the rule `cc26-any-overlap` says of the lesions, of all and of each size."""
    found = scores.under(CC26_ANY_OVERLAP)
    rows = {
        "dice": scores.dice,
        "lesion_f1": found.f1,
        "lesion_recall": found.recall,
        "lesion_precision": found.precision,
        "lesions": found.reference_lesions,
        "predicted_lesions": found.predicted_lesions,
    }
    for name, one in zip(size_names(), found.by_size, strict=True):
        rows |= {f"recall_{name}": one.recall, f"precision_{name}": one.precision}
    return {name: round(value, 4) for name, value in rows.items() if not np.isnan(value)}


def size_names() -> tuple[str, ...]:
    """The size bins by the diameters of their balls."""
    edges = [f"{d:g}" for d in BIN_DIAMETERS_MM]
    between = [f"{low}_to_{high}_mm" for low, high in pairwise(edges)]
    return (f"below_{edges[0]}_mm", *between, f"from_{edges[-1]}_mm")


def read(settings: TrainingSettings) -> MsLesions:
    """The cases and the masks.

    Raises:
        InputError: The data cannot be read, or there is no such fold.
    """
    cases = read_cases(settings.data / "cases")
    fold = settings.painted_lesions.fold
    if fold is not None and (fold >= len(cases) or len(cases) < 2):
        raise TrainingDataError(
            f"Fold {fold} does not exist: there are {len(cases)} cases.",
            "Choose a fold from 0 to one less than the cases, of two cases at least.",
        )
    learnt = tuple(case for number, case in enumerate(cases) if number != fold)
    scored = cases if fold is None else (cases[fold],)
    masks = read_masks(settings.data / "masks_only")
    check_masks(cases, masks)
    prior = prior_of(masks, learnt, settings.network.prior or (2, 2, 2))
    pictures = draw_pictures(learnt, masks, prior, settings)
    return MsLesions(settings, learnt, masks, scored, prior, pictures)


def check_masks(cases: Sequence[Case], masks: Sequence[Case]) -> None:
    """See that there is something to paint, and that it is of nobody who is scored.

    Raises:
        TrainingDataError: It is not so.
    """
    if not masks:
        raise TrainingDataError(
            "The training folder holds no masks of further patients, so nothing can be painted.",
            f"Give *{MASK} of patients without image in `masks_only`.",
        )
    both = sorted({case.name for case in cases} & {mask.name for mask in masks})
    if both:
        raise TrainingDataError(
            f"{', '.join(both)} would be painted and scored, so the scores would say too much.",
            "Take the masks of the patients in `cases` out of `masks_only`.",
        )
    if any(not case.lesions for case in cases):
        raise TrainingDataError(
            "A FLAIR has no lesion, so there is nothing to paint others after.",
            "Take it out of `cases`.",
        )


def draw_pictures(
    learnt: Sequence[Case],
    masks: Sequence[Case],
    prior: NDArray[np.float32],
    settings: TrainingSettings,
) -> tuple[Voxels, ...]:
    """Every picture of every brain; each takes some ten seconds of a core.

    Raises:
        TrainingDataError: The axes of a FLAIR do not run along R, A and S, its voxels are not of
            the size that is learnt from, or it has no white matter.
    """
    task = settings.painted_lesions
    brains = [brain_of(case, settings.input) for case in learnt]

    def picture(place: tuple[int, int]) -> Voxels:
        number, which = place
        return voxels_of(brains[number], masks, prior, settings, (settings.seed, number, which))

    with ThreadPoolExecutor(settings.threads) as pool:
        return tuple(pool.map(picture, product(range(len(brains)), range(task.pictures))))


def prior_of(
    masks: Sequence[Case], brains: Sequence[Case], knots: tuple[int, int, int]
) -> NDArray[np.float32]:
    """How often lesions of these masks lie where, over the mean of brains in the same space.

    It is blurred, and the same on the left as on the right.

    Args:
        masks: Each image is a mask.
        brains: Which the masks' patients' are taken to be like.
        knots: Of the map along R, A and S.

    Returns:
        Array of that shape, as from `scaled_frequency`.
    """
    extents = [(case.geometry, *extent(case.image > 0)) for case in brains]
    low, high = (
        np.mean(
            [np.sort(g.to_world(np.array([m - h, m + h])), axis=0)[end] for g, m, h in extents], 0
        )
        for end in (0, 1)
    )
    r, a, s = (int(n) for n in np.rint(high - low) + 1)
    shape = (r, a, s)
    to_source = np.eye(4)
    to_source[:3, 3] = low
    target = (shape, (1.0, 1.0, 1.0))
    often = np.mean(
        [look([mask.image], [0], mask.geometry, Pose(to_source), target)[0] for mask in masks],
        axis=0,
    )
    smooth = ndimage.gaussian_filter((often + often[::-1]) / 2, PRIOR_BLUR_MM)
    axes = [np.linspace(0, n - 1, count) for n, count in zip(shape, knots, strict=True)]
    at = np.stack(np.meshgrid(*axes, indexing="ij"))
    return scaled_frequency(ndimage.map_coordinates(smooth, at, order=1))


def read_cases(folder: Path) -> tuple[Case, ...]:
    """Every FLAIR of a folder with its lesions, by name: 26-connected components of its mask.

    Raises:
        TrainingDataError: There is none, or an image and its mask differ in their grid.
        InputError: A file cannot be read.
    """
    cases = tuple(
        make_case(name, volume.data, components(mask), volume.geometry)
        for name, volume, mask in labelled(folder, IMAGE, MASK)
    )
    if not cases:
        raise TrainingDataError(
            "The training folder holds no FLAIR with lesions, so nothing can be learnt.",
            f"Give a folder with *{IMAGE} and *{MASK} in `cases`.",
        )
    return cases


def read_masks(folder: Path) -> tuple[Case, ...]:
    """Every mask of a folder that holds a lesion, by name; its image is the mask as 0 and 1.

    Raises:
        InputError: A file cannot be read.
    """
    masks = []
    for path in sorted(folder.glob(f"*{MASK}")):
        whole, geometry = nifti.read_labels(path)
        if not whole.any():
            continue
        box = box_of(whole > 0)
        mask, there = whole[box], geometry.crop(box)
        image = (mask > 0).astype(np.float32)
        masks.append(make_case(path.name.removesuffix(MASK), image, components(mask), there))
    return tuple(masks)


def components(mask: NDArray[np.integer]) -> NDArray[np.uint16]:
    """The 26-connected parts of a mask, numbered from 1."""
    parts: NDArray[np.uint16] = cc3d.connected_components(mask > 0, connectivity=26).astype(
        np.uint16
    )
    return parts
