"""Instances of a dense prediction, against bodies whose split is known on paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.separate import Separated, depth_mm, separate, split
from tests.unit.segment.bodies import (
    SETTINGS,
    Ellipsoid,
    ball,
    depths,
    heatmap,
    picture,
    positions,
)


def oblique(shape=(38, 35, 27), spacing=(2.6, 3.1, 3.9), flips=(-1, 1, 1)) -> Geometry:
    """An oblique anisotropic left-handed grid about the origin."""
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", (12, -17, 24), degrees=True).as_matrix()
    affine[:3, :3] = rotation * np.array(flips) * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Geometry(shape, affine)


def predict(
    geometry: Geometry, bodies: list[Ellipsoid], *, centres: bool = True
) -> VoxelPrediction:
    seen = picture(geometry, bodies)
    return VoxelPrediction(
        seen.data[None],
        ("lesion",),
        geometry,
        heatmap(geometry, bodies) if centres else None,
    )


radii = st.floats(9, 16)
directions = st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.3, 1))


@given(radii, radii, directions, st.floats(0.85, 0.98))
def test_touching_balls_are_cut_in_the_plane_where_they_meet(first, second, direction, closeness):
    geometry = oblique()
    way = np.array(direction) / np.linalg.norm(direction)
    distance = closeness * (first + second)
    bodies = [
        ball(tuple(-way * distance / 2), first),
        ball(tuple(way * distance / 2), second),
    ]
    separated = separate(predict(geometry, bodies), SETTINGS)
    assert len(separated.structures) == 2

    # The radical plane of the two analytic balls, and a voxel's diagonal on either side of it.
    centres = np.array([body.centre for body in bodies])
    power = ((positions(geometry)[..., None, :] - centres) ** 2).sum(-1) - np.square(
        (first, second)
    )
    from_plane_mm = (power[..., 1] - power[..., 0]) / (2 * distance)
    clear = (np.abs(from_plane_mm) > np.linalg.norm(geometry.spacing_mm)) & (separated.labels > 0)
    of_first = separated.labels[clear & (from_plane_mm > 0)]
    of_second = separated.labels[clear & (from_plane_mm < 0)]
    assert len(set(of_first)) == len(set(of_second)) == 1
    assert set(of_first) != set(of_second)


def test_a_neck_splits_without_a_heatmap():
    geometry = oblique()
    bodies = [ball((-14, -3, -4), 14), ball((9.5, 4, 4), 12)]
    separated = separate(predict(geometry, bodies, centres=False), SETTINGS)
    assert len(separated.structures) == 2
    inside = separated.labels > 0
    body = depths(positions(geometry), bodies).argmax(axis=-1)[inside] + 1
    label = separated.labels[inside]
    same = np.count_nonzero(label == body) / len(label)
    assert max(same, 1 - same) > 0.98


@pytest.mark.parametrize("centres", [True, False])
@pytest.mark.parametrize("axes", [(30, 8, 9), (9, 34, 8), (12, 10, 33)])
def test_a_single_elongated_lesion_stays_whole(centres: bool, axes: tuple[float, float, float]):
    separated = separate(
        predict(oblique(), [Ellipsoid((2, -1, 3), axes)], centres=centres), SETTINGS
    )
    assert separated.structures == ("lesion",)
    assert set(np.unique(separated.labels)) == {0, 1}


def test_a_shallow_saddle_does_not_split_and_a_lower_prominence_does():
    geometry = oblique()
    bodies = [ball((-8, 0, 0), 11), ball((8, 0, 0), 11)]
    prediction = predict(geometry, bodies)
    saddle = float(np.exp(-(8**2) / (2 * 8**2)))  # 0.61 half-way between the centres
    coarse = SETTINGS.model_copy(update={"peak_prominence": 1 - saddle + 0.1})
    fine = SETTINGS.model_copy(update={"peak_prominence": 1 - saddle - 0.15})
    assert len(separate(prediction, coarse).structures) == 1
    assert len(separate(prediction, fine).structures) == 2


def test_components_that_touch_at_a_corner_are_one_and_others_are_not():
    geometry = Geometry((7, 8, 9), np.diag((2.0, 3.0, 4.0, 1.0)))
    probability = np.zeros((1, 7, 8, 9), np.float32)
    probability[0, 1, 1, 1] = probability[0, 2, 2, 2] = 0.9
    probability[0, 4, 4, 4] = 0.8
    heat = np.zeros(geometry.shape, np.float32)
    separated = separate(VoxelPrediction(probability, ("lesion",), geometry, heat), SETTINGS)
    assert len(separated.structures) == 2
    assert separated.labels[1, 1, 1] == separated.labels[2, 2, 2] != separated.labels[4, 4, 4]


def test_structures_that_touch_are_two_instances():
    geometry = Geometry((6, 7, 9), np.diag((2.0, 3.0, 4.0, 1.0)))
    probability = np.zeros((2, 6, 7, 9), np.float32)
    probability[0, 1:5, 2:5, 1:5] = 0.9
    probability[1, 1:5, 2:5, 4:8] = 0.95
    heat = np.zeros(geometry.shape, np.float32)
    prediction = VoxelPrediction(probability, ("lesion", "bone lesion"), geometry, heat)
    separated = separate(prediction, SETTINGS)
    assert separated.structures == ("lesion", "bone lesion")
    assert set(separated.labels[1:5, 2:5, 1:4].flat) == {1}
    assert set(separated.labels[1:5, 2:5, 4:8].flat) == {2}


@pytest.mark.parametrize("centres", [True, False])
def test_nothing_found_is_no_instance(centres: bool):
    geometry = Geometry((5, 6, 8), np.diag((2.0, 3.0, 4.0, 1.0)))
    heat = np.zeros(geometry.shape, np.float32) if centres else None
    probability = np.full((1, 5, 6, 8), 0.2, np.float32)
    separated = separate(VoxelPrediction(probability, ("lesion",), geometry, heat), SETTINGS)
    assert separated.structures == ()
    assert not separated.labels.any()


def test_the_same_prediction_gives_the_same_labels():
    geometry = oblique()
    bodies = [ball((-14, -3, -4), 14), ball((9.5, 4, 4), 12), ball((0, 25, 8), 9)]
    first, second = (separate(predict(geometry, bodies), SETTINGS) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)


def test_depth_is_in_mm_and_the_edge_of_the_array_is_outside():
    mask = np.zeros((7, 6, 5), bool)
    mask[0:5, 1:5, :] = True
    depth = depth_mm(mask, (2.0, 10.0, 30.0))
    assert depth[2, 2, 2] == pytest.approx(6.0)  # three voxels of 2 mm to either end
    assert depth[0, 2, 2] == pytest.approx(2.0)
    assert not depth[~mask].any()


def test_a_peak_inside_the_ball_of_another_keeps_its_own_voxels():
    geometry = Geometry((21, 19, 15), np.diag((2.0, 2.2, 3.0, 1.0)))
    middle = geometry.to_world(np.array((10, 9, 7)))
    mask = depths(positions(geometry), [ball(tuple(middle), 18)])[..., 0] > 0
    parts = split(mask, np.array([(10, 9, 7), (14, 9, 7)]), geometry.spacing_mm)
    assert parts[10, 9, 7] == 1
    assert parts[14, 9, 7] == 2
    assert np.array_equal(parts > 0, mask)


def test_labels_and_foreground_that_disagree_are_refused():
    geometry = Geometry((3, 4, 5), np.diag((2.0, 3.0, 4.0, 1.0)))
    labels = np.zeros(geometry.shape, np.int32)
    labels[1, 1, 1] = 1
    with pytest.raises(ValueError, match="disagree"):
        Separated(labels, ("lesion",), np.zeros(geometry.shape, np.float32), 0.5, geometry)
    with pytest.raises(ValueError, match="on a grid"):
        Separated(labels[1:], ("lesion",), labels.astype(np.float32), 0.5, geometry)
