"""Lesions by size."""

from math import inf, isnan, pi

import numpy as np
import pytest

from medseg.evaluate.sizes import Side, bins


def test_each_lesion_counts_in_the_bin_of_its_own_volume() -> None:
    ball = [d**3 * pi / 6 for d in (2.9, 3.0, 4.9, 12.0, 50.0)]
    reference = Side(np.array(ball), np.array([False, True, True, True, True]))
    prediction = Side(np.array([ball[0], ball[3]]), np.array([False, True]))
    found = bins(reference, prediction)
    assert [one.reference_lesions for one in found] == [1, 2, 0, 1, 1]
    assert [one.found_lesions for one in found] == [0, 2, 0, 1, 1]
    assert [one.false_lesions for one in found] == [1, 0, 0, 0, 0]
    assert (found[0].recall, found[0].precision, found[0].f1) == (0, 0, 0)
    assert found[3].f1 == 1
    assert isnan(found[2].f1)
    assert isnan(found[4].precision)
    assert found[0].from_mm3 == 0
    assert found[-1].below_mm3 == inf
    assert found[0].below_mm3 == pytest.approx(14.137, abs=1e-3)
