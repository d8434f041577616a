"""What is part of an organ and what only looks like it, on a sheared, anisotropic grid."""

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.organs import drop_parts, organs_on
from tests.unit.segment.bodies import SETTINGS

GRID = Geometry(
    (24, 20, 16),
    np.array([[3.0, 0, 0.4, -30], [0, 4.0, 0, 20], [0, 0.5, 5.0, 7], [0, 0, 0, 1]]),
)
NAMES = ("parotid_right", "parotid_left")


def prediction(*boxes: tuple[int, tuple[slice, slice, slice], float]) -> VoxelPrediction:
    """Boxes of probability, each of one of the two structures."""
    probabilities = np.full((2, *GRID.shape), 0.01, np.float32)
    for structure, box, probability in boxes:
        probabilities[structure][box] = probability
    return VoxelPrediction(probabilities, NAMES, GRID)


RIGHT = (slice(15, 20), slice(5, 13), slice(4, 10))
LEFT = (slice(3, 8), slice(5, 13), slice(4, 10))
SPECK = (slice(4, 6), slice(7, 9), slice(5, 7))


def test_a_speck_called_by_the_other_side_s_name_is_given_back_to_the_gland_around_it():
    said = prediction((0, RIGHT, 0.9), (1, LEFT, 0.8), (0, SPECK, 0.95))
    labels, flags = organs_on(said, GRID, SETTINGS)
    expected = np.zeros(GRID.shape, np.uint16)
    expected[RIGHT], expected[LEFT] = 1, 2
    np.testing.assert_array_equal(labels, expected)
    assert flags == ()


def test_a_large_second_part_stays_and_is_told_and_a_small_one_goes():
    half = (slice(15, 20), slice(15, 19), slice(4, 9))
    small = (slice(1, 3), slice(17, 19), slice(1, 3))
    said = prediction((0, RIGHT, 0.9), (0, half, 0.9), (1, LEFT, 0.8), (1, small, 0.9))
    labels, flags = organs_on(said, GRID, SETTINGS)
    assert (labels[half] == 1).all()
    assert (labels[small] == 0).all()
    assert [flag.code for flag in flags] == ["organ-in-parts"]
    assert "parotid right" in flags[0].message
    assert "parotid left" not in flags[0].message


def test_what_is_dropped_twice_is_nobody_s():
    """The speck is too small for the right gland, and lies apart from the left one."""
    apart = (slice(9, 11), slice(16, 18), slice(12, 14))
    said = prediction((0, RIGHT, 0.9), (1, LEFT, 0.8), (0, apart, 0.95), (1, apart, 0.7))
    cleaned, several = drop_parts(said, SETTINGS)
    assert (cleaned[(slice(None), *apart)] == 0).all()
    assert several == []


def test_a_voxel_between_two_organs_is_the_more_likely_one_s_on_a_finer_grid():
    """The boundary lies where the two interpolated probabilities are equal."""
    right, left = (slice(12, 20), *RIGHT[1:]), (slice(4, 12), *RIGHT[1:])
    probabilities = prediction((0, right, 0.9), (1, left, 0.9)).probabilities.copy()
    affine = GRID.affine.copy()
    affine[:3, 0] /= 4
    fine = Geometry((96, 20, 16), affine)
    labels, _ = organs_on(VoxelPrediction(probabilities, NAMES, GRID), fine, SETTINGS)
    line = labels[:, 8, 6]
    assert line[44:46].tolist() == [2, 2]
    assert line[47:49].tolist() == [1, 1]
    inside = np.flatnonzero(line)
    np.testing.assert_array_equal(inside, np.arange(inside[0], inside[-1] + 1))  # no gap
    assert inside[0] == pytest.approx(4 * 3.5, abs=1)


def test_nothing_said_is_nothing_found():
    labels, flags = organs_on(prediction(), GRID, SETTINGS)
    assert not labels.any()
    assert [flag.code for flag in flags] == ["organ-not-found"]
