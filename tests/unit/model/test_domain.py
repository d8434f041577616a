import numpy as np
import pytest

from medseg.config import InputSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.model.domain import doubts

SHAPE, SPACING = (44, 50, 38), (5.0, 4.0, 6.0)


def settings(*, brain_only: bool) -> InputSettings:
    return InputSettings(
        roles=("flair",), spacing_mm=SPACING, clip=((0, 2),), tile=(8, 8, 8), brain_only=brain_only
    )


def study(radius_mm: float, air: float = 0) -> ModelInput:
    """A ball of tissue of intensity 300 in air."""
    index = np.stack(np.indices(SHAPE), axis=-1) - (np.array(SHAPE) - 1) / 2
    inside = np.linalg.norm(index * SPACING, axis=-1) <= radius_mm
    data = np.where(inside, 300, air).astype(np.float32)[None]
    return ModelInput(data, Geometry(SHAPE, np.diag((*SPACING, 1))))


@pytest.mark.parametrize(("radius_mm", "volume_ml"), [(68, 1317), (50, 524), (95, 3591)])
def test_what_does_not_fill_as_much_as_a_brain_is_told(radius_mm, volume_ml):
    flags = doubts(study(radius_mm), settings(brain_only=True))
    assert [flag.code for flag in flags] == (
        [] if 700 < volume_ml < 2000 else ["not-a-brain-alone"]
    )
    for flag in flags:
        said = float(flag.message.split(";")[1].split()[0])
        assert said == pytest.approx(volume_ml, rel=0.02)


def test_air_that_is_not_empty_is_told():
    assert doubts(study(68, air=1), settings(brain_only=True))


def test_a_model_of_something_else_has_no_such_doubt():
    assert doubts(study(20), settings(brain_only=False)) == ()
