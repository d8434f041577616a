"""How well a model does on cases with known lesions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.config import SegmentSettings
from medseg.core.prediction import VoxelModel
from medseg.core.volume import IntensityUnit, Volume
from medseg.segment.delineate import delineate
from medseg.training.datasets import Case


def mean_dice(model: VoxelModel, cases: Sequence[Case], settings: SegmentSettings) -> float:
    """Mean over the cases of the foreground's Dice on the acquired grid."""
    return float(
        np.mean([dice(labels_of(model, case, settings) > 0, case.labels > 0) for case in cases])
    )


def dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """2 |P and R| / (|P| + |R|); 1 where both are empty."""
    both = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / both if both else 1.0


def labels_of(model: VoxelModel, case: Case, settings: SegmentSettings) -> NDArray[np.uint16]:
    """The lesions of a case on its acquired grid, as a study would get them."""
    volume = Volume(case.image, case.geometry, IntensityUnit.SUV)
    volumes = dict.fromkeys(model.roles, volume)
    return delineate(volumes, model, settings, identity="score").lesions.labels
