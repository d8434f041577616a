"""Pictures of few labelled brains: as they are, and with painted lesions as other scanners do."""

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medseg.config import InputSettings
from medseg.core.geometry import Geometry
from medseg.model.networks.features import brain_features
from medseg.model.normalise import scaled, tissue_intensity
from medseg.training.augment import Pose, draw_scanner, look, smooth_field
from medseg.training.datasets import Case, TrainingDataError, make_case
from medseg.training.painting import Looks, cortex, heal, looks_of, paint, white_matter
from medseg.training.settings import AugmentSettings, PaintedLesionsTask, TrainingSettings

KEPT = (15_000, 30_000, 15_000)
"""Voxels that are kept of a picture's lesions, with repetition, and at most of what is hard and
of the rest."""

BRIGHT = 1.2
"""Intensity from which a voxel without lesion is hard."""

BESIDE = 2
"""Voxels around a lesion that are hard too."""

PATIENTS_AT_ONCE = (1, 2)
"""Of how many patients lesions are painted into one picture."""

DARKEST = 0.03
"""Intensity that the brain's voxels keep at least: 0 means beyond the brain."""


@dataclass(frozen=True, eq=False)
class Brain:
    """One patient that is learnt from.

    Attributes:
        case: The FLAIR along R, A and S in multiples of its tissue's intensity, and its lesions.
        white: (I, J, K) boolean, where lesions may be painted.
        cortex: (I, J, K) float32, how much of a voxel is cortex.
        looks: Of its lesions.
    """

    case: Case
    white: NDArray[np.bool_]
    cortex: NDArray[np.float32]
    looks: Looks


@dataclass(frozen=True, eq=False)
class Voxels:
    """Some voxels of one picture.

    Attributes:
        groups: (N, F) float32 features of those of lesions, of hard ones and of the rest; any but
            all may have none.
    """

    groups: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

    def draw(
        self, lesion_share: float, hard_share: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], bool]:
        """(F,) features of a voxel, and whether it is of a lesion.

        Where a group has no voxel, the largest one gives it.
        """
        chosen = int(np.searchsorted(np.cumsum([lesion_share, hard_share]), rng.random(), "right"))
        if not len(self.groups[chosen]):
            chosen = int(np.argmax([len(group) for group in self.groups]))
        group = self.groups[chosen]
        return group[int(rng.integers(len(group)))], chosen == 0


def brain_of(case: Case, settings: InputSettings) -> Brain:
    """A patient's brain, cut out, along R, A and S.

    Raises:
        TrainingDataError: The axes of the image run otherwise, its voxels are not of the size that
            is learnt from, or it has no white matter.
    """
    case = along_ras(case)
    if not np.allclose(case.geometry.spacing_mm, settings.spacing_mm, rtol=0.01):
        raise TrainingDataError(
            f"The voxels of a FLAIR are not of {settings.spacing_mm} mm, as the settings say.",
            "Resample the FLAIRs and their masks, or set `input.spacing_mm`.",
        )
    box = box_of(case.image > 0)
    image = np.minimum(scaled(case.image[None], settings)[0][box], settings.clip[0][1])
    labels, geometry = case.labels[box].copy(), case.geometry.crop(box)
    spacing_mm = geometry.spacing_mm
    white = white_matter(image, labels, spacing_mm)
    if not white.any():
        raise TrainingDataError(
            "A FLAIR shows no white matter, so no lesion can be painted.",
            "See that it is of a brain without its skull, and take it out of `cases` otherwise.",
        )
    return Brain(
        make_case(case.name, image, labels, geometry),
        white,
        cortex(image, labels, spacing_mm),
        looks_of(image, labels, spacing_mm),
    )


def along_ras(case: Case) -> Case:
    """The same case with the axes of its arrays along R, A and S.

    Raises:
        TrainingDataError: They are oblique, or in another order.
    """
    matrix = case.geometry.affine[:3, :3]
    along = np.diag(matrix)
    if (np.abs(matrix).sum(axis=1) > 1.01 * np.abs(along)).any():
        raise TrainingDataError(
            "The axes of a FLAIR do not run along R, A and S, so the map of places cannot be laid "
            "over it.",
            "Resample the FLAIRs and their masks to such axes.",
        )
    turn = np.diag([*np.sign(along), 1.0])
    turn[:3, 3] = (along < 0) * (np.array(case.geometry.shape) - 1)
    forth = tuple(slice(None, None, int(step)) for step in np.sign(along))
    geometry = Geometry(case.geometry.shape, case.geometry.affine @ turn)
    return make_case(case.name, case.image[forth].copy(), case.labels[forth].copy(), geometry)


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The index ranges of what there is of a mask, and a voxel around it where there is room."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    room = zip(box, mask.shape, strict=True)
    i, j, k = (slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in room)
    return i, j, k


def voxels_of(
    brain: Brain,
    masks: Sequence[Case],
    prior: NDArray[np.float32],
    settings: TrainingSettings,
    chance: tuple[int, int, int],
) -> Voxels:
    """The features of some voxels of one picture of a brain.

    Args:
        brain: The brain.
        masks: Lesions of other patients, that may be painted.
        prior: Knots of the map of where lesions are wont to lie.
        settings: Of the run.
        chance: Seed, number of the brain, number of the picture: 0 is the brain as it is.
    """
    task, rng = settings.painted_lesions, np.random.default_rng(chance)
    image, lesion = brain.case.image, brain.case.labels > 0
    spacing_mm = brain.case.geometry.spacing_mm
    if chance[2] > 0:
        image, lesion = painted(brain, masks, task, rng)
        image = seen(image, brain, settings.augment, task.cortex_gain, rng)
    image = np.minimum(image, settings.input.clip[0][1])
    features = brain_features(image, torch.from_numpy(prior), spacing_mm)
    flat = features.reshape(len(features), -1)
    of_lesions, *others = _groups(image, lesion)
    chosen = [lesion_voxels(of_lesions, lesion, rng)]
    for places, most in zip(others, KEPT[1:], strict=True):
        chosen.append(rng.choice(places, min(most, len(places)), replace=False))
    lesions, hard, rest = (flat[:, places].T.copy() for places in chosen)
    return Voxels((lesions, hard, rest))


def painted(
    brain: Brain, masks: Sequence[Case], task: PaintedLesionsTask, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A brain with lesions of one or two other patients, beside its own or in their place."""
    geometry = brain.case.geometry
    image, lesion, white = brain.case.image, brain.case.labels > 0, brain.white
    if rng.random() < task.healed_share:
        image = heal(image, lesion, white, geometry.spacing_mm, rng)
        white, lesion = white | lesion, np.zeros_like(lesion)
    low, high = PATIENTS_AT_ONCE
    for _ in range(int(rng.integers(low, high + 1))):
        other = masks[int(rng.integers(len(masks)))]
        pose = Pose(draw_place(brain.case, task, rng) @ geometry.affine)
        target = (geometry.shape, (1.0, 1.0, 1.0))  # the pose speaks of voxels
        (wanted,) = look([other.image], [0], other.geometry, pose, target)
        image, more = paint(
            image, wanted >= 0.5, white & ~lesion, brain.looks, geometry.spacing_mm, rng
        )
        lesion = lesion | more
    return image, lesion


def seen(
    image: NDArray[np.float32],
    brain: Brain,
    settings: AugmentSettings,
    cortex_gain: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The picture as another scanner shows it, in multiples of its tissue's intensity again."""
    spacing_mm, inside = brain.case.geometry.spacing_mm, brain.case.image > 0
    here = (1 + smooth_field(image.shape, spacing_mm, settings, rng)) / 2
    brighter = image * np.exp(rng.uniform(0, cortex_gain) * here * brain.cortex)
    shown = draw_scanner(brighter.astype(np.float32), spacing_mm, settings, rng)
    kept = np.where(inside, np.maximum(shown, DARKEST), 0).astype(np.float32)
    off = np.exp(rng.normal(0, settings.gain))
    again: NDArray[np.float32] = kept * np.float32(off / tissue_intensity(kept))
    return again


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


def lesion_voxels(
    places: NDArray[np.intp], lesion: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Some of the lesions' voxels: half as they come, half of each lesion the root of its size.

    A few confluent lesions have most of the voxels, and most lesions are small.
    """
    if not len(places):
        return places
    owner = cc3d.connected_components(lesion, connectivity=26).ravel()[places]
    rooted = 1 / np.sqrt(np.bincount(owner)[owner])
    share = (1 / len(places) + rooted / rooted.sum()) / 2
    return rng.choice(places, KEPT[0], p=share / share.sum())


def _groups(
    image: NDArray[np.float32], lesion: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Flat indices of a brain's voxels: of lesions, hard ones, and the rest."""
    other = (image > 0) & ~lesion
    hard = other & ((image > BRIGHT) | ndimage.binary_dilation(lesion, iterations=BESIDE))
    return (
        np.flatnonzero((image > 0) & lesion),
        np.flatnonzero(hard),
        np.flatnonzero(other & ~hard),
    )
