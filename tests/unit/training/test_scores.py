import dataclasses

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput, VoxelPrediction
from medseg.training.datasets import make_case
from medseg.training.sampling import Sources
from medseg.training.scores import (
    same_instances,
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


def test_an_instance_of_its_own_is_most_of_both():
    reference = np.zeros((4, 5, 6), np.uint16)
    reference[:2, :, :3], reference[2:, :, 3:] = 1, 2
    small = reference.copy()
    small[1] = 0
    assert same_instances(reference, reference) == {1, 2}
    assert same_instances(small, reference) == {2}  # the first has exactly half
    assert same_instances((reference > 0).astype(np.uint16), reference) == set()
    assert same_instances(np.zeros_like(reference), reference) == set()


def test_a_pair_touches_and_each_is_whole(case, oblique, settings):
    sources = Sources((case,), (quiet(oblique),))
    scene = touching_pair(sources, settings, np.random.default_rng(3))
    assert set(np.unique(scene.labels)) == {0, 1, 2}
    assert (binary_dilation(scene.labels == 1, np.ones((3, 3, 3))) & (scene.labels == 2)).any()


def test_pairs_are_counted_for_peaks_and_for_components(case, oblique, settings):
    large = settings.model_copy(update={"crop": (28, 32, 40)})
    model = Threshold(2.0, spacing_mm=settings.input.spacing_mm)
    sources = Sources((case,), (quiet(oblique),))
    scores = score_pairs(model, sources, large, SEGMENT, count=6)
    assert scores["pairs"] == 6
    assert 0 < scores["split_by_peaks"] <= 6
    assert scores["split_by_connected_components"] < scores["split_by_peaks"]


def quiet(geometry: Geometry):
    """A body without lesions."""
    image = np.full(geometry.shape, 0.8, np.float32)
    return make_case("quiet", image, np.zeros(geometry.shape, np.uint16), geometry)
