"""Labels from the model's grid on the acquired one."""

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.errors import ModelError
from medseg.segment.clean import drop_doubtful
from medseg.segment.restore import restore
from medseg.segment.separate import Separated, separate
from tests.unit.segment.bodies import SETTINGS, ball, heatmap, picture, positions


def grid(shape, diagonal, origin=(0.0, 0.0, 0.0)) -> Geometry:
    affine = np.diag((*diagonal, 1.0))
    affine[:3, 3] = origin
    return Geometry(shape, affine)


def separated_of(labels: np.ndarray, geometry: Geometry, value: float = 1.0) -> Separated:
    structures = tuple(["lesion"] * int(labels.max()))
    foreground = np.where(labels > 0, value, 0).astype(np.float32)
    return Separated(labels.astype(np.int32), structures, foreground, 0.5, geometry)


def test_the_same_grid_keeps_every_voxel():
    geometry = grid((9, 8, 11), (-2.0, 3.0, 4.0), (5, 6, 7))
    labels = np.zeros(geometry.shape, int)
    labels[1:4, 1:7, 2:9] = 1
    labels[4:6, 1:7, 2:9] = 2
    labels[8, 7, 10] = 3
    restored, sources, flags = restore(separated_of(labels, geometry), geometry)
    np.testing.assert_array_equal(restored, labels)
    assert restored.dtype == np.uint16
    assert sources == (1, 2, 3)
    assert flags == ()


def test_the_largest_comes_first_and_equals_from_head_to_foot():
    geometry = grid((12, 11, 13), (-2.0, 3.0, -4.0))  # i runs to the left, k to the feet
    boxes = {
        5: np.s_[1:3, 1:3, 1:3],  # four of equal size: highest and farthest right
        2: np.s_[5:7, 1:3, 1:3],  # as high, more to the left
        4: np.s_[1:3, 7:9, 1:3],  # as high, farther in front: comes before both
        1: np.s_[1:3, 1:3, 6:8],  # lower
        3: np.s_[5:8, 4:8, 6:9],  # the largest
    }
    labels = np.zeros(geometry.shape, int)
    for label, box in boxes.items():
        labels[box] = label
    restored, sources, _ = restore(separated_of(labels, geometry), geometry)
    assert sources == (3, 4, 5, 2, 1)
    order = [int(restored[boxes[label]].max()) for label in (3, 4, 5, 2, 1)]
    assert order == [1, 2, 3, 4, 5]


def test_two_lesions_that_touch_are_cut_in_the_same_plane_on_a_finer_grid():
    model = grid((16, 10, 9), (4.0, 4.2, 5.0))
    labels = np.zeros(model.shape, int)
    labels[2:8, 2:8, 2:7] = 1
    labels[8:13, 2:8, 2:7] = 2
    fine = grid((60, 40, 22), (1.0, 1.1, 2.0), (1.3, 1.2, 1.1))
    restored, _, _ = restore(separated_of(labels, model), fine)
    r = positions(fine)[..., 0]
    assert (r[restored == 1] <= 7.5 * 4).all()
    assert (r[restored == 2] >= 7.5 * 4).all()
    assert restored.max() == 2


def test_dropped_foreground_does_not_come_back():
    model = grid((16, 12, 11), (4.0, 4.2, 5.0))
    probability = np.full((1, *model.shape), 0.2, np.float32)
    probability[0, 2:5, 2:5, 2:5] = 0.95
    probability[0, 7:12, 2:8, 2:8] = 0.6
    settings = SETTINGS.model_copy(update={"min_peak": 0.7})
    left = drop_doubtful(VoxelPrediction(probability, ("lesion",), model), settings, None)
    separated = separate(left, settings)
    fine = grid((60, 40, 30), (1.0, 1.1, 1.7), (0.2, 0.3, 0.4))
    restored, sources, _ = restore(separated, fine)
    assert len(sources) == 1
    assert positions(fine)[restored > 0][:, 0].max() < 5 * 4


def test_what_lies_between_the_voxels_is_shown_as_one_and_flagged():
    model = grid((15, 16, 17), (1.0, 1.1, 1.2))
    labels = np.zeros(model.shape, int)
    labels[7, 7, 7] = 1
    labels[1:5, 9:14, 9:15] = 2
    coarse = grid((5, 4, 6), (4.0, 4.5, 3.2), (1.2, 1.0, 0.7))
    restored, sources, flags = restore(separated_of(labels, model, 0.6), coarse)
    assert len(sources) == 2
    assert np.count_nonzero(restored == 2) == 1
    assert [flag.code for flag in flags] == ["smaller-than-voxel"]
    assert "2" in flags[0].message
    centre = coarse.to_world(np.argwhere(restored == 2)[0])
    off = np.abs(centre - model.to_world(np.array((7, 7, 7))))
    assert (off <= np.array(coarse.spacing_mm) / 2).all()


def test_what_lies_beyond_the_grid_is_lost_and_flagged():
    model = grid((9, 10, 12), (2.0, 2.1, 2.2))
    labels = np.zeros(model.shape, int)
    labels[1:3, 1:3, 1:3] = 1
    labels[8, 9, 11] = 2
    half = grid((4, 9, 11), (2.0, 2.1, 2.2))
    restored, sources, flags = restore(separated_of(labels, model), half)
    assert sources == (1,)
    assert set(np.unique(restored)) == {0, 1}
    assert [flag.code for flag in flags] == ["instance-lost"]


def test_two_that_would_need_the_same_voxel_are_one_shown_and_one_lost():
    model = grid((15, 16, 17), (1.0, 1.1, 1.2))
    labels = np.zeros(model.shape, int)
    labels[6, 7, 7], labels[8, 7, 7] = 1, 2
    coarse = grid((3, 3, 3), (9.0, 9.5, 9.2), (-1.5, -2.0, -0.5))
    restored, sources, flags = restore(separated_of(labels, model, 0.6), coarse)
    assert len(sources) == 1
    assert np.count_nonzero(restored) == 1
    assert [flag.code for flag in flags] == ["smaller-than-voxel", "instance-lost"]


def test_nothing_stays_nothing_and_a_single_slice_works():
    model = grid((9, 10, 1), (2.0, 2.1, 2.2))
    empty = np.zeros(model.shape, int)
    restored, sources, flags = restore(separated_of(empty, model), model)
    assert not restored.any()
    assert (sources, flags) == ((), ())
    empty[3:5, 2:6, 0] = 1
    restored, sources, _ = restore(separated_of(empty, model), model)
    np.testing.assert_array_equal(restored, empty)


def test_more_instances_than_labels_are_refused():
    model = grid((64, 33, 32), (1.0, 1.1, 1.2))
    labels = np.arange(1, 64 * 33 * 32 + 1).reshape(model.shape)
    with pytest.raises(ModelError, match="67584"):
        restore(separated_of(labels, model), grid((4, 5, 6), (1.0, 1.0, 2.0)))


def test_a_finer_grid_sees_a_smoother_ball_of_the_same_volume():
    model = grid((16, 17, 14), (4.0, 4.2, 5.0))
    centre = tuple(model.to_world(np.array((7.3, 8.1, 6.4))))
    bodies = [ball(centre, 14)]
    prediction = VoxelPrediction(
        picture(model, bodies).data[None], ("lesion",), model, heatmap(model, bodies)
    )
    fine = grid((60, 66, 68), (1.0, 1.05, 1.0), (0.3, 0.2, 0.1))
    restored, _, _ = restore(separate(prediction, SETTINGS), fine)
    volume = np.count_nonzero(restored) * fine.voxel_volume_mm3
    # Linear interpolation over a cell of diagonal D moves the surface of a ball by less than
    # D² / 8 / (R - D) = 0.95 mm, and inwards, for the depth is concave.
    assert 4 / 3 * np.pi * 13.05**3 < volume < bodies[0].volume_mm3 * 1.02
