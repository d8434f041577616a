"""MS lesions on FLAIR: what is drawn to learn from, and what a model is measured on.

Data is a folder with `cases` (`*_flair.nii.gz`, a brain without its skull, and
`*_lesion_mask.nii.gz`) and `masks_only` (masks of further patients in the same space).
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor

from medseg.config import SegmentSettings
from medseg.core.prediction import VoxelModel
from medseg.core.volume import IntensityUnit, Volume
from medseg.evaluate.rules import CC26_ANY_OVERLAP
from medseg.evaluate.scores import Scores, evaluate
from medseg.evaluate.sizes import BIN_DIAMETERS_MM
from medseg.formats import nifti
from medseg.model.networks.prior import extent, prior_channel, scaled_frequency
from medseg.model.normalise import normalise, scaled
from medseg.segment.delineate import delineate
from medseg.training.augment import Pose, draw_pose, draw_scanner, look, smooth_field
from medseg.training.datasets import Case, TrainingDataError, content, labelled, make_case
from medseg.training.painting import Looks, cortex, looks_of, paint, white_matter
from medseg.training.sample import Sample, sample_of_structures
from medseg.training.scores import instances_of
from medseg.training.settings import PaintedLesionsTask, TrainingSettings
from medseg.training.targets import territories

IMAGE = "_flair.nii.gz"
MASK = "_lesion_mask.nii.gz"

PRIOR_BLUR_MM = 5.0
"""Standard deviation of the blur of the map of where lesions lie: 27 patients are few."""

PRIOR_SHIFT_MM = 5.0
"""How far along R, A and S it is off in training: brains of one mean and spread differ."""

SEPARATION = SegmentSettings(model="unpublished", peak_prominence=1, core_sides=7)
"""Nothing says where confluent lesions end, so each component is one; and what a lesion encloses
may be a ventricle, so no core is filled."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Brain:
    """One patient that is learnt from.

    Attributes:
        case: The FLAIR in multiples of its tissue's intensity, and its lesions.
        real: (I, J, K) float32, 1 where those are.
        inside: (V,) flat indices of the brain's voxels.
        white: (I, J, K) float32, 1 where lesions may be painted.
        cortex: (I, J, K) float32, how much of a voxel is cortex.
        looks: Of its lesions.
        prior: (I, J, K) float32 where lesions are wont to lie; zeros where the network is not told.
    """

    case: Case
    real: NDArray[np.float32]
    inside: NDArray[np.intp]
    white: NDArray[np.float32]
    cortex: NDArray[np.float32]
    looks: Looks
    prior: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MsLesions:
    """Satisfies `tasks.Task`.

    Attributes:
        settings: Of the run.
        brains: That are learnt from.
        masks: Lesions of patients without image, that are painted: each image is its mask.
        scored: FLAIRs as acquired, with their lesions, to be measured on; those that are learnt
            from where none is held out.
        prior: The network's map of where lesions are wont to lie; None where it has none.
    """

    settings: TrainingSettings
    brains: tuple[Brain, ...]
    masks: tuple[Case, ...]
    scored: tuple[Case, ...]
    prior: NDArray[np.float32] | None = None

    def computed(self) -> Mapping[str, Tensor]:
        """The map of where lesions are wont to lie."""
        return {} if self.prior is None else {"prior": torch.from_numpy(self.prior)}

    def sample(self, rng: np.random.Generator) -> Sample:
        """A crop of a brain, around a lesion or anywhere, with lesions painted into it or not."""
        task, augment = self._task, self.settings.augment
        shape, spacing_mm = self.settings.crop, self.settings.input.spacing_mm
        brain = self.brains[int(rng.integers(len(self.brains)))]
        geometry = brain.case.geometry
        other = self.masks[int(rng.integers(len(self.masks)))]
        placed = draw_place(brain.case, task, rng)
        painting = rng.random() < task.painted_share
        centre_mm = self._centre(brain, other if painting else brain.case, rng)
        if painting:
            centre_mm = np.linalg.solve(placed, np.append(centre_mm, 1))[:3]
        pose = snapped(draw_pose(centre_mm, shape, spacing_mm, augment, rng), brain.case)
        channels = [brain.case.image, brain.real, brain.white, brain.cortex]
        image, lesion, white, grey = look(channels, [0] * 4, geometry, pose, (shape, spacing_mm))
        mask = lesion >= 0.5
        if task.cortex_gain > 0:
            here = (1 + smooth_field(shape, spacing_mm, augment, rng)) / 2
            gain = rng.uniform(0, task.cortex_gain) * here * grey
            image = (image * np.exp(gain)).astype(np.float32)
        if painting:
            moved = Pose(placed @ pose.to_source)
            (wanted,) = look([other.image], [0], other.geometry, moved, (shape, spacing_mm))
            image, more = paint(image, wanted >= 0.5, white >= 0.5, brain.looks, spacing_mm, rng)
            mask = mask | more
        seen = np.where(image > 0.02, draw_scanner(image, spacing_mm, augment, rng), 0)
        data = normalise(seen.astype(np.float32)[None], self.settings.input)
        if self.prior is not None:
            off = pose.to_source.copy()
            off[:3, 3] += rng.uniform(-1, 1, 3) * PRIOR_SHIFT_MM
            shifted = replace(pose, to_source=off)
            told = look([brain.prior], [0], geometry, shifted, (shape, spacing_mm))
            data = np.concatenate([data, told])
        return self._sample(data, mask)

    def _sample(self, data: NDArray[np.float32], mask: NDArray[np.bool_]) -> Sample:
        """A sample whose instances are the connected parts of a mask."""
        labels = cc3d.connected_components(mask, connectivity=26).astype(np.int32)
        made = sample_of_structures(data, mask[None].astype(np.float32), np.ones(1, bool))
        owned = territories(labels, self.settings.input.spacing_mm)
        return replace(made, labels=labels, territories=owned)

    @property
    def _task(self) -> PaintedLesionsTask:
        if not isinstance(self.settings.task, PaintedLesionsTask):
            raise TypeError(f"a run of {self.settings.task.kind}, not of painted-lesions")
        return self.settings.task

    def _centre(self, brain: Brain, lesions: Case, rng: np.random.Generator) -> NDArray[np.float64]:
        """RAS+ mm that a crop is drawn around: a lesion, each as often, or a voxel of the brain."""
        if rng.random() < self._task.lesion_share:
            return lesions.lesions[int(rng.integers(len(lesions.lesions)))].centre_mm
        voxel = brain.inside[int(rng.integers(len(brain.inside)))]
        index = np.unravel_index(voxel, brain.case.image.shape)
        return brain.case.geometry.to_world(np.array(index, float))

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
        known = "" if self._task.fold is not None else "in training, so no evidence; "
        scores = {
            f"ms_flair {case.name} ({known}{CC26_ANY_OVERLAP})": summary(measure(model, case))
            for case in self.scored
        }
        for name, row in scores.items():
            logger.info("%s: %s", name, row)
        return scores

    def content(self) -> Iterator[bytes]:
        """Of the brains and the masks."""
        for brain in self.brains:
            yield from content(brain.case)
        for mask in self.masks:
            yield from content(mask)


def draw_place(
    brain: Case, settings: PaintedLesionsTask, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(4, 4) from RAS+ mm of a brain to those of a mask that is painted into it.

    The two lie in the same space; the mask is mirrored left to right or not, turned, scaled and
    shifted about the brain's middle.
    """
    middle = brain.geometry.corners_mm.mean(axis=0)
    angles = rng.uniform(-1, 1, 3) * settings.place_degrees
    scale = np.exp(rng.uniform(-1, 1, 3) * np.log(settings.place_scale))
    shift = rng.uniform(-1, 1, 3) * settings.place_mm
    linear = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(scale)
    if rng.random() < 0.5:
        middle = middle * (0, 1, 1)  # R = 0 is the midline of MNI space
        linear = linear @ np.diag([-1.0, 1.0, 1.0])
    place = np.eye(4)
    place[:3, :3] = linear
    place[:3, 3] = middle - linear @ middle + shift
    return place


def snapped(pose: Pose, case: Case) -> Pose:
    """The same pose with its voxels on the source's, where it is not turned or scaled.

    A shift by a part of a voxel blurs what is as small as these lesions.
    """
    if not np.allclose(np.abs(pose.to_source[:3, :3]), np.eye(3)):
        return pose
    to_source = pose.to_source.copy()
    index = case.geometry.to_index(to_source[:3, 3])
    to_source[:3, 3] = case.geometry.to_world(np.round(index))
    return Pose(to_source, pose.mirrored, pose.bend_mm)


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
    fold = settings.task.fold if isinstance(settings.task, PaintedLesionsTask) else None
    if fold is not None and (fold >= len(cases) or len(cases) < 2):
        raise TrainingDataError(
            f"Fold {fold} does not exist: there are {len(cases)} cases.",
            "Choose a fold from 0 to one less than the cases, of two cases at least.",
        )
    learnt = [case for number, case in enumerate(cases) if number != fold]
    scored = cases if fold is None else (cases[fold],)
    masks = read_masks(settings.data / "masks_only")
    prior = None
    if settings.network.prior is not None:
        prior = prior_of(masks, learnt, settings.network.prior)
    brains = tuple(_brain(case, settings, prior) for case in learnt)
    return MsLesions(settings, brains, masks, scored, prior)


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


def _brain(case: Case, settings: TrainingSettings, prior: NDArray[np.float32] | None) -> Brain:
    box = box_of(case.image > 0)
    image = scaled(case.image[None], settings.input)[0][box].copy()
    labels, geometry = case.labels[box].copy(), case.geometry.crop(box)
    white = white_matter(image, labels, geometry.spacing_mm)
    told = np.zeros_like(image)
    if prior is not None:
        along = np.diag(geometry.affine)[:3]
        if (np.abs(geometry.affine[:3, :3]).sum(axis=1) > 1.01 * np.abs(along)).any():
            raise TrainingDataError(
                "The axes of a FLAIR do not run along R, A and S, so the map of places cannot be "
                "laid over it.",
                "Resample the FLAIRs and their masks to such axes, or leave out `network.prior`.",
            )
        ras = np.sign(along).astype(int)
        forth = tuple(slice(None, None, int(step)) for step in ras)
        told = prior_channel(torch.from_numpy(prior), image[forth])[forth].copy()
    return Brain(
        make_case(case.name, image, labels, geometry),
        (labels > 0).astype(np.float32),
        np.flatnonzero(image > 0),
        white.astype(np.float32),
        cortex(image, labels, geometry.spacing_mm),
        looks_of(image, labels, geometry.spacing_mm),
        told,
    )


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The index ranges of what there is of a mask, and a voxel around it where there is room."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    room = zip(box, mask.shape, strict=True)
    i, j, k = (slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in room)
    return i, j, k


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
