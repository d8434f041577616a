"""What cannot be a lesion left out, and cold cores given back to the lesions around them."""

from dataclasses import replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medseg.config import SegmentSettings
from medseg.core.prediction import VoxelPrediction
from medseg.core.study import QualityFlag


def clean(
    prediction: VoxelPrediction, settings: SegmentSettings, cold: NDArray[np.bool_] | None
) -> tuple[VoxelPrediction, tuple[QualityFlag, ...]]:
    """What goes on to be separated: `drop_doubtful`, then `fill_cores` of what is left.

    Returns:
        The prediction, and a flag that says how much was left out, where anything was.
    """
    left, flags = drop_doubtful(prediction, settings, cold)
    return fill_cores(left, settings), flags


def cold_on(image: NDArray[np.float32], settings: SegmentSettings) -> NDArray[np.bool_] | None:
    """(I, J, K) where an image is below `cold_below`; None where the protocol does not ask."""
    return None if settings.cold_below is None else image < settings.cold_below


def drop_doubtful(
    prediction: VoxelPrediction, settings: SegmentSettings, cold: NDArray[np.bool_] | None
) -> tuple[VoxelPrediction, tuple[QualityFlag, ...]]:
    """Leave out components that the model is not sure of, or that are cold (docs/decisions/0022).

    A component (26-connectivity) of a structure's foreground goes if its highest probability stays
    below `min_peak`, if less than `min_certain_share` of its voxels reach `certain_from`, or if
    more than half of them are cold. That is asked before cores are filled: of those the model says
    nothing, and they may be as cold as air.

    Args:
        prediction: Of lesions.
        settings: The protocol's section on segmentation.
        cold: (I, J, K) on the prediction's grid, as of `cold_on`.

    Returns:
        The prediction with probability 0 there, heatmap and offsets as given; and the flag
        `places-left-out` where anything was.
    """
    left = prediction.probabilities.copy()
    unsure = chilled = voxels = 0
    for probability in left:
        found, count = cc3d.connected_components(
            probability >= settings.foreground_threshold, connectivity=26, return_N=True
        )
        where = np.flatnonzero(found)
        numbers, likely = found.ravel()[where], probability.ravel()[where]
        sizes = np.bincount(numbers, minlength=count + 1)
        peak = np.zeros(count + 1, np.float32)
        np.maximum.at(peak, numbers, likely)
        certain = np.bincount(numbers[likely >= settings.certain_from], minlength=count + 1)
        doubted = (peak < settings.min_peak) | (certain < settings.min_certain_share * sizes)
        frozen = np.zeros(count + 1, bool)
        if cold is not None:
            frozen = 2 * np.bincount(numbers[cold.ravel()[where]], minlength=count + 1) > sizes
        doubted[0] = frozen[0] = False
        dropped = doubted | frozen
        probability[dropped[found]] = 0
        unsure += int(np.count_nonzero(doubted & ~frozen))
        chilled += int(np.count_nonzero(frozen))
        voxels += int(sizes[dropped].sum())
    volume_ml = voxels * prediction.geometry.voxel_volume_mm3 / 1000
    return replace(prediction, probabilities=left), _flags(unsure, chilled, volume_ml)


def _flags(unsure: int, chilled: int, volume_ml: float) -> tuple[QualityFlag, ...]:
    if unsure + chilled == 0:
        return ()
    reasons = []
    if unsure:
        reasons.append(f"the model is not sure enough of {unsure}")
    if chilled:
        reasons.append(f"there is hardly any signal in {chilled}")
    message = (
        f"Not counted, though the model took them for lesions, are {unsure + chilled} places of "
        f"{volume_ml:.1f} mL together: {', '.join(reasons)}."
    )
    return (QualityFlag("places-left-out", message),)


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
