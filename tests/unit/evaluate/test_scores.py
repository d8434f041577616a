"""Scores counted by hand."""

import json
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.errors import GeometryMismatchError, InputError
from medseg.evaluate.rules import CC26_ANY_OVERLAP, LABELS_ANY_OVERLAP, RULES
from medseg.evaluate.scores import evaluate
from tests.strategies import instance_map, instance_maps

AFFINE = np.array(
    [[-2.4, 0.6, 0.3, 40.0], [0.5, 2.9, -0.8, -50.0], [0.4, 0.7, 3.8, 10.0], [0, 0, 0, 1.0]]
)
GRID = Geometry((12, 14, 20), AFFINE)


def boxes(*ranges: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]) -> InstanceMap:
    """Label 1, 2, ... for each box; later ones lie on top."""
    labels = np.zeros(GRID.shape, np.uint16)
    for number, ((a, b), (c, d), (e, f)) in enumerate(ranges, start=1):
        labels[a:b, c:d, e:f] = number
    return instance_map(labels, GRID)


def approximately(value: object) -> object:
    """Nested plain values, numbers up to rounding."""
    if isinstance(value, dict):
        return {name: approximately(one) for name, one in value.items()}
    if isinstance(value, list):
        return [approximately(one) for one in value]
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


REFERENCE = boxes(
    ((0, 4), (0, 4), (0, 4)),  # 1: found
    ((4, 8), (0, 4), (0, 4)),  # 2: touches 1, found
    ((0, 3), (8, 12), (8, 12)),  # 3: found twice, so split
    ((9, 11), (9, 11), (15, 18)),  # 4: missed
)
PREDICTION = boxes(
    ((0, 5), (0, 4), (0, 4)),  # 1: all of reference 1 and a slice of 2
    ((5, 8), (0, 4), (0, 4)),  # 2: the rest of reference 2
    ((0, 3), (8, 10), (8, 12)),  # 3: half of reference 3
    ((0, 3), (11, 12), (8, 12)),  # 4: a quarter of it
    ((9, 11), (2, 4), (15, 18)),  # 5: nothing
)


def test_lesions_are_counted_under_the_rule_of_components():
    found = evaluate(PREDICTION, REFERENCE).under(CC26_ANY_OVERLAP)
    assert (found.reference_lesions, found.found_lesions) == (3, 2)  # 1 and 2 touch
    assert (found.predicted_lesions, found.false_lesions) == (4, 1)  # so do 1 and 2
    assert found.recall == pytest.approx(2 / 3)
    assert found.precision == pytest.approx(3 / 4)
    assert found.f1 == pytest.approx(2 * (2 / 3) * (3 / 4) / (2 / 3 + 3 / 4))


def test_lesions_are_counted_under_the_rule_of_labels():
    scores = evaluate(PREDICTION, REFERENCE)
    found = scores.under(LABELS_ANY_OVERLAP)
    assert (found.reference_lesions, found.found_lesions) == (4, 3)
    assert (found.predicted_lesions, found.false_lesions) == (5, 1)
    assert scores.missed == (4,)
    assert scores.false == (5,)
    assert scores.split == (2, 3)
    assert scores.merged == (1,)


def test_each_lesion_is_paired_once_and_with_its_best_partner():
    pairs = {pair.reference: pair for pair in evaluate(PREDICTION, REFERENCE).matches}
    assert {r: pair.prediction for r, pair in pairs.items()} == {1: 1, 2: 2, 3: 3}
    assert pairs[1].iou == pytest.approx(64 / 80)
    assert pairs[1].dice == pytest.approx(2 * 64 / (64 + 80))
    assert pairs[3].dice == pytest.approx(2 * 24 / (48 + 24))


def test_dice_is_of_all_voxels():
    shared = 64 + 64 + 24 + 12
    reference = 64 + 64 + 48 + 12
    prediction = 80 + 48 + 24 + 12 + 12
    expected = 2 * shared / (reference + prediction)
    assert evaluate(PREDICTION, REFERENCE).dice == pytest.approx(expected)


def test_a_binary_mask_scores_under_components_like_its_instances():
    labels = (REFERENCE.labels > 0).astype(np.uint16)
    binary = instance_map(labels, GRID)
    scores = evaluate(PREDICTION, binary)
    assert scores.under(CC26_ANY_OVERLAP) == evaluate(PREDICTION, REFERENCE).under(CC26_ANY_OVERLAP)
    assert scores.under(LABELS_ANY_OVERLAP).reference_lesions == 1


@given(instance_maps(), st.integers(0, 2**32 - 1))
def test_components_are_those_of_scipy_by_26_neighbours(reference: InstanceMap, seed: int):
    rng = np.random.default_rng(seed)
    keep = rng.random(reference.labels.shape) < 0.15
    prediction = instance_map(np.where(keep, reference.labels + 1, 0), reference.geometry)
    found = evaluate(prediction, reference).under(CC26_ANY_OVERLAP)
    cube = np.ones((3, 3, 3))
    r, lesions = label(reference.labels > 0, cube)
    p, predicted = label(keep, cube)
    assert (found.reference_lesions, found.predicted_lesions) == (lesions, predicted)
    assert found.found_lesions == len(set(r[p > 0]) - {0})
    assert found.false_lesions == predicted - len(set(p[r > 0]) - {0})


@given(instance_maps())
def test_a_map_agrees_with_itself(reference: InstanceMap):
    scores = evaluate(reference, reference)
    assert scores.dice == 1
    assert all((d.recall, d.precision, d.f1) == (1, 1, 1) for d in scores.detections)
    assert [(pair.reference, pair.prediction, pair.iou) for pair in scores.matches] == [
        (i.label, i.label, 1) for i in reference.instances
    ]
    assert scores.missed == scores.false == scores.split == scores.merged == ()
    assert all((d.quality.pq, d.quality.instance_dice) == (1, 1) for d in scores.detections)
    assert (scores.surface.dice, scores.surface.hd95_mm) == (1, 0)
    assert (scores.lesion_wise.lesion_wise_dice, scores.lesion_wise.lesion_wise_hd95_mm) == (1, 0)
    assert scores.territories.dice == 1


@given(instance_maps(), st.permutations((0, 1, 2)))
def test_storing_both_in_another_order_changes_no_score(reference: InstanceMap, order: list[int]):
    shifted = np.roll(reference.labels, (1, 2, 1), (0, 1, 2))

    def stored(labels: np.ndarray) -> InstanceMap:
        affine = reference.geometry.affine[:, [*order, 3]]
        turned = labels.transpose(order)
        return instance_map(turned, Geometry(turned.shape, affine))

    scores = evaluate(instance_map(shifted, reference.geometry), reference)
    again = evaluate(stored(shifted), stored(reference.labels))
    assert again.plain() == approximately(scores.plain())


def test_swapping_prediction_and_reference_swaps_recall_and_precision():
    forth, back = evaluate(PREDICTION, REFERENCE), evaluate(REFERENCE, PREDICTION)
    assert back.dice == forth.dice
    assert back.split == forth.merged
    assert back.missed == forth.false
    for one, other in zip(forth.detections, back.detections, strict=True):
        assert (one.recall, one.precision, one.f1) == (other.precision, other.recall, other.f1)


def test_a_share_of_nothing_is_not_a_number():
    empty = instance_map(np.zeros(GRID.shape, np.uint16), GRID)
    neither = evaluate(empty, empty)
    assert isnan(neither.dice)
    assert all(isnan(d.recall) and isnan(d.precision) and isnan(d.f1) for d in neither.detections)
    none_found = evaluate(empty, REFERENCE)
    assert none_found.dice == 0
    assert all(d.recall == 0 and isnan(d.precision) and d.f1 == 0 for d in none_found.detections)
    all_false = evaluate(REFERENCE, empty)
    assert all(isnan(d.recall) and d.precision == 0 and d.f1 == 0 for d in all_false.detections)
    assert json.loads(json.dumps(neither.plain(), allow_nan=False))["dice"] is None


def test_what_overlaps_nothing_scores_zero():
    away = boxes(((9, 11), (2, 4), (15, 18)))
    scores = evaluate(away, REFERENCE)
    assert scores.dice == 0
    assert scores.matches == ()
    assert scores.under(CC26_ANY_OVERLAP).f1 == 0


def test_two_grids_are_refused():
    affine = AFFINE.copy()
    affine[0, 3] += 1
    moved = instance_map(REFERENCE.labels, Geometry(GRID.shape, affine))
    with pytest.raises(GeometryMismatchError, match="different grids") as caught:
        evaluate(moved, REFERENCE)
    assert isinstance(caught.value, InputError)


def test_plain_values_name_the_rule_of_every_count():
    plain = evaluate(PREDICTION, REFERENCE).plain()
    values = json.loads(json.dumps(plain))
    assert list(values["rules"]) == list(RULES)
    assert values["rules"][CC26_ANY_OVERLAP]["found_lesions"] == 2
    assert values["matches"][0] == {
        "reference": 1,
        "prediction": 1,
        "iou": pytest.approx(0.8),
        "dice": pytest.approx(8 / 9),
        "surface_dice": pytest.approx(0.8186, abs=1e-4),
        "hd95_mm": pytest.approx(GRID.spacing_mm[0]),
    }
