from dataclasses import replace

import cc3d
import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.dense import find_lesions
from medseg.segment.separate import Separated
from medseg.segment.smooth import smooth

SPACING_MM = (4.0, 3.0, 2.0)
SHAPE = (40, 50, 80)
MIDDLE_MM = (80.0, 75.0, 80.0)


def distance(centre_mm: tuple[float, float, float] = MIDDLE_MM) -> NDArray[np.float64]:
    grids = np.ogrid[tuple(slice(n) for n in SHAPE)]
    square = sum(
        (grid * step - c) ** 2 for grid, step, c in zip(grids, SPACING_MM, centre_mm, strict=True)
    )
    return np.sqrt(square)


def separated(*masks: NDArray[np.bool_], sure: float = 1.0, beside: float = 1e-3) -> Separated:
    labels = np.zeros(SHAPE, np.int32)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return Separated(
        labels,
        ("lesion",) * len(masks),
        np.where(labels > 0, sure, beside).astype(np.float32),
        0.5,
        Geometry(SHAPE, np.diag((*SPACING_MM, 1.0))),
    )


def radius_mm(mask: NDArray[np.bool_]) -> float:
    return float(np.cbrt(mask.sum() * np.prod(SPACING_MM) / (4 / 3 * np.pi)))


@pytest.mark.parametrize("smooth_mm", [4.0, 6.0])
def test_a_ball_shrinks_as_its_curvature_says(smooth_mm: float) -> None:
    ball = distance() < 45
    smoothed = smooth(separated(ball), smooth_mm).labels > 0
    assert radius_mm(smoothed) == pytest.approx(45 - smooth_mm**2 / 45, abs=0.1)
    assert radius_mm(ball) == pytest.approx(45, abs=0.1)


def test_a_small_ball_keeps_its_share_of_its_radius() -> None:
    smoothed = smooth(separated(distance() < 12), 30).labels > 0
    assert radius_mm(smoothed) == pytest.approx(12 * (1 - 0.2**2), abs=0.2)


def test_a_spike_goes_and_a_notch_is_filled() -> None:
    ball = distance() < 40
    spike = np.zeros(SHAPE, bool)
    spike[19:21, 24:26, 59:72] = True
    notch = np.zeros(SHAPE, bool)
    notch[19:21, 24:26, 20:27] = True
    smoothed = smooth(separated((ball | spike) & ~notch), 6).labels > 0
    assert not smoothed[19:21, 24:26, 63:].any()
    assert smoothed[19:21, 24:26, 23:27].all()


def test_neighbours_that_touch_go_on_touching_in_the_same_plane() -> None:
    near, far = distance((60, 75, 80)), distance((100, 75, 80))
    left, right = (near < 22) & (near <= far), (far < 22) & (far < near)
    smoothed = smooth(separated(left, right), 5)
    line = smoothed.labels[:, 25, 40]
    assert line[12:29].all()
    assert sorted(set(line[line > 0].tolist())) == [1, 2]
    before = separated(left, right).labels
    both = (smoothed.labels > 0) & (before > 0)
    assert np.array_equal(smoothed.labels[both], before[both])


def test_a_small_one_beside_a_large_one_is_smoothed_as_little_as_alone() -> None:
    large, small = distance((60, 75, 80)) < 40, distance((112, 75, 80)) < 8
    together = smooth(separated(large, small), 6).labels == 2
    alone = smooth(separated(small), 6).labels == 1
    assert np.array_equal(together, alone)
    assert together.any()


def test_a_sheet_stays_as_it_is_with_a_lump_too_and_takes_nothing_from_its_neighbour() -> None:
    sheet = np.zeros(SHAPE, bool)
    sheet[5:35, 5:45, 40] = True
    ball = distance((80, 75, 130)) < 20
    for lump in (np.zeros(SHAPE, bool), distance() < 10):
        given = separated(sheet | lump, ball, sure=0.95)
        smoothed = smooth(given, 6)
        assert np.array_equal(smoothed.labels == 1, sheet | lump)
        assert np.array_equal(smoothed.foreground[sheet], given.foreground[sheet])
        assert 0.8 * ball.sum() <= (smoothed.labels == 2).sum() < ball.sum()


def test_what_would_fall_in_two_stays_as_it_is_and_a_crumb_that_is_cut_off_goes() -> None:
    large, small = distance((60, 75, 80)) < 34, distance((60, 75, 134)) < 7
    other = distance((60, 75, 134)) < 14
    bridge = np.zeros(SHAPE, bool)
    bridge[15, 25, 40:67] = True
    whole = large | bridge | other
    assert np.array_equal(smooth(separated(whole), 5).labels > 0, whole)
    crumb = smooth(separated(large | bridge | small), 5).labels > 0
    assert cc3d.connected_components(crumb, connectivity=26, return_N=True)[1] == 1
    assert not crumb[15, 25, 64:].any()
    assert (crumb & large).sum() > 0.9 * large.sum()


def test_nothing_comes_where_foreground_was_dropped() -> None:
    ball = distance() < 30
    given = separated(ball, beside=0.4)
    dropped = np.zeros(SHAPE, bool)
    dropped[:, :, 55:] = True
    given.foreground[dropped & ~ball] = 0
    smoothed = smooth(given, 6)
    assert (smoothed.labels > 0).sum() > ball.sum()
    assert not (smoothed.labels > 0)[dropped & ~ball].any()


def test_probabilities_of_two_structures_are_not_summed() -> None:
    left, right = distance((50, 75, 80)) < 24, distance((110, 75, 80)) < 24
    one, two = ("lesion", "lesion"), ("lesion", "node lesion")
    between = [
        (smooth(replace(separated(left, right, beside=0.3), structures=kinds), 6).foreground)
        for kinds in (one, two)
    ]
    assert between[0][20, 25, 40] > 0.3  # half-way
    assert between[0][20, 25, 40] == pytest.approx(2 * between[1][20, 25, 40], rel=0.25)


def test_no_width_and_no_instance_change_nothing() -> None:
    given = separated(distance() < 20)
    assert smooth(given, 0) is given
    nothing = separated()
    assert smooth(nothing, 6) is nothing


def test_one_at_the_edge_of_the_scan_is_not_worn_down_there() -> None:
    slab = distance((80, 75, 0)) < 40
    smoothed = smooth(separated(slab), 6).labels > 0
    assert smoothed[20, 25, 0]
    assert smoothed[..., 0].sum() > 0.9 * slab[..., 0].sum()


def test_lesions_of_a_dense_model_are_smoothed_where_the_protocol_says_so() -> None:
    ball = distance() < 40
    ball[19:21, 24:26, 59:72] = True
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    prediction = VoxelPrediction(ball[None].astype(np.float32), ("lesion",), geometry)
    kept, _ = find_lesions(prediction, SegmentSettings(model="none"), None)
    smoothed, flags = find_lesions(prediction, SegmentSettings(model="none", smooth_mm=6), None)
    assert kept.labels[20, 25, 70] == 1
    assert smoothed.labels[20, 25, 70] == 0
    assert flags == ()
