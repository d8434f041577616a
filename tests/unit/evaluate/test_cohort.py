"""Means and intervals over cases."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, tracking_uid
from medseg.evaluate.cohort import RESAMPLES, interval, summarise
from medseg.evaluate.rules import CC26_ANY_OVERLAP, LABELS_ANY_OVERLAP, PANOPTICA_IOU50
from medseg.evaluate.scores import evaluate
from tests.regression.scenes import scene

CASES = [evaluate(*scene(seed)) for seed in (1, 2, 3, 4)]


def test_lesions_of_all_cases_are_counted_together() -> None:
    pooled = {one.rule: one for one in summarise(CASES).pooled}
    for rule in (CC26_ANY_OVERLAP, LABELS_ANY_OVERLAP, PANOPTICA_IOU50):
        each = [case.under(rule) for case in CASES]
        found = sum(one.found_lesions for one in each)
        known = sum(one.reference_lesions for one in each)
        assert pooled[rule].recall.value == pytest.approx(found / known)
        assert sum(row.reference_lesions for row in pooled[rule].by_size) == known
        assert pooled[rule].f1.low <= pooled[rule].f1.value <= pooled[rule].f1.high
    # PQ = sum of IoU over (TP + FP / 2 + FN / 2), over all cases.
    each = [case.under(PANOPTICA_IOU50) for case in CASES]
    iou = sum(one.quality.sq * one.quality.pairs for one in each)
    lesions = sum(one.reference_lesions + one.predicted_lesions for one in each)
    assert pooled[PANOPTICA_IOU50].pq.value == pytest.approx(2 * iou / lesions)


def test_a_mean_is_over_the_cases_where_the_score_is_defined() -> None:
    nothing_expected = evaluate(*scene(0))
    cohort = summarise([*CASES, nothing_expected])
    recalls = [case.under(CC26_ANY_OVERLAP).recall for case in CASES]
    mean = cohort.means["cc26-any-overlap recall"]
    assert (mean.value, mean.cases) == (pytest.approx(np.mean(recalls)), 4)
    assert cohort.means["hd95_mm"].cases == 4
    assert cohort.froc is None


def test_one_case_has_no_interval() -> None:
    cohort = summarise(CASES[:1])
    assert cohort.means["dice"].value == pytest.approx(CASES[0].dice)
    assert isnan(cohort.means["dice"].low)


@given(st.integers(0, 2**32 - 1))
def test_the_interval_is_that_of_means_of_resampled_cases(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 1, 25)
    drawn = rng.integers(0, 25, (RESAMPLES, 25))
    found = interval(values, drawn, lambda v: v.mean(axis=1))
    means = sorted(np.mean([values[n] for n in row]) for row in drawn)
    assert found.low == pytest.approx(means[round(0.025 * RESAMPLES)], abs=0.01)
    assert found.high == pytest.approx(means[round(0.975 * RESAMPLES)], abs=0.01)
    # Known for a normal sample: 1.96 standard errors to either side, within resampling's error.
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 5, rel=0.15)


def test_the_same_cases_give_the_same_intervals() -> None:
    assert summarise(CASES).means == summarise(CASES).means


def test_nothing_predicted_in_any_case_has_no_interval_of_precision() -> None:
    empty = np.zeros((4, 5, 6), np.uint16)
    reference = empty.copy()
    reference[1:3, 1:3, 1:4] = 1
    geometry = Geometry(empty.shape, np.diag([2.0, 3.0, 4.0, 1.0]))
    lesion = Instance(1, "lesion", "lesion", tracking_uid("none", "lesion", 1))
    missed = evaluate(InstanceMap(empty, geometry, ()), InstanceMap(reference, geometry, (lesion,)))
    pooled = {one.rule: one for one in summarise([missed, missed]).pooled}
    assert isnan(pooled[LABELS_ANY_OVERLAP].precision.low)
    assert pooled[LABELS_ANY_OVERLAP].recall.value == 0
