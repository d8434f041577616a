"""The user's labelled cases."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np

from medseg import config
from medseg.config import ModelCard, SegmentSettings
from medseg.core.instances import Instance, InstanceMap, tracking_uid
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import GeometryMismatchError, InputError
from medseg.formats import nifti

LESIONS = "_lesions.nii.gz"


class BenchDataError(InputError):
    """The cases are not what a model needs."""


@dataclass(frozen=True)
class CaseFiles:
    """Files of one case.

    Attributes:
        name: What its files begin with.
        labels: The expert's lesions; a map with one value is a mask, whose 26-connected components
            are lesions.
        images: Its other images, by what follows the name: `pet_suv` of `A_pet_suv.nii.gz`.
    """

    name: str
    labels: Path
    images: Mapping[str, Path]


def find_cases(folder: Path) -> tuple[CaseFiles, ...]:
    """Every `NAME_lesions.nii.gz` of a folder with the other `NAME_*.nii.gz`, by name.

    Raises:
        BenchDataError: There is none, or one without an image.
    """
    found = []
    for labels in sorted(folder.glob(f"*{LESIONS}")):
        name = labels.name.removesuffix(LESIONS)
        images = {
            path.name.removeprefix(f"{name}_").removesuffix(".nii.gz"): path
            for path in sorted(folder.glob(f"{name}_*.nii.gz"))
            if path != labels and not path.name.endswith(LESIONS)
        }
        found.append(CaseFiles(name, labels, images))
    if not found or not all(case.images for case in found):
        raise BenchDataError(
            "The folder holds no labelled cases, or one without an image, so nothing was compared.",
            "Give a folder with NAME_ROLE.nii.gz (NAME_pet.nii.gz) and NAME_lesions.nii.gz for "
            "each case.",
        )
    return tuple(found)


def read_volumes(case: CaseFiles, card: ModelCard) -> dict[str, Volume]:
    """The images of a case for the roles of a model, in the units that the model needs.

    The image of a role is the one whose name begins with the role; for a model of one role it may
    be the only one there is.

    Raises:
        BenchDataError: A role has no image, or more than one.
        InputError: A file cannot be read.
    """
    units = units_of(card)
    volumes = {}
    for role in card.input.roles:
        fitting = [path for name, path in case.images.items() if name.startswith(role)]
        if not fitting and len(card.input.roles) == len(case.images) == 1:
            fitting = list(case.images.values())
        if len(fitting) != 1:
            raise BenchDataError(
                f"{len(fitting)} images of a case fit the role '{role}' of the model {card.name}, "
                "so nothing was compared.",
                f"Name each case's image NAME_{role}.nii.gz.",
            )
        read = nifti.read(fitting[0])
        volumes[role] = Volume(read.data, read.geometry, units[role])
    return volumes


def read_reference(case: CaseFiles, volume: Volume) -> InstanceMap:
    """The expert's lesions on the grid of the main image.

    Raises:
        GeometryMismatchError: They lie on another one.
        InputError: The file cannot be read.
    """
    labels, geometry = nifti.read_labels(case.labels)
    if not geometry.matches(volume.geometry):
        raise GeometryMismatchError(
            "The lesions of a case lie on another grid than its image, so nothing was compared.",
            "Export both on the grid of the image.",
        )
    if len(np.unique(labels[labels > 0])) == 1:
        labels = cc3d.connected_components(labels > 0, connectivity=26).astype(np.uint16)
    return as_instances(labels, volume)


def as_instances(
    labels: np.ndarray[tuple[int, ...], np.dtype[np.uint16]],
    volume: Volume,
    confidence: Mapping[int, float] | None = None,
) -> InstanceMap:
    """Labels on the grid of a volume as lesions."""
    rows = tuple(
        Instance(
            int(n),
            "lesion",
            "lesion",
            tracking_uid("bench", "lesion", int(n)),
            confidence=None if confidence is None else confidence[int(n)],
        )
        for n in np.unique(labels[labels > 0])
    )
    return InstanceMap(labels, volume.geometry, rows)


def units_of(card: ModelCard) -> dict[str, IntensityUnit]:
    """The unit of each role: that of an embedded protocol for the model, else HU for CT alone."""
    for name in config.embedded("protocols"):
        protocol = config.load_protocol(name)
        if protocol.segment.model == card.name:
            return {role: protocol.roles[role].unit for role in card.input.roles}
    by_name = {"ct": IntensityUnit.HU}
    return {role: by_name.get(role, IntensityUnit.ARBITRARY) for role in card.input.roles}


def segment_settings(card: ModelCard) -> SegmentSettings:
    """How instances are separated: as an embedded protocol for the model says, else the usual."""
    for name in config.embedded("protocols"):
        protocol = config.load_protocol(name)
        if protocol.segment.model == card.name:
            return protocol.segment
    return SegmentSettings(model=card.name)
