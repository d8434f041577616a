"""What is nowhere solid taken out, and cold cores given back to the lesions around them."""

from dataclasses import replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medseg.config import SegmentSettings
from medseg.core.prediction import VoxelPrediction

ISLAND_SHARE = 0.002
"""Of the patient's volume: a tenth of a litre of an adult, less than a hand. The largest island of
noise beyond the patient on STS_001 is a fifth of that."""


def clean(
    prediction: VoxelPrediction, settings: SegmentSettings, image: NDArray[np.float32]
) -> VoxelPrediction:
    """What goes on to be separated: `drop_doubtful`, then `fill_cores` of what is left."""
    return fill_cores(drop_doubtful(prediction, settings, image), settings)


def drop_doubtful(
    prediction: VoxelPrediction, settings: SegmentSettings, image: NDArray[np.float32]
) -> VoxelPrediction:
    """Leave out components that cannot be instances, by two rules (docs/decisions/0022).

    A component (26-connectivity) of a structure's foreground goes if less than `min_certain_share`
    of its voxels reach `certain_from`, or if more than half of them are no `tissue`. Both are asked
    before cores are filled: of those the model says nothing, and they may be as cold as air.

    Args:
        prediction: Of lesions.
        settings: The protocol's section on segmentation.
        image: (I, J, K) of the model's first role on the prediction's grid, in the protocol's unit.

    Returns:
        The prediction with probability 0 there; heatmap and offsets are those given.
    """
    if settings.min_certain_share == 0 and settings.air_below is None:
        return prediction
    air = np.zeros(image.shape, bool)
    if settings.air_below is not None:
        air = ~tissue(image, settings.air_below)
    left = prediction.probabilities.copy()
    for probability in left:
        found, count = cc3d.connected_components(
            probability >= settings.foreground_threshold, connectivity=26, return_N=True
        )
        sizes = np.bincount(found.ravel(), minlength=count + 1)
        certain = np.bincount(found[probability >= settings.certain_from], minlength=count + 1)
        outside = np.bincount(found[air], minlength=count + 1)
        dropped = (certain < settings.min_certain_share * sizes) | (outside > sizes / 2)
        dropped[0] = False
        probability[dropped[found]] = 0
    return replace(prediction, probabilities=left)


def tissue(image: NDArray[np.float32], air_below: float) -> NDArray[np.bool_]:
    """(I, J, K) where a patient is: what reaches `air_below`, but for islands of noise in the air.

    An island (6-connectivity) is noise if it is smaller than `ISLAND_SHARE` of the largest.
    """
    found, count = cc3d.connected_components(image >= air_below, connectivity=6, return_N=True)
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    sizes[0] = 0
    there: NDArray[np.bool_] = (sizes >= ISLAND_SHARE * sizes.max())[found] & (found > 0)
    return there


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
