"""Whether a study looks like those that a model was trained on."""

import numpy as np

from medseg.config import InputSettings
from medseg.core.prediction import ModelInput
from medseg.core.study import QualityFlag

BRAIN_ML = (700.0, 2000.0)
"""Volume of the brain alone, with its liquor: 0.9 to 1.9 L in adults, and some room. A head has
more than 3 L, and where the skull was not removed air has noise above 0."""


def doubts(study: ModelInput, settings: InputSettings) -> tuple[QualityFlag, ...]:
    """What speaks against a model's use on a study: for a model of brains, that it is none.

    Args:
        study: On the model's grid, in the unit of its roles.
        settings: `brain_only` says whether a brain is expected.
    """
    if not settings.brain_only:
        return ()
    volume_ml = float(np.count_nonzero(study.data[0] > 0)) * study.geometry.voxel_volume_mm3 / 1000
    if BRAIN_ML[0] <= volume_ml <= BRAIN_ML[1]:
        return ()
    message = (
        "The model was trained on brains whose skull was removed, which fill "
        f"{BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f} mL; {volume_ml:.0f} mL of this series are not "
        "empty, so that lesions may be missed and other bright tissue be taken for lesions."
    )
    return (QualityFlag("not-a-brain-alone", message),)
