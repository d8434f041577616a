"""Statistics of intensities against numbers worked out by hand."""

import numpy as np
import pytest

from medseg.measure.intensity import intensities


def test_statistics_of_four_numbers():
    found = intensities(np.array((9.0, 1.0, 2.0, 4.0)))
    assert found.mean == 4
    assert found.std == pytest.approx(((25 + 9 + 4 + 0) / 4) ** 0.5)  # by N, not by N - 1
    assert (found.minimum, found.maximum) == (1, 9)
    assert found.median == 3
    # Linear between ranks: rank 0.3 of 1, 2 and rank 2.7 of 4, 9.
    assert found.p10 == pytest.approx(1.3)
    assert found.p90 == pytest.approx(7.5)


def test_one_voxel_has_no_spread():
    found = intensities(np.array((-17.5,)))
    assert {found.mean, found.minimum, found.maximum, found.median, found.p10, found.p90} == {-17.5}
    assert found.std == 0


def test_a_small_spread_on_a_large_offset_survives():
    """In float32 the variance of 20000.25 +- 0.25 would be lost."""
    found = intensities(20_000 + np.tile((0.0, 0.5), 100_000))
    assert found.mean == pytest.approx(20_000.25, rel=1e-12)
    assert found.std == pytest.approx(0.25, rel=1e-9)
