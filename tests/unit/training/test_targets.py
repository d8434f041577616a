import numpy as np
import pytest

from medseg.segment.pieces import territories
from medseg.training.targets import centre_heatmap, offsets_mm, sigma_mm

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
    assert sigma_mm(40, 6) == 16
    assert sigma_mm(5, 6) == 6


def test_the_voxel_of_a_centre_between_voxels_is_one_and_its_surroundings_stay_a_gaussian():
    heatmap = centre_heatmap((9, 9, 8), SPACING, [np.array([11.0, 17.0, 10.0])], [6.0])
    assert (heatmap == 1).sum() == 1
    assert heatmap[2, 4, 3] == 1
    distance = np.linalg.norm(np.array((3, 4, 3)) * SPACING - (11, 17, 10))
    assert heatmap[3, 4, 3] == pytest.approx(np.exp(-(distance**2) / 72), abs=1e-6)


def test_a_centre_outside_the_crop_has_no_voxel_in_it():
    heatmap = centre_heatmap((9, 9, 8), SPACING, [np.array([-3.0, 17.0, 10.0])], [6.0])
    assert 0.8 < heatmap.max() < 1


def test_every_voxel_of_an_instance_points_at_its_centre_and_others_nowhere():
    labels = np.zeros((6, 7, 9), np.uint16)
    labels[1:3, 2:5, 1:8], labels[4:6, 0:3, 2:4] = 1, 2
    centres = [np.array([7.5, 12.0, 12.0]), np.array([99.0, -5.0, 7.5])]
    ways = offsets_mm(labels, SPACING, centres)
    index = np.indices(labels.shape).transpose(1, 2, 3, 0) * SPACING
    for label, centre in enumerate(centres, start=1):
        there = labels == label
        np.testing.assert_allclose(index[there] + ways[:, there].T, [centre] * there.sum())
    assert not ways[:, labels == 0].any()


def test_a_territory_is_what_lies_nearest_in_mm():
    labels = np.zeros((11, 6, 9), np.uint16)
    labels[1, 2, 2], labels[9, 3, 6] = 1, 2
    owned = territories(labels, SPACING)
    index = np.indices(labels.shape).transpose(1, 2, 3, 0) * SPACING
    one, other = (
        np.linalg.norm(index - np.array(c) * SPACING, axis=-1) for c in ((1, 2, 2), (9, 3, 6))
    )
    clear = np.abs(one - other) > 1e-6
    np.testing.assert_array_equal(owned[clear], np.where(one < other, 1, 2)[clear])
    assert not territories(labels * 0, SPACING).any()
