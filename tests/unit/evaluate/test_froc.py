"""FROC by trying every threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluate.froc import FALSE_PER_CASE, Candidates, candidates, froc
from medseg.evaluate.match import overlaps


def test_the_curve_of_a_case_counted_by_hand() -> None:
    reference = np.zeros((5, 6, 20), np.uint16)
    prediction = reference.copy()
    for n, place in enumerate((1, 5, 9), start=1):
        reference[1:3, 2:4, place : place + 2] = n
    prediction[1:3, 2:4, 1:3] = 4  # finds 1
    prediction[1, 2, 5] = 6  # finds 2, less sure
    prediction[2, 3, 6] = 7  # finds 2 again, surer
    prediction[4, 5, 15] = 8  # false
    prediction[4, 5, 18] = 9  # false
    sure = {4: 0.9, 6: 0.3, 7: 0.7, 8: 0.8, 9: 0.2}
    curve = froc([candidates(overlaps(prediction, reference), sure, 2.5)])
    # At most half a false lesion: only 4 is surer than 8. One: 7 too. Two and more: all.
    assert dict(zip(curve.false_per_case, curve.recall, strict=True)) == {
        1 / 8: 1 / 3,
        1 / 4: 1 / 3,
        1 / 2: 1 / 3,
        1: 2 / 3,
        2: 2 / 3,
        4: 2 / 3,
        8: 2 / 3,
    }
    assert curve.score == pytest.approx((3 * 1 / 3 + 4 * 2 / 3) / 7)


@st.composite
def cases(draw: st.DrawFn) -> Candidates:
    levels = st.sampled_from((0.1, 0.3, 0.5, 0.7, 0.9))
    false, true = draw(st.lists(levels, max_size=30)), draw(st.lists(levels, max_size=6))
    missed = draw(st.integers(0, 3))
    return Candidates(
        confidence=np.array(false + true),
        true=np.array([False] * len(false) + [True] * len(true), bool),
        found_from=np.array(true, float),
        reference_lesions=len(true) + missed,
        volumes_mm3=np.ones(len(false) + len(true)),
    )


@given(st.lists(cases(), min_size=1, max_size=4))
def test_no_threshold_finds_more_at_the_price(several: list[Candidates]) -> None:
    total = sum(case.reference_lesions for case in several)
    curve = froc(several)
    for limit, recall in zip(FALSE_PER_CASE, curve.recall, strict=True):
        best = 0.0
        for threshold in (0.1, 0.3, 0.5, 0.7, 0.9, 1.1):
            false = sum((c.confidence[~c.true] >= threshold).sum() for c in several)
            found = sum((c.found_from >= threshold).sum() for c in several)
            if total and false / len(several) <= limit:
                best = max(best, found / total)
        assert recall == pytest.approx(best) if total else np.isnan(recall)
