"""Cold cores given back to the lesions around them."""

from dataclasses import replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medseg.config import SegmentSettings
from medseg.core.prediction import VoxelPrediction


def fill_cores(prediction: VoxelPrediction, settings: SegmentSettings) -> VoxelPrediction:
    """Make what a lesion encloses a part of it, where the model saw a rim alone.

    A necrotic core takes up nothing, and experts outline it with the tumour. Each component of a
    structure's foreground is filled by itself, so lesions that stand around something are not made
    one. A filled voxel gets a probability half-way from the threshold to 1.

    Returns:
        The prediction with raised probabilities; heatmap and offsets are those given.
    """
    threshold = settings.foreground_threshold
    raised = prediction.probabilities.copy()
    for probability in raised:
        found = cc3d.connected_components(probability >= threshold, connectivity=26)
        for number, box in enumerate(find_objects(found), start=1):
            core = sides_enclosed(found[box] == number) >= settings.core_sides
            core &= probability[box] < threshold
            probability[box][core] = (1 + threshold) / 2
    return replace(prediction, probabilities=raised)


def sides_enclosed(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """From how many of the six sides of the grid a voxel cannot be seen past the mask, 0 to 6.

    Args:
        mask: Boolean (I, J, K), one component in its bounding box.

    Returns:
        (I, J, K); a voxel of the mask hides itself, so it has 6.
    """
    sides = np.zeros(mask.shape, np.uint8)
    for axis in range(3):
        sides += np.logical_or.accumulate(mask, axis=axis)
        sides += np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
    return sides
