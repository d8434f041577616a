"""Organs on CT: what is drawn to learn from, and what a model is measured on.

A case is an image (`*_ct.nii.gz`) and a mask (`*_organs.nii.gz`) whose label n is the n-th
structure of the network. An organ that a mask lacks was not outlined, which does not mean that it
is not there: it is left out of the loss and of the scores.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medseg.config import SegmentSettings, load_structures
from medseg.core.prediction import VoxelModel
from medseg.core.structures import mirrored
from medseg.core.volume import IntensityUnit, Volume
from medseg.model.normalise import normalise
from medseg.segment.delineate import delineate
from medseg.training.augment import draw_pose, draw_scanner, draw_view, look
from medseg.training.datasets import TrainingDataError, labelled
from medseg.training.sample import Sample, sample_of_structures
from medseg.training.settings import OrgansTask, TrainingSettings

IMAGE = "_ct.nii.gz"
MASK = "_organs.nii.gz"

NOTHING_HU = -1024.0
"""What lies beyond a CT, and beyond the region that OpenKBP kept of it."""

RIM_VOXELS = 3
"""Of the image that OpenKBP keeps around an organ, at most: none around the larynx of pt_203, one
to three around its brainstem. No case of `train` is like it."""

RESAMPLES = 2000
"""Of the patients, for the interval of a mean."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OrganCase:
    """One image of one patient with the organs that were outlined, on the acquired grid.

    Attributes:
        name: Of its files; also the patient's, by which train and val are split.
        volume: The image, in HU.
        labels: (I, J, K) uint16; n where the n-th structure is.
        places: For each structure the (N, 3) indices of its voxels; none where it was not outlined.
    """

    name: str
    volume: Volume
    labels: NDArray[np.uint16]
    places: tuple[NDArray[np.intp], ...]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(S,) which structures were outlined."""
        return np.array([len(where) > 0 for where in self.places])


@dataclass(frozen=True, eq=False)
class Organs:
    """Satisfies `tasks.Task`.

    Attributes:
        settings: Of the run.
        train: Cases that are learnt from.
        val: Cases that never are.
        swapped: (S,) for each structure the one that it is where left and right are exchanged.
    """

    settings: TrainingSettings
    train: tuple[OrganCase, ...]
    val: tuple[OrganCase, ...]
    swapped: tuple[int, ...]

    def sample(self, rng: np.random.Generator) -> Sample:
        """A crop around an organ, around the organs, or anywhere in a case.

        Half of the crops are around a voxel of a structure that is drawn first, each as often, so
        that one that few cases have is seen as much as the others.
        """
        case, centre = self._centre(rng)
        shape, spacing_mm = self.settings.crop, self.settings.input.spacing_mm
        augment, geometry = self.settings.augment, case.volume.geometry
        pose = draw_pose(geometry.to_world(centre), shape, spacing_mm, augment, rng)
        masks = [(case.labels == n).astype(np.float32) for n in range(1, len(case.places) + 1)]
        seen = look(
            [case.volume.data, *masks],
            [NOTHING_HU, *(0.0 for _ in masks)],
            geometry,
            pose,
            (shape, spacing_mm),
        )
        covered = draw_view(shape, spacing_mm, augment, rng)
        if rng.random() < self._task.islands_share:
            covered |= islands(seen[1:].max(axis=0) >= 0.5, rng)
        image = draw_scanner(seen[0], spacing_mm, augment, rng)
        image[~covered] = NOTHING_HU
        order = list(self.swapped) if pose.mirrored else list(range(len(self.swapped)))
        return sample_of_structures(
            normalise(image[None], self.settings.input),
            (seen[1:] * covered)[order],
            case.known[order],
        )

    @property
    def _task(self) -> OrgansTask:
        if not isinstance(self.settings.task, OrgansTask):
            raise TypeError(f"a run of {self.settings.task.kind}, not of organs")
        return self.settings.task

    def _centre(self, rng: np.random.Generator) -> tuple[OrganCase, NDArray[np.float64]]:
        """A case, and the index in it that a crop is drawn around."""
        kind = rng.random()
        if kind < 0.5:
            outlined = np.flatnonzero(np.any([case.known for case in self.train], axis=0))
            structure = int(rng.choice(outlined))
            having = [case for case in self.train if case.known[structure]]
            case = having[int(rng.integers(len(having)))]
            where = case.places[structure]
            return case, where[int(rng.integers(len(where)))].astype(float)
        case = self.train[int(rng.integers(len(self.train)))]
        organs = np.concatenate(case.places)
        if kind < 0.85:
            return case, rng.uniform(organs.min(axis=0), organs.max(axis=0))
        return case, rng.uniform(0, np.array(case.labels.shape) - 1)

    def computed(self) -> Mapping[str, Tensor]:
        """Nothing."""
        return {}

    def validate(self, model: VoxelModel) -> Mapping[str, float]:
        """Mean Dice of the structures on every third case of `val`, and of each of them."""
        each = {
            name: float(np.mean(scores))
            for name, scores in self._dice(model, self.val[::3]).items()
            if scores
        }
        return {"val_dice": float(np.mean(list(each.values()))), **each}

    def scores(self, model: VoxelModel) -> dict[str, dict[str, float]]:
        """Of each structure on `val`: cases, mean Dice, its interval over patients, and the least.

        The rule is `dice-voxels`: of voxels of the acquired grid, 0 where the organ was outlined
        and not found; cases in which it was not outlined do not count.
        """
        found = self._dice(model, self.val)
        scores = {
            f"head_neck_organs/val {name} (dice-voxels)": summary(values)
            for name, values in found.items()
            if values
        }
        for name, row in scores.items():
            logger.info("%s: %s", name, row)
        return scores

    def _dice(self, model: VoxelModel, cases: Sequence[OrganCase]) -> dict[str, list[float]]:
        return dice_of_organs(model, cases, self.settings.network.structures)

    def content(self) -> Iterator[bytes]:
        """Of the cases that are learnt from."""
        for case in self.train:
            yield np.ascontiguousarray(case.volume.data).tobytes()
            yield np.ascontiguousarray(case.labels).tobytes()
            yield case.volume.geometry.affine.tobytes()


def read(settings: TrainingSettings) -> Organs:
    """The cases of `train` and `val`.

    Raises:
        InputError: The data cannot be read, or a patient is in both.
    """
    names = settings.network.structures
    train, val = (read_cases(settings.data / part, len(names)) for part in ("train", "val"))
    if {case.name for case in train} & {case.name for case in val}:
        raise TrainingDataError(
            "A patient is in both `train` and `val`, so the scores would be too good.",
            "Split the cases by patient.",
        )
    structures = load_structures()
    swapped = tuple(names.index(mirrored(name, structures)) for name in names)
    return Organs(settings, train, val, swapped)


def read_cases(folder: Path, structures: int) -> tuple[OrganCase, ...]:
    """Every CT of a folder with its mask, by name.

    Raises:
        TrainingDataError: There is none, an image and its mask differ in their grid, or a mask has
            more labels than there are structures, or none.
        InputError: A file cannot be read.
    """
    cases: list[OrganCase] = []
    for name, image, labels in labelled(folder, IMAGE, MASK, "organs"):
        _check(len(cases) + 1, labels, structures)
        volume = Volume(image.data, image.geometry, IntensityUnit.HU)
        places = tuple(np.argwhere(labels == n) for n in range(1, structures + 1))
        cases.append(OrganCase(name, volume, labels, places))
    if not cases:
        raise TrainingDataError(
            "The training folder holds no CT with organs, so nothing can be learnt.",
            f"Give a folder with *{IMAGE} and *{MASK} in `train` and `val`.",
        )
    return tuple(cases)


def _check(number: int, labels: NDArray[np.uint16], structures: int) -> None:
    if not 0 < labels.max() <= structures:
        raise TrainingDataError(
            f"The mask of case {number} has labels up to {labels.max()}, and the network has "
            f"{structures} structures, so they cannot be told apart.",
            "Number the organs of the masks in the order of the network's structures.",
        )


def islands(organs: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """What OpenKBP keeps of an image beyond the region of the dose: organs, with a rim or without.

    Args:
        organs: (I, J, K) where one is.
        rng: Chance; of the width of the rim, up to `RIM_VOXELS`.
    """
    width = int(rng.integers(RIM_VOXELS + 1))
    return ndimage.binary_dilation(organs, iterations=width) if width > 0 else organs


def dice_of_organs(
    model: VoxelModel, cases: Sequence[OrganCase], structures: Sequence[str]
) -> dict[str, list[float]]:
    """Dice of each structure in each case that has it outlined, through the line of a study."""
    settings = SegmentSettings(model="unpublished")
    found: dict[str, list[float]] = {}
    for case in cases:
        volumes = dict.fromkeys(model.roles, case.volume)
        organs = delineate(volumes, model, settings, identity="score").organs
        labels = {row.structure: row.label for row in organs.instances}
        for number, name in enumerate(structures, start=1):
            values = found.setdefault(name, [])
            reference = case.labels == number
            if reference.any():
                prediction = (organs.labels == labels.get(name, 0)) & (organs.labels > 0)
                both = int(prediction.sum() + reference.sum())
                values.append(2 * int((prediction & reference).sum()) / both)
    return found


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean with its 95 % interval by bootstrap over patients (percentiles), median and least."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(np.array(values), size=(RESAMPLES, len(values))).mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {
        "cases": len(values),
        "mean_dice": round(float(np.mean(values)), 4),
        "from": round(float(low), 4),
        "to": round(float(high), 4),
        "median_dice": round(float(np.median(values)), 4),
        "least_dice": round(min(values), 4),
    }
