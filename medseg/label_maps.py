"""Measure label maps on disk, ours or a peer's."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, tracking_uid
from medseg.core.measurements import Measurement
from medseg.errors import GeometryMismatchError
from medseg.formats import nifti
from medseg.measure.measure import measure


def measure_labels(labels: Path, image: Path) -> tuple[Measurement, ...]:
    """Measure every instance of a label map on an image of the same grid.

    Raises:
        InputError: A file cannot be read, or the two grids differ.
    """
    instances = read_instances(labels)
    volume = nifti.read(image)
    if not instances.geometry.matches(volume.geometry):
        raise GeometryMismatchError(
            "The labels and the image lie on different grids, so nothing was measured.",
            "Give the image that the labels were drawn on, or resample the labels to its grid.",
        )
    return measure(instances, volume, MeasureSettings())


def read_instances(path: Path) -> InstanceMap:
    """Read a label map whose every value but 0 is one lesion.

    Raises:
        InputError: The file cannot be read, or holds no labels.
    """
    labels, geometry = nifti.read_labels(path)
    return as_lesions(labels, geometry)


def as_lesions(labels: NDArray[np.uint16], geometry: Geometry) -> InstanceMap:
    """Labels as a map of lesions, one for each value but 0."""
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1
    content = hashlib.sha256(np.ascontiguousarray(labels).tobytes() + geometry.affine.tobytes())
    identity = content.hexdigest()
    rows = tuple(
        Instance(int(n), "lesion", "lesion", tracking_uid(identity, "lesion", int(n)))
        for n in found
    )
    return InstanceMap(labels, geometry, rows)
