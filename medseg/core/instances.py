"""Labelled instances on a voxel grid."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.study import QualityFlag

Kind = Literal["lesion", "organ"]

MAX_INSTANCES = 65_535
"""What uint16 labels can tell apart."""


@dataclass(frozen=True)
class Instance:
    """One lesion or one organ.

    Attributes:
        label: Its value in the label array, from 1.
        kind: Lesion or organ.
        structure: What it is, a name of `configs/structures.yaml`, such as `lesion`.
        tracking_uid: DICOM UID that stays with it in every export.
        organ: The organ it lies in, or None where that is not known.
        confidence: Calibrated probability that it is what it is called, or None where the model
            is not calibrated.
    """

    label: int
    kind: Kind
    structure: str
    tracking_uid: str
    organ: str | None = None
    confidence: float | None = None


def tracking_uid(identity: str, kind: Kind, label: int) -> str:
    """A UID that the same instance gets again when the same study is delineated the same way.

    Args:
        identity: Digest of what determines the labels: input, weights, settings.
        kind: Lesion or organ.
        label: The instance's label.

    Returns:
        `2.25.` and a 128-bit number, by DICOM PS3.5 B.2.
    """
    digest = hashlib.sha256(f"{identity}/{kind}/{label}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


@dataclass(frozen=True, eq=False)
class InstanceMap:
    """Instances that do not overlap, on one grid.

    Attributes:
        labels: (I, J, K) uint16, read-only; 0 is background.
        geometry: Where that grid lies in the patient.
        instances: One row for each label that occurs, ascending.

    Raises:
        ValueError: The labels are not uint16 on the grid, or rows and labels differ.
    """

    labels: NDArray[np.uint16]
    geometry: Geometry
    instances: tuple[Instance, ...]

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape or self.labels.dtype != np.uint16:
            raise ValueError(
                f"{self.labels.dtype} {self.labels.shape} on a grid of {self.geometry.shape}"
            )
        found = np.flatnonzero(np.bincount(self.labels.ravel(), minlength=1)[1:]) + 1
        rows = [instance.label for instance in self.instances]
        if found.tolist() != rows:
            raise ValueError(f"the array holds labels {found.tolist()}, the rows {rows}")
        labels = self.labels.view()
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)


@dataclass(frozen=True, eq=False)
class Delineation:
    """All instances of a study: two maps on one grid, because a lesion lies inside an organ.

    Attributes:
        organs: Instances of kind organ.
        lesions: Instances of kind lesion.
        flags: Doubts about how they were separated.

    Raises:
        ValueError: The two grids differ, or an instance is in the wrong map.
    """

    organs: InstanceMap
    lesions: InstanceMap
    flags: tuple[QualityFlag, ...] = ()

    def __post_init__(self) -> None:
        if not self.organs.geometry.matches(self.lesions.geometry):
            raise ValueError("organs and lesions lie on different grids")
        if any(instance.kind != "organ" for instance in self.organs.instances):
            raise ValueError("a lesion among the organs")
        if any(instance.kind != "lesion" for instance in self.lesions.instances):
            raise ValueError("an organ among the lesions")
