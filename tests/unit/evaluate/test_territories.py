"""Territory Dice against one distance transform for each lesion, as CC-Metrics computes it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.evaluate.rules import CC_DICE_MM
from medseg.evaluate.territories import territory_dice
from tests.strategies import instance_maps


def naive(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> list[float]:
    """Dice of every territory, the largest lesion's first."""
    sizes = np.bincount(reference.ravel())
    lesions = sorted((n for n in range(1, len(sizes)) if sizes[n]), key=lambda n: (-sizes[n], n))
    away = np.stack([distance_transform_edt(reference != n, sampling=spacing) for n in lesions])
    # The first of those that are equally near but for the last bit.
    nearest = (away <= away.min(axis=0) + 1e-7).argmax(axis=0)
    found = []
    for row, n in enumerate(lesions):
        p, r = prediction & (nearest == row), reference == n
        found.append(2 * (p & r).sum() / (p.sum() + r.sum()))
    return found


@given(instance_maps(), st.integers(0, 2**32 - 1))
def test_each_lesion_is_scored_on_what_is_nearest_to_it(reference: InstanceMap, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction = (rng.random(reference.labels.shape) < 0.1) | (
        (reference.labels > 0) & (rng.random(reference.labels.shape) < 0.6)
    )
    scores = territory_dice(CC_DICE_MM, prediction, reference.labels, reference.geometry)
    expected = naive(prediction, reference.labels, reference.geometry.spacing_mm)
    assert scores.by_lesion == pytest.approx(expected, abs=1e-9)
    assert scores.dice == pytest.approx(np.mean(expected), abs=1e-9)


def test_near_is_meant_in_mm() -> None:
    geometry = Geometry((9, 4, 12), np.diag([1.0, 1.5, 4.0, 1.0]))
    reference = np.zeros(geometry.shape, np.uint16)
    reference[1, 1, 2] = 1
    reference[7, 1, 5] = 2
    prediction = reference > 0
    prediction[1, 1, 4] = True  # 2 voxels and 8 mm from lesion 1; 6.1 voxels and 7.2 mm from 2
    prediction[7, 1, 4] = True
    scores = territory_dice(CC_DICE_MM, prediction, reference, geometry)
    assert scores.by_lesion == pytest.approx((1.0, 0.5))


def test_an_empty_reference_is_agreed_with_by_nothing_alone() -> None:
    geometry = Geometry((3, 4, 5), np.diag([1.0, 1.5, 4.0, 1.0]))
    nothing = np.zeros(geometry.shape, np.uint16)
    assert territory_dice(CC_DICE_MM, nothing > 0, nothing, geometry).dice == 1
    assert territory_dice(CC_DICE_MM, nothing == 0, nothing, geometry).dice == 0
