import numpy as np
import pytest

from medseg.core.instances import InstanceMap
from medseg.core.volume import IntensityUnit, Volume
from medseg.report.scene import scene
from tests.unit.report.report_cases import OBLIQUE


def window(data):
    volume = Volume(data.astype(np.float32), OBLIQUE, IntensityUnit.ARBITRARY)
    none = InstanceMap(np.zeros(OBLIQUE.shape, np.uint16), OBLIQUE, ())
    scale = scene(volume, none, (), None).scale
    return scale.low, scale.high


def test_an_image_in_no_unit_sets_its_own_window():
    rng = np.random.default_rng(2)
    brain = np.where(rng.random(OBLIQUE.shape) < 0.3, rng.uniform(0, 500, OBLIQUE.shape), 0)
    assert window(brain) == pytest.approx((0, 499), abs=1)
    assert window(brain * 8) == pytest.approx((0, 8 * 499), abs=8)


def test_an_empty_image_has_a_window_too():
    assert window(np.zeros(OBLIQUE.shape)) == (0, 1)
