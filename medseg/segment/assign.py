"""The organ that each lesion lies in."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects

from medseg.core.instances import InstanceMap
from medseg.segment.peaks import CUBE

MOSTLY = 0.5
"""Share of a lesion, or of what surrounds it, from which it lies in an organ."""


def assign(lesions: InstanceMap, organs: InstanceMap) -> InstanceMap:
    """The same lesions, each with the structure of the organ that it lies in.

    A lesion lies in the organ that covers at least half of its voxels. One that no organ covers may
    have been left out of it by the model: then it lies in the organ that covers at least half of
    the voxels around it. Otherwise its organ is not known, and stays None.
    """
    if not organs.instances:
        return lesions
    names = {organ.label: organ.structure for organ in organs.instances}
    boxes = find_objects(lesions.labels)
    rows = []
    for lesion in lesions.instances:
        i, j, k = (slice(max(0, s.start - 1), s.stop + 1) for s in boxes[lesion.label - 1])
        mask = lesions.labels[i, j, k] == lesion.label
        there = organs.labels[i, j, k]
        label = _covering(there[mask]) or _covering(there[binary_dilation(mask, CUBE) & ~mask])
        rows.append(replace(lesion, organ=names.get(label)))
    return InstanceMap(lesions.labels, lesions.geometry, tuple(rows))


def _covering(labels: NDArray[np.uint16]) -> int:
    """The label of at least half of the voxels; 0 where there is none."""
    counts = np.bincount(labels, minlength=1)
    most = int(counts[1:].argmax()) + 1 if len(counts) > 1 else 0
    return most if most and counts[most] >= MOSTLY * len(labels) else 0
