"""From what a dense model says of its lesions to each of them."""

import numpy as np
from numpy.typing import NDArray

from medseg.config import SegmentSettings
from medseg.core.prediction import VoxelPrediction
from medseg.core.study import QualityFlag
from medseg.segment.clean import clean
from medseg.segment.separate import Separated, separate
from medseg.segment.smooth import smooth


def find_lesions(
    prediction: VoxelPrediction, settings: SegmentSettings, cold: NDArray[np.bool_] | None
) -> tuple[Separated, tuple[QualityFlag, ...]]:
    """Clean what is said of lesions, separate it, and smooth the outline of each.

    Args:
        prediction: Of lesions alone.
        settings: The protocol's section on segmentation.
        cold: (I, J, K) on the prediction's grid, as of `clean.cold_on`.

    Returns:
        The lesions on the model's grid, and what was left out.
    """
    cleaned, flags = clean(prediction, settings, cold)
    return smooth(separate(cleaned, settings), settings.smooth_mm), flags
