import dataclasses

import numpy as np
import pytest

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput, VoxelPrediction
from medseg.training.datasets import make_case
from medseg.training.scores import (
    count_same,
    score_cases,
    score_outside,
    score_pairs,
    touching_pair,
)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Calls lesion what is hot; without a heatmap."""

    suv: float
    roles: tuple[str, ...] = ("pet",)
    spacing_mm: tuple[float, float, float] = (4.0, 3.5, 3.0)

    def predict(self, study: ModelInput, progress=None) -> VoxelPrediction:  # noqa: ARG002
        hot = (study.data > self.suv).astype(np.float32)
        return VoxelPrediction(hot, ("lesion",), study.geometry)


SEGMENT = SegmentSettings(model="none")


@pytest.fixture
def two(oblique, case):
    """A ball that is a lesion, and a hot organ that is none."""
    image = case.image.copy()
    image[2:6, 3:7, 30:36] = 9
    return make_case("two", image, case.labels, oblique)


def test_a_right_prediction_has_a_high_dice_and_no_false_positive(case):
    scores = score_cases(Threshold(3), [case], SEGMENT)
    assert scores["mean_dice"] > 0.93
    assert (scores["lesions"], scores["lesions_found"]) == (1, 1)
    assert scores["lesions_delineated_as_one"] == 1
    assert scores["false_positives"] == 0


def test_a_prediction_of_nothing_finds_nothing(case):
    scores = score_cases(Threshold(100), [case], SEGMENT)
    assert scores["mean_dice"] == scores["lesions_found"] == scores["false_positives"] == 0


def test_an_organ_called_lesion_is_a_false_positive_with_its_volume(two, oblique):
    assert score_cases(Threshold(3), [two], SEGMENT)["false_positives"] == 1
    outside = score_outside(Threshold(3), two, SEGMENT)
    assert outside["false_positives"] == 1
    expected_ml = 4 * 4 * 6 * oblique.voxel_volume_mm3 / 1000
    assert outside["false_positive_volume_ml"] == pytest.approx(expected_ml, rel=0.25)
    assert outside["volume_outside_ml"] >= outside["false_positive_volume_ml"]


def test_same_means_most_of_both():
    reference = np.zeros((4, 5, 6), np.uint16)
    reference[:2, :, :3], reference[2:, :, 3:] = 1, 2
    assert count_same(reference, reference) == 2
    assert count_same((reference > 0).astype(np.uint16), reference) == 2  # each is half: 2/3
    assert count_same(np.ones_like(reference), reference) == 0
    assert count_same(np.zeros_like(reference), reference) == 0


def test_a_pair_touches_and_each_has_a_label(case, settings):
    scene = touching_pair([case], settings, np.random.default_rng(3))
    assert set(np.unique(scene.labels)) == {0, 1, 2}
    assert len(scene.placed) == 2


def test_pairs_are_counted_for_peaks_and_for_components(case, settings):
    model = Threshold(2.5, spacing_mm=settings.input.spacing_mm)
    scores = score_pairs(model, [case], settings, SEGMENT, count=4)
    assert scores["pairs"] == 4
    assert 0 < scores["split_by_peaks"] <= 4
    assert scores["split_by_connected_components"] < scores["split_by_peaks"]


def test_the_grid_of_the_fixture_is_no_cube(oblique):
    assert isinstance(oblique, Geometry)
    assert len(set(oblique.shape)) == 3
