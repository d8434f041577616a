"""What a network hesitates about: lesions that touch, and large ones that are not alike inside."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.doubt import FEWEST_VOXELS, WIDEST_CUT, certainty, join_wide
from medseg.segment.separate import separate
from tests.unit.segment.bodies import SETTINGS, ball, depths, positions

GRID = Geometry((34, 26, 20), np.diag((-3.0, 3.4, 4.1, 1.0)))
MIDDLE = GRID.to_world((np.array(GRID.shape) - 1) / 2)
DOUBTS = SETTINGS.model_copy(update={"doubt_prominence": 1.0})


def hesitant(radii: tuple[float, float], apart_mm: float) -> VoxelPrediction:
    """Two balls of which the network is sure, and not of their centres: the heatmap stays below
    0.12 within them, and falls to 0.02 in the plane where they meet."""
    first, second = (
        ball(tuple(MIDDLE + np.array((side * apart_mm / 2, 0, 0))), radius)
        for side, radius in zip((-1, 1), radii, strict=True)
    )
    places = positions(GRID)
    inside = depths(places, [first, second]).max(axis=-1) > 0
    from_plane_mm = np.abs(places[..., 0] - MIDDLE[0])
    sure = np.where(inside, np.minimum(-2, -4 + from_plane_mm / 4), -8)
    return VoxelPrediction(
        expit(np.where(inside, 4, -4)).astype(np.float32)[None],
        ("lesion",),
        GRID,
        expit(sure).astype(np.float32),
    )


def test_lesions_between_whose_centres_the_network_doubts_are_two_and_voxels_go_to_the_nearer():
    separated = separate(hesitant((15, 15), 26), DOUBTS)
    assert len(separated.structures) == 2
    side = positions(GRID)[..., 0] > MIDDLE[0]
    clear = (np.abs(positions(GRID)[..., 0] - MIDDLE[0]) > 3) & (separated.labels > 0)
    assert len(set(separated.labels[clear & side])) == 1
    assert len(set(separated.labels[clear & ~side])) == 1
    assert separated.labels[clear & side][0] != separated.labels[clear & ~side][0]


@pytest.mark.parametrize("least", [None, 5.0])
def test_they_stay_one_where_doubt_does_not_count_or_is_not_deep_enough(least):
    settings = SETTINGS.model_copy(update={"doubt_prominence": least})
    assert separate(hesitant((15, 15), 26), settings).structures == ("lesion",)


def test_a_lesion_with_doubt_in_its_middle_stays_whole_because_the_cut_would_be_wide():
    one = hesitant((30, 30), 1)
    assert separate(one, DOUBTS).structures == ("lesion",)


def test_a_model_without_a_heatmap_is_asked_for_necks_alone():
    bare = replace(hesitant((15, 15), 29), centre_heatmap=None)
    never = SETTINGS.model_copy(update={"peak_prominence": 1.0, "doubt_prominence": 1.0})
    assert separate(bare, never).structures == ("lesion",)


def test_offsets_that_leave_a_component_whole_leave_it_to_the_doubt():
    said = hesitant((15, 15), 26)
    ways = (MIDDLE - positions(GRID)).transpose(3, 0, 1, 2).astype(np.float32)
    agreed = replace(said, offsets_mm=np.ascontiguousarray(ways))
    assert separate(agreed, SETTINGS).structures == ("lesion",)
    assert len(separate(agreed, DOUBTS).structures) == 2


def test_parts_that_meet_in_a_wide_cut_are_one_and_a_narrow_cut_stays():
    spacing = (2.0, 3.0, 2.5)
    parts = np.zeros((6, 16, 7), np.int32)
    parts[1:5, 1, 1:5], parts[1:5, 2, 1:5] = 1, 2
    parts[1:2, 3, 1:2] = 3
    parts[1:5, 4:15, 1:5] = 3
    # 1 and 2 meet in 16 faces of 5 mm2 and have 16 voxels of 15 mm3; 2 and 3 meet in one face.
    assert 16 * 5 / (16 * 15) ** (2 / 3) > WIDEST_CUT > 5 / (16 * 15) ** (2 / 3)
    joined = join_wide(parts, spacing)
    np.testing.assert_array_equal(joined, np.array([0, 1, 1, 2])[parts])
    # Twice as long, the first two stay two as well: 16 faces between 32 voxels.
    longer = np.repeat(parts, 2, axis=1)
    assert WIDEST_CUT > 16 * 5 / (32 * 15) ** (2 / 3)
    np.testing.assert_array_equal(join_wide(longer, spacing), longer)


def test_a_crumb_goes_to_what_it_meets_however_narrow_the_cut_and_a_part_of_some_voxels_stays():
    parts = np.zeros((4, 4, 20), np.int32)
    parts[:, :, :10] = 1
    for voxels, kept in ((FEWEST_VOXELS - 1, 1), (FEWEST_VOXELS, 2)):
        beside = parts.copy()
        beside[1, 1, 10 : 10 + voxels] = 2
        joined = join_wide(beside, (3.0, 4.0, 2.0))
        assert joined.max() == kept
        np.testing.assert_array_equal(joined > 0, beside > 0)


def test_a_component_of_hardly_any_voxels_is_not_split_at_all():
    small = hesitant((3, 3), 5)
    assert 0 < (small.probabilities[0] > 0.5).sum() < 2 * FEWEST_VOXELS
    assert separate(small, DOUBTS).structures == ("lesion",)


def test_three_parts_in_a_row_become_one_when_each_cut_is_wide():
    parts = np.zeros((6, 5, 8), np.int32)
    parts[:, :, 1:3], parts[:, :, 3:5], parts[:, :, 5:7] = 2, 1, 3
    joined = join_wide(parts, (3.0, 4.0, 2.0))
    np.testing.assert_array_equal(joined, parts > 0)


def test_certainty_is_in_logits_and_no_probability_is_infinite():
    said = certainty(np.array([0.5, 1.0, 0.0, 0.75], np.float32))
    assert said == pytest.approx([13.8, 27.6, 0, 13.8 + np.log(3)], abs=0.1)
