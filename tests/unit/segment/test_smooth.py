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


def separated(*masks: NDArray[np.bool_], sure: float = 1.0) -> Separated:
    labels = np.zeros(SHAPE, np.int32)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return Separated(
        labels,
        ("lesion",) * len(masks),
        ((labels > 0) * sure).astype(np.float32),
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


def test_a_thin_one_stays_as_it_is() -> None:
    plate = np.zeros(SHAPE, bool)
    plate[5:35, 5:45, 40] = True
    ball = distance((80, 75, 130)) < 20
    given = separated(plate, ball, sure=0.7)
    smoothed = smooth(given, 6)
    assert np.array_equal(smoothed.labels == 1, plate)
    assert (smoothed.foreground[plate] >= 0.5).all()
    assert 0 < (smoothed.labels == 2).sum() < ball.sum()


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
