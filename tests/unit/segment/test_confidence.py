"""What the confidence of an instance rests on, against the slow way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from medseg.config import Calibration
from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.core.prediction import Proposal
from medseg.segment.confidence import confidences, describe
from medseg.segment.proposals import adopt
from medseg.segment.separate import Separated
from tests.strategies import instance_maps
from tests.unit.segment.bodies import SETTINGS


def calibration(weights: tuple[float, float, float, float], offset: float) -> Calibration:
    return Calibration(
        rule="labels-any-overlap",
        cases="none",
        patients=5,
        weights=weights,
        offset=offset,
        reliability=(),
        expected_calibration_error=0.1,
        expected_calibration_error_interval=(0.0, 0.2),
    )


@given(instance_maps(), st.integers(0, 2**32 - 1), st.booleans())
def test_each_instance_is_described_by_its_own_voxels(
    lesions: InstanceMap, seed: int, has_heatmap: bool
) -> None:
    rng = np.random.default_rng(seed)
    numbers = np.zeros(int(lesions.labels.max()) + 1, np.int32)
    for n, row in enumerate(lesions.instances, start=1):
        numbers[row.label] = n
    labels = numbers[lesions.labels]
    foreground = np.where(labels > 0, rng.uniform(0.5, 1, labels.shape), 0).astype(np.float32)
    heatmap = rng.random(labels.shape).astype(np.float32) if has_heatmap else None
    structures = ("lesion",) * len(lesions.instances)
    separated = Separated(labels, structures, foreground, 0.5, lesions.geometry)
    found = describe(separated, heatmap)
    for n in range(1, len(structures) + 1):
        inside = labels == n
        sure = logit(np.clip(foreground[inside].astype(float), 1e-4, 1 - 1e-4))
        volume_mm3 = inside.sum() * abs(np.linalg.det(lesions.geometry.affine[:3, :3]))
        centre = heatmap[inside].max() if heatmap is not None else 0
        expected = (sure.max(), sure.mean(), np.log10(volume_mm3), centre)
        assert found[n - 1] == pytest.approx(expected, rel=1e-5)


def test_what_was_proposed_is_described_by_its_score_and_its_voxels() -> None:
    geometry = Geometry((9, 8, 7), np.diag([1.5, 2.0, 2.5, 1.0]))
    masks = [np.ones((2, 3, 2), bool), np.ones((4, 2, 3), bool)]
    proposals = [
        Proposal(0.6, "lesion", (slice(1, 3), slice(1, 4), slice(1, 3)), masks[0], geometry),
        Proposal(0.9, "lesion", (slice(4, 8), slice(5, 7), slice(2, 5)), masks[1], geometry),
    ]
    found = describe(adopt(proposals, geometry, SETTINGS), None)
    for row, (score, voxels) in zip(found, ((0.9, 24), (0.6, 12)), strict=True):
        expected = (logit(score), logit(score), np.log10(voxels * 7.5), score)
        assert row == pytest.approx(expected)


def test_confidence_is_the_logistic_of_the_weighted_features() -> None:
    features = np.array([[2.0, 1.0, 3.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    found = confidences(features, calibration((1.0, -2.0, 0.5, 4.0), -1.5))
    assert found == pytest.approx([1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(1.5))])
