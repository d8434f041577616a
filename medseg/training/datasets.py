"""Cases in memory: an image with instances whose place and size are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.core.volume import Volume
from medseg.errors import InputError
from medseg.formats import nifti
from medseg.model.networks.judge import BLUR_MM

IMAGE = "_pet_suv.nii.gz"
LABELS = "_lesions.nii.gz"

COARSE_MM = 7.0
"""Spacing of what a case looks like from afar."""


class TrainingDataError(InputError):
    """The training data are not what the settings say."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion of a case, whole.

    Attributes:
        label: Its value in the label array.
        centre_mm: (3,) mean of its voxel centres, RAS+ mm.
        radius_mm: Radius of the ball of its volume.
        box: Its voxels' index ranges.
    """

    label: int
    centre_mm: NDArray[np.float64]
    radius_mm: float
    box: tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Case:
    """One image of one patient with its labelled lesions, on the acquired grid.

    Attributes:
        name: Of its files; also the patient's, by which train and val are split.
        image: (I, J, K) float32, SUV.
        labels: (I, J, K) uint16; 0 is background.
        geometry: Where that grid lies.
        lesions: One for each label.
        organs: (I, J, K) codes of `training.physiology.ORGANS`; None where none are outlined.
        outlined: The organs that are, wherever they can be seen.
    """

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.uint16]
    geometry: Geometry
    lesions: tuple[Lesion, ...]
    organs: NDArray[np.uint8] | None = None
    outlined: tuple[str, ...] = ()

    @cached_property
    def coarse(self) -> tuple[NDArray[np.float32], Geometry]:
        """The image as blurred as a judge sees it once it is interpolated, and fewer voxels of it.

        Networks with surroundings (`input.context`) learn from the same.

        Linear interpolation between voxels d apart blurs with a variance of d²/6 in the mean, which
        is left out here. Without that, small uptake would have less than what a judge is shown of
        it in a study, and than a tumour that is added.
        """
        steps = [max(1, round(COARSE_MM / mm)) for mm in self.geometry.spacing_mm]
        spacing = np.array(self.geometry.spacing_mm)
        sigmas_mm = np.sqrt(np.maximum(0, BLUR_MM**2 - (spacing * steps) ** 2 / 6))
        blurred = ndimage.gaussian_filter(self.image, sigmas_mm / spacing)
        affine = self.geometry.affine @ np.diag([*steps, 1.0])
        few = np.ascontiguousarray(blurred[:: steps[0], :: steps[1], :: steps[2]])
        return few, Geometry((few.shape[0], few.shape[1], few.shape[2]), affine)

    @cached_property
    def softened(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Lesions for coarse voxels to meet.

        Returns:
            How many of the 27 voxels at and around one are a lesion's, and whether one of a lesion
            lies within three voxels; each of the image's shape.
        """
        lesion = (self.labels > 0).astype(np.uint8)
        share = ndimage.convolve(lesion, np.ones((3, 3, 3), np.uint8))
        return share, ndimage.maximum_filter(lesion, 7)


def make_case(
    name: str, image: NDArray[np.float32], labels: NDArray[np.uint16], geometry: Geometry
) -> Case:
    """A case with the place and the size of each of its lesions."""
    lesions = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        places = np.argwhere(labels[box] == label) + [s.start for s in box]
        volume_mm3 = len(places) * geometry.voxel_volume_mm3
        lesions.append(
            Lesion(
                label=label,
                centre_mm=geometry.to_world(places).mean(axis=0),
                radius_mm=float((3 * volume_mm3 / (4 * np.pi)) ** (1 / 3)),
                box=box,
            )
        )
    return Case(name, image, labels, geometry, tuple(lesions))


def read_cases(folder: Path) -> tuple[Case, ...]:
    """Every PET of a folder (`*_pet_suv.nii.gz`) with its labels (`*_lesions.nii.gz`), by name.

    Raises:
        TrainingDataError: There is none, or an image and its labels differ in their grid.
        InputError: A file cannot be read.
    """
    cases = tuple(
        make_case(name, volume.data, labels, volume.geometry)
        for name, volume, labels in labelled(folder, IMAGE, LABELS)
    )
    if not cases:
        raise TrainingDataError(
            "The training folder holds no PET with labels, so nothing can be learnt.",
            "Give a folder with *_pet_suv.nii.gz and *_lesions.nii.gz in `train` and `val`.",
        )
    return cases


def labelled(
    folder: Path, image: str, labels: str, of: str = "lesions"
) -> Iterator[tuple[str, Volume, NDArray[np.uint16]]]:
    """Every image of a folder with its labels, by name.

    Args:
        folder: Where both lie.
        image: How the name of an image ends.
        labels: How the name of its labels ends, whose beginning is the same.
        of: What they label, for the reader of an error.

    Yields:
        The name without its end, the image, and (I, J, K) labels on its grid.

    Raises:
        TrainingDataError: The two differ in their grid.
        InputError: A file cannot be read.
    """
    for number, path in enumerate(sorted(folder.glob(f"*{image}")), start=1):
        name = path.name.removesuffix(image)
        volume = nifti.read(path)
        found, geometry = nifti.read_labels(folder / f"{name}{labels}")
        if not geometry.matches(volume.geometry):
            raise TrainingDataError(
                f"Case {number} and its labels lie on different grids, so its {of} would be learnt "
                "in the wrong place.",
                "Export both on the grid of the image.",
            )
        yield name, volume, found


def transfer(labels_from: Case, image: NDArray[np.float32], geometry: Geometry) -> Case:
    """A larger image of the patient of a case, with the case's lesions.

    The case's grid must be a part of the larger one, as a crop of it: voxel centres coincide.

    Raises:
        TrainingDataError: They do not coincide, or the intensities differ, so that the two are
            not the same image.
    """
    corner = geometry.to_index(labels_from.geometry.corners_mm)
    first = np.round(corner.min(axis=0)).astype(int)
    last = np.round(corner.max(axis=0)).astype(int)
    labels = np.zeros(geometry.shape, np.uint16)
    places = np.argwhere(labels_from.labels > 0)
    there = geometry.to_index(labels_from.geometry.to_world(places))
    index = np.round(there).astype(int)
    inside = (first >= 0).all() and (last < geometry.shape).all()
    if not inside or np.abs(there - index).max() > 0.05:
        raise TrainingDataError(
            "The whole body and the case do not share a grid, so its lesion cannot be placed.",
            "Name the case that was cropped from this whole body.",
        )
    taken, given = image[tuple(index.T)], labels_from.image[tuple(places.T)]
    if np.abs(taken - given).mean() > 0.02 * given.mean():
        raise TrainingDataError(
            "The whole body and the case differ in their intensities, so one is not a part of the "
            "other.",
            "Name the case that was cropped from this whole body.",
        )
    labels[tuple(index.T)] = labels_from.labels[tuple(places.T)]
    return make_case(labels_from.name, image, labels, geometry)


def check_split(train: Sequence[Case], val: Sequence[Case]) -> None:
    """See that no patient is in both.

    Raises:
        TrainingDataError: One is.
    """
    if {case.name for case in train} & {case.name for case in val}:
        raise TrainingDataError(
            "A patient is in both `train` and `val`, so the scores would be too good.",
            "Split the cases by patient.",
        )


def fold(
    cases: Sequence[Case], number: int, folds: int
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The cases to learn from and those to score: every so-many-th in the order of their names."""
    ordered = sorted(cases, key=lambda case: case.name)
    scored = tuple(ordered[number::folds])
    return tuple(case for case in ordered if case not in scored), scored


def content(case: Case) -> Iterator[bytes]:
    """All that a case holds, for a digest; its name aside."""
    yield np.ascontiguousarray(case.image).tobytes()
    yield np.ascontiguousarray(case.labels).tobytes()
    yield case.geometry.affine.tobytes()
    if case.organs is not None:
        yield np.ascontiguousarray(case.organs).tobytes()
