import dataclasses

import numpy as np
import pytest

from medseg.config import SegmentSettings
from medseg.core.prediction import ModelInput, VoxelPrediction
from medseg.training.datasets import Case, make_case
from medseg.training.scores import (
    outside,
    same_instances,
    score_cases,
    score_instances,
    score_outside,
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


def ball_ml(radius_mm: float) -> float:
    return 4 / 3 * np.pi * radius_mm**3 / 1000


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
    wrong = score_outside(Threshold(3), two, SEGMENT)
    assert wrong["false_positives"] == 1
    expected_ml = 4 * 4 * 6 * oblique.voxel_volume_mm3 / 1000
    assert wrong["false_positive_volume_ml"] == pytest.approx(expected_ml, rel=0.25)
    assert wrong["volume_outside_ml"] >= wrong["false_positive_volume_ml"]
    assert wrong["volume_beyond_10_mm_ml"] == wrong["false_positive_volume_ml"]


def test_an_outline_that_is_too_wide_is_told_from_what_reaches_farther(case, oblique):
    """Balls of the same centre: volumes of shells are known."""
    places = oblique.to_world(np.stack(np.indices(oblique.shape), axis=-1))
    from_centre_mm = np.linalg.norm(places - oblique.to_world(np.array([15, 13, 20])), axis=-1)
    for radius_mm, beyond_ml in ((22, 0), (34, ball_ml(34) - ball_ml(28))):
        wrong = outside((from_centre_mm <= radius_mm).astype(np.uint16), case)
        all_ml = ball_ml(radius_mm) - ball_ml(18)
        assert wrong["volume_outside_ml"] == pytest.approx(all_ml, rel=0.05)
        assert wrong["volume_beyond_10_mm_ml"] == pytest.approx(beyond_ml, rel=0.2)
        assert wrong["false_positives"] == wrong["false_positive_volume_ml"] == 0


def test_without_a_lesion_everything_is_far_from_one(two, oblique):
    healthy = make_case("healthy", two.image, np.zeros_like(two.labels), oblique)
    wrong = outside(two.labels, healthy)
    assert wrong["volume_beyond_10_mm_ml"] == wrong["volume_outside_ml"] > 0
    assert wrong["false_positives"] == 1


def test_an_instance_of_its_own_is_most_of_both():
    reference = np.zeros((4, 5, 6), np.uint16)
    reference[:2, :, :3], reference[2:, :, 3:] = 1, 2
    small = reference.copy()
    small[1] = 0
    assert same_instances(reference, reference) == {1, 2}
    assert same_instances(small, reference) == {2}  # the first has exactly half
    assert same_instances((reference > 0).astype(np.uint16), reference) == set()
    assert same_instances(np.zeros_like(reference), reference) == set()


def three_thirds(oblique) -> Case:
    """Three lesions that touch, each a third of one hot block."""
    labels = np.zeros(oblique.shape, np.uint16)
    for number in range(3):
        labels[4 + 7 * number : 11 + 7 * number, 6:16, 8:20] = number + 1
    image = np.where(labels > 0, 6, 0.8).astype(np.float32)
    return make_case("three thirds", image, labels, oblique)


def test_telling_lesions_apart_scores_better_than_connected_components(oblique, case):
    """A model whose heatmap peaks at the centres parts what is one component."""
    thirds = three_thirds(oblique)

    class Centres(Threshold):
        def predict(self, study, progress=None):
            said = super().predict(study, progress)
            places = np.stack(np.indices(study.geometry.shape), axis=-1)
            world = study.geometry.to_world(places)
            near = [
                np.exp(-0.5 * (np.linalg.norm(world - one.centre_mm, axis=-1) / 8) ** 2)
                for one in thirds.lesions
            ]
            return dataclasses.replace(said, centre_heatmap=np.max(near, axis=0).astype(np.float32))

    parted = score_instances(Centres(3), [thirds], SEGMENT)
    assert parted["pq"] > 0.7
    assert parted["pq_of_connected_components"] == 0
    assert (parted["lesions"], parted["lesions_found"]) == (3, 3)
    alone = score_instances(Threshold(3), [case, case], SEGMENT)
    assert alone["pq"] == alone["pq_of_connected_components"] > 0.8
    assert alone["pq_low"] <= alone["pq"] <= alone["pq_high"]


def test_volume_outside_lesions_is_what_the_hot_organ_holds(two, oblique):
    scores = score_instances(Threshold(3), [two], SEGMENT)
    expected_ml = 4 * 4 * 6 * oblique.voxel_volume_mm3 / 1000
    assert scores["volume_outside_ml_mean"] == pytest.approx(expected_ml, rel=0.5)
