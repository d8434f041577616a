import numpy as np
import pytest

from medseg.training.targets import centre_heatmap, sigma_mm

SPACING = (5.0, 4.0, 3.0)


def test_the_target_is_a_gaussian_in_mm_on_an_anisotropic_grid():
    centre, sigma = np.array([23.0, 31.0, 20.0]), 7.0
    heatmap = centre_heatmap((9, 15, 14), SPACING, [centre], [sigma])
    for index in [(0, 0, 0), (4, 7, 6), (8, 14, 13), (2, 11, 3)]:
        distance = np.linalg.norm(np.array(index) * SPACING - centre)
        assert heatmap[index] == pytest.approx(np.exp(-(distance**2) / (2 * sigma**2)), abs=1e-6)


def test_a_centre_on_a_voxel_is_exactly_one():
    heatmap = centre_heatmap((7, 9, 8), SPACING, [np.array([10.0, 16.0, 21.0])], [6.0])
    assert heatmap[2, 4, 7] == 1
    assert (heatmap == 1).sum() == 1


def test_two_instances_keep_a_peak_each_and_the_higher_one_counts():
    centres = [np.array([10.0, 16.0, 9.0]), np.array([30.0, 16.0, 9.0])]
    heatmap = centre_heatmap((9, 9, 8), SPACING, centres, [6.0, 8.0])
    assert heatmap[2, 4, 3] == heatmap[6, 4, 3] == 1
    one, other = np.exp(-0.5 * (10 / 6) ** 2), np.exp(-0.5 * (10 / 8) ** 2)
    assert heatmap[4, 4, 3] == pytest.approx(max(one, other), abs=1e-6)


def test_without_instances_there_is_no_centre():
    assert not centre_heatmap((3, 4, 5), SPACING, [], []).any()


def test_large_instances_have_wide_centres_and_small_ones_the_least_width():
    assert sigma_mm(40, 6) == 20
    assert sigma_mm(5, 6) == 6
