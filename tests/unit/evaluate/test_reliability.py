"""Confidence against precision, counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluate.reliability import Judged, expected_error, reliability


def test_the_error_is_the_gap_of_each_bin_weighted_by_its_lesions() -> None:
    confidence = np.array([0.81, 0.89, 0.85, 0.15, 1.0])
    true = np.array([True, False, False, False, True])
    # 0.8 to 0.9: mean 0.85, precision 1/3, 3 lesions; 0.1 to 0.2: 0.15, 0, 1; 0.9 to 1: 1, 1, 1.
    assert expected_error(confidence, true) == pytest.approx((3 * (0.85 - 1 / 3) + 0.15) / 5)
    patients = [
        Judged(confidence[:2], true[:2], np.array([5.0, 90.0])),
        Judged(confidence[2:], true[2:], np.array([5.0, 5000.0, 90.0])),
    ]
    found = reliability(patients)
    assert found.ece.value == pytest.approx(expected_error(confidence, true))
    assert [row.lesions for row in found.by_size] == [2, 0, 2, 0, 1]
    assert found.by_size[0].confidence == pytest.approx(0.83)
    assert found.by_size[2].precision == pytest.approx(0.5)
    assert found.all.precision == pytest.approx(0.4)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_the_error_is_a_share_and_its_interval_holds_it_when_patients_are_alike(
    lesions: list[tuple[float, bool]],
) -> None:
    confidence = np.array([c for c, _ in lesions])
    true = np.array([t for _, t in lesions])
    one = Judged(confidence, true, np.full(len(true), 100.0))
    found = reliability([one, one, one]).ece
    assert 0 <= found.value <= 1
    assert found.low == pytest.approx(found.value)
    assert found.high == pytest.approx(found.value)
