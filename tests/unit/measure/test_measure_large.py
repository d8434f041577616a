"""What only shows on a large lesion; `benchmarks/measure_many_lesions.py` times it."""

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.measure.diameters import max_diameter_3d

AFFINE = np.array(
    [[-0.8, 0.05, 0.1, 200], [0.05, 0.8, -0.1, -190], [0.04, 0.05, 1.5, 0], [0, 0, 0, 1]]
)


@pytest.mark.slow
def test_the_3d_diameter_of_a_million_voxels_needs_no_pairs_of_all_corners() -> None:
    """All pairs of its corners would be 10^12: neither time nor memory of any machine."""
    inside = ((np.indices((160, 150, 140)).T - (80, 75, 70)) ** 2).sum(axis=-1).T < 62.1**2
    assert inside.sum() > 1e6
    diameter = max_diameter_3d(inside, Geometry(inside.shape, AFFINE))
    longest = np.linalg.svd(AFFINE[:3, :3], compute_uv=False)[0]  # of the ball, made an ellipsoid
    assert diameter.length_mm == pytest.approx(2 * 62.1 * longest, rel=0.02)
