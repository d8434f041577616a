"""Coefficients that are known, found again; reliability, measured on held-out patients."""

import numpy as np
import pytest
from scipy.special import expit

from medseg.training.calibrate import Described, calibrate, fit

WEIGHTS, OFFSET = np.array([0.9, -0.4, 0.7, 2.0]), -1.2


def patients(count: int, lesions: int, seed: int = 0) -> list[Described]:
    """Lesions that are true as often as a logistic model says."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        features = rng.normal((2, 1, 3, 0.5), (2, 1, 0.8, 0.3), (lesions, 4))
        true = rng.random(lesions) < expit(features @ WEIGHTS + OFFSET - 2)
        found.append(Described(f"patient {n}", features, true, 10 ** features[:, 2]))
    return found


def test_the_coefficients_of_many_lesions_are_those_that_made_them() -> None:
    weights, offset = fit(patients(40, 500))
    assert weights == pytest.approx(WEIGHTS, abs=0.1)
    assert offset == pytest.approx(OFFSET - 2, abs=0.25)


def test_the_fit_is_where_no_neighbour_is_likelier() -> None:
    cases = patients(6, 15, seed=3)
    features = np.concatenate([c.features for c in cases])
    true = np.concatenate([c.true for c in cases])
    width = features.std(axis=0)

    def loss(weights: np.ndarray, offset: float) -> float:
        p = expit(features @ weights + offset)
        return -np.log(np.where(true, p, 1 - p)).sum() + ((weights * width) ** 2).sum() / 2

    weights, offset = fit(cases)
    best = loss(weights, offset)
    rng = np.random.default_rng(1)
    assert all(
        loss(weights + rng.normal(0, 0.02, 4), offset + rng.normal(0, 0.02)) > best
        for _ in range(200)
    )


def test_what_never_changes_has_no_weight() -> None:
    cases = [
        Described(c.patient, c.features * [1, 1, 1, 0], c.true, c.volumes_mm3)
        for c in patients(6, 30)
    ]
    assert fit(cases)[0][3] == 0


def test_the_reliability_of_a_right_model_is_close_and_counts_every_lesion() -> None:
    card = calibrate(patients(20, 100), "made up")
    assert card is not None
    assert card.patients == 20
    everything, *by_size = card.reliability
    assert everything.lesions == 2000 == sum(row.lesions for row in by_size)
    assert everything.confidence == pytest.approx(everything.precision, abs=0.03)
    low, high = card.expected_calibration_error_interval
    assert low <= card.expected_calibration_error <= high < 0.08


def test_a_patient_is_not_judged_by_its_own_lesions() -> None:
    cases = patients(8, 20, seed=5)
    # One patient whose lesions are all false whatever the features say: a fit that had seen it
    # would call it so.
    odd = Described("odd", cases[0].features + 3, np.zeros(20, bool), cases[0].volumes_mm3)
    with_it, without_it = calibrate([*cases, odd], "x"), calibrate(cases, "x")
    assert with_it is not None
    assert without_it is not None
    expected = expit(odd.features @ np.array(without_it.weights) + without_it.offset)
    n, total = with_it.reliability[0].lesions, with_it.reliability[0].confidence
    assert total is not None
    held_out = sum(
        expit(c.features @ w + o).sum()
        for c in cases
        for w, o in [fit([*(x for x in cases if x is not c), odd])]
    )
    assert total * n == pytest.approx(held_out + expected.sum(), abs=0.001 * n)


def test_too_few_lesions_are_not_calibrated() -> None:
    assert calibrate([], "nothing") is None
    assert calibrate(patients(4, 100), "four patients") is None
    all_true = [
        Described(c.patient, c.features, np.ones(100, bool), c.volumes_mm3)
        for c in patients(9, 100)
    ]
    assert calibrate(all_true, "no false lesion") is None
