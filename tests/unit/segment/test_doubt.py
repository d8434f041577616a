"""What a network hesitates about: lesions that touch, and large ones that are not alike inside."""

import heapq
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
    never = SETTINGS.model_copy(update={"peak_prominence": 1.0, "doubt_prominence": 1.0})
    said = hesitant((15, 15), 29)
    assert len(separate(said, never).structures) == 2
    assert separate(replace(said, centre_heatmap=None), never).structures == ("lesion",)


def row_of_boxes(heights: tuple[float, ...], saddles: tuple[float, ...]) -> VoxelPrediction:
    """Boxes of 4 x 4 x 6 voxels in a row that touch, the heatmap's logit falling between them."""
    grid = Geometry((6, 6, 6 * len(heights) + 2), np.diag((3.0, 2.0, 2.5, 1.0)))
    logits = np.full(grid.shape, -9, np.float32)
    for number, height in enumerate(heights):
        logits[1:5, 1:5, 1 + 6 * number : 7 + 6 * number] = height - 0.1
        logits[2, 2, 4 + 6 * number] = height
    for number, saddle in enumerate(saddles, start=1):
        logits[1:5, 1:5, 6 * number : 2 + 6 * number] = saddle
    inside = logits > -9
    return VoxelPrediction(
        np.where(inside, 0.9, 0.1).astype(np.float32)[None], ("lesion",), grid, expit(logits)
    )


def test_each_part_that_votes_make_is_split_again_and_all_have_names_of_their_own():
    """Six boxes: every voxel votes for the middle of its pair, and the heatmap parts each pair."""
    said = row_of_boxes((2,) * 6, (1.2,) * 5)
    places = positions(said.geometry)
    pair = np.clip((np.arange(said.geometry.shape[2]) - 1) // 12, 0, 2)
    ways = np.zeros_like(places)
    ways[..., 2] = (6.5 + 12 * pair) * 2.5 - places[..., 2]
    ways[..., :2] = (2.5 * 3, 2.5 * 2) - places[..., :2]
    offsets = np.ascontiguousarray(ways.transpose(3, 0, 1, 2).astype(np.float32))
    pairs = replace(said, offsets_mm=offsets)
    without = separate(pairs, SETTINGS)
    assert np.bincount(without.labels.ravel())[1:].tolist() == [192] * 3
    separated = separate(pairs, SETTINGS.model_copy(update={"doubt_prominence": 0.5}))
    assert len(separated.structures) == 6
    np.testing.assert_array_equal(separated.labels > 0, without.labels > 0)
    insides = [separated.labels[1:5, 1:5, 2 + 6 * n : 6 + 6 * n] for n in range(6)]
    assert sorted(np.unique(inside).tolist() for inside in insides) == [[n] for n in range(1, 7)]
    # The plane where two boxes meet is found to within a slice.
    assert np.bincount(separated.labels.ravel())[1:] == pytest.approx([96] * 6, abs=16)


@pytest.mark.parametrize("flat", [0.0, 0.01, 1.0])
def test_a_heatmap_that_says_nothing_leaves_every_component_whole(flat):
    said = row_of_boxes((2, 2), (2,))
    heat = np.full(said.geometry.shape, flat, np.float32)
    whole = replace(said, probabilities=np.ones_like(said.probabilities), centre_heatmap=heat)
    for one in (whole, replace(said, centre_heatmap=heat)):
        separated = separate(one, DOUBTS)
        assert separated.structures == ("lesion",)
        np.testing.assert_array_equal(separated.labels > 0, one.probabilities[0] >= 0.5)


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


def test_a_crumb_that_touches_by_a_corner_alone_is_joined_too_and_a_larger_part_is_not():
    parts = np.zeros((9, 6, 6), np.int32)
    parts[:4, :4, :4] = 1
    parts[4, 4, 4] = 2
    np.testing.assert_array_equal(join_wide(parts, (3.0, 4.0, 2.0)), parts > 0)
    parts[4:9, 4:6, 4:6] = 2
    np.testing.assert_array_equal(join_wide(parts, (3.0, 4.0, 2.0)), parts)


def test_two_crumbs_that_have_the_fewest_voxels_together_are_one_part():
    """5 and 3 voxels are 8, also where the volumes of both do not add up to that of 8."""
    parts = np.zeros((10, 4, 8), np.int32)
    parts[:, :, :2] = 3
    parts[0, 0, 2:5], parts[0, 0, 5:8], parts[1, 0, 6:8] = 1, 2, 2
    joined = join_wide(parts, (5.81, 5.81, 3.59))
    assert joined.max() == 2


def test_three_parts_in_a_row_become_one_when_each_cut_is_wide():
    parts = np.zeros((6, 5, 8), np.int32)
    parts[:, :, 1:3], parts[:, :, 3:5], parts[:, :, 5:7] = 2, 1, 3
    joined = join_wide(parts, (3.0, 4.0, 2.0))
    np.testing.assert_array_equal(joined, parts > 0)


def test_the_cuts_that_are_asked_again_do_not_grow_with_the_square_of_the_parts(monkeypatch):
    """One large part with a crumb at each of many places, which all become a part of it."""
    pushed = []
    push = heapq.heappush
    monkeypatch.setattr(
        heapq, "heappush", lambda queue, one: (pushed.append(one), push(queue, one))
    )
    crumbs = 20
    parts = np.zeros((3 * crumbs, 3 * crumbs, 3), np.int32)
    parts[:, :, :2] = 1
    parts[::3, ::3, 2] = np.arange(2, 2 + crumbs**2).reshape(crumbs, crumbs)
    np.testing.assert_array_equal(join_wide(parts, (3.0, 4.0, 2.0)), parts > 0)
    assert len(pushed) < 4 * crumbs**2


def test_certainty_is_in_logits_and_no_probability_is_infinite():
    said = certainty(np.array([0.5, 1.0, 0.0, 0.75], np.float32))
    assert said == pytest.approx([0, 13.8, -13.8, np.log(3)], abs=0.1)
