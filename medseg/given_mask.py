"""A mask that a user gives in place of a model, on the grid of the study."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.config import MaskSettings
from medseg.core.geometry import Geometry
from medseg.core.study import QualityFlag
from medseg.errors import InputError, NotAnImageError
from medseg.formats import dicom_masks, nifti
from medseg.segment.mask import onto


class EmptyMaskError(InputError):
    """The mask holds none of the labels that the user named."""


@dataclass(frozen=True, eq=False)
class GivenMask:
    """What was given, on the acquired grid.

    Attributes:
        labels: (I, J, K) uint16; 0 is background.
        kind: `nifti`, `dicom-seg` or `rtstruct`.
        sha256: Of the file.
        flags: Doubts about how it was read.
    """

    labels: NDArray[np.uint16]
    kind: str
    sha256: str
    flags: tuple[QualityFlag, ...]


def read_given(mask: MaskSettings, acquired: Geometry) -> GivenMask:
    """Read a mask of whatever kind; its content tells which.

    Raises:
        EmptyMaskError: Labels were named, and it holds none of them.
        InputError: It cannot be read, or lies elsewhere than the study.
    """
    is_dicom = dicom_masks.is_dicom_mask(mask.path)
    found = _dicom(mask, acquired) if is_dicom else _nifti(mask, acquired)
    if mask.labels and not found.labels.any():
        raise EmptyMaskError(
            "The mask holds none of the labels that were named, so nothing was measured.",
            "Name values that it holds with --mask-label, or leave the option out to take all.",
        )
    return found


def _dicom(mask: MaskSettings, acquired: Geometry) -> GivenMask:
    drawn = dicom_masks.read_mask(mask.path, acquired, mask.labels)
    flags: tuple[QualityFlag, ...] = ()
    if drawn.contested_voxels:
        message = (
            f"Several segments of the mask claim the same {drawn.contested_voxels} voxels; each is "
            "given to the first of them, so the others are smaller than drawn."
        )
        flags = (QualityFlag("mask-overlaps", message),)
    return GivenMask(drawn.labels, drawn.kind, drawn.sha256, flags)


def _nifti(mask: MaskSettings, acquired: Geometry) -> GivenMask:
    if mask.path.is_file() and not nifti.is_nifti(mask.path):
        raise NotAnImageError(
            "The mask is neither NIfTI nor a DICOM segmentation or structure set, so nothing was "
            "measured.",
            "Export it as one of these.",
        )
    given, geometry = nifti.read_labels(mask.path)
    if mask.labels:
        given = np.where(np.isin(given, mask.labels), given, 0).astype(np.uint16)
    labels, doubt = onto(given, geometry, acquired)
    sha256 = hashlib.sha256(mask.path.read_bytes()).hexdigest()
    return GivenMask(labels, "nifti", sha256, () if doubt is None else (doubt,))
