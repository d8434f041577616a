"""What cannot be a lesion left out, and cold cores given back to the lesions around them."""

from dataclasses import replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medseg.config import SegmentSettings
from medseg.core.prediction import VoxelPrediction
from medseg.core.study import QualityFlag
from medseg.segment.separate import most_likely


def clean(
    prediction: VoxelPrediction, settings: SegmentSettings, cold: NDArray[np.bool_] | None
) -> tuple[VoxelPrediction, tuple[QualityFlag, ...]]:
    """What goes on to be separated: `drop_doubtful`, then `fill_cores` of what is left.

    Returns:
        The prediction; and the flag `places-left-out` where any foreground is gone. What was left
        out within a lesion's core, and came back with it, is not.
    """
    cleaned = fill_cores(drop_doubtful(prediction, settings, cold), settings)
    before, after = (
        one.probabilities.max(axis=0) >= settings.foreground_threshold
        for one in (prediction, cleaned)
    )
    gone = before & ~after
    _, places = cc3d.connected_components(gone, connectivity=26, return_N=True)
    volume_ml = int(np.count_nonzero(gone)) * prediction.geometry.voxel_volume_mm3 / 1000
    return cleaned, (_left_out(places, volume_ml),) if places else ()


def cold_on(image: NDArray[np.float32], settings: SegmentSettings) -> NDArray[np.bool_] | None:
    """(I, J, K) where an image is below `cold_below`; None where the protocol does not ask."""
    return None if settings.cold_below is None else image < settings.cold_below


def drop_doubtful(
    prediction: VoxelPrediction, settings: SegmentSettings, cold: NDArray[np.bool_] | None
) -> VoxelPrediction:
    """Leave out components that the model is not sure of, or that are cold (docs/decisions/0022).

    A component (26-connectivity) of what is most likely one structure goes if its highest
    probability stays below `min_peak`, if less than `min_certain_share` of its voxels reach
    `certain_from`, or if more than half of those that do are cold: the margin of an outline may lie
    in air. It is asked before cores are filled: of those the model says nothing, and they may be as
    cold as air.

    Args:
        prediction: Of lesions.
        settings: The protocol's section on segmentation.
        cold: (I, J, K) on the prediction's grid, as of `cold_on`.

    Returns:
        The prediction with probability 0 there; heatmap and offsets are those given.
    """
    best, which = most_likely(prediction, settings.foreground_threshold)
    found, count = cc3d.connected_components(which, connectivity=26, return_N=True)
    where = np.flatnonzero(found)
    numbers, likely = found.ravel()[where], best.ravel()[where]
    sizes = np.bincount(numbers, minlength=count + 1)
    peak = np.zeros(count + 1, np.float32)
    np.maximum.at(peak, numbers, likely)
    sure = likely >= settings.certain_from
    certain = np.bincount(numbers[sure], minlength=count + 1)
    dropped = (peak < settings.min_peak) | (certain < settings.min_certain_share * sizes)
    if cold is not None:
        frozen = np.bincount(numbers[sure & cold.ravel()[where]], minlength=count + 1)
        dropped |= 2 * frozen > certain
    dropped[0] = False
    if not dropped.any():
        return prediction
    left = prediction.probabilities.copy()
    left[:, dropped[found]] = 0
    return replace(prediction, probabilities=left)


def _left_out(places: int, volume_ml: float) -> QualityFlag:
    volume = f"{volume_ml:.1f} mL" if volume_ml >= 0.05 else "less than 0.1 mL"
    if places == 1:
        message = f"1 possible lesion ({volume}) is left out and not measured: the model was too "
        message += "unsure of it, or it lies mostly where there is no signal."
    else:
        message = f"{places} possible lesions ({volume} together) are left out and not measured: "
        message += "the model was too unsure of them, or they lie mostly where there is no signal."
    return QualityFlag("places-left-out", f"{message} Look for lesions that were missed.")


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
