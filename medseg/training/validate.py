"""How well a model does on cases with known lesions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.core.volume import IntensityUnit, Volume
from medseg.formats.itk import resample
from medseg.model.predict import TiledModel
from medseg.segment.prepare import prepare
from medseg.training.datasets import Case


def mean_dice(model: TiledModel, cases: Sequence[Case], threshold: float = 0.5) -> float:
    """Mean over the cases of the foreground's Dice on the acquired grid."""
    return float(
        np.mean([dice(foreground(model, case) >= threshold, case.labels > 0) for case in cases])
    )


def dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """2 |P and R| / (|P| + |R|); 1 where both are empty."""
    both = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / both if both else 1.0


def foreground(model: TiledModel, case: Case) -> NDArray[np.float32]:
    """The highest probability of any structure, on the case's acquired grid."""
    volume = Volume(case.image, case.geometry, IntensityUnit.SUV)
    study = prepare(dict.fromkeys(model.roles, volume), model.roles, model.spacing_mm)
    highest = model.predict(study).probabilities.max(axis=0)
    return resample(highest, study.geometry, case.geometry, interpolation="linear", outside=0)
