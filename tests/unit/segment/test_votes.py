"""Instances by votes for centres, against bodies whose split is known on paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.separate import separate
from medseg.segment.votes import centre_landscape, split_by_votes, votes
from tests.unit.segment.bodies import (
    SETTINGS,
    Ellipsoid,
    ball,
    depths,
    heatmap,
    picture,
    positions,
)


def oblique(shape=(38, 35, 27), spacing=(2.6, 3.1, 3.9)) -> Geometry:
    """An oblique anisotropic left-handed grid about the origin."""
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", (12, -17, 24), degrees=True).as_matrix()
    affine[:3, :3] = rotation * np.array((-1, 1, 1)) * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Geometry(shape, affine)


def owners(geometry: Geometry, bodies: list[Ellipsoid]) -> np.ndarray:
    return depths(positions(geometry), bodies).argmax(axis=-1)


def predict(geometry: Geometry, bodies: list[Ellipsoid], *, noise_mm: float = 0) -> VoxelPrediction:
    """Probabilities and offsets as a network that knows the bodies, a flat heatmap."""
    places = positions(geometry)
    centres = np.array([body.centre for body in bodies])[owners(geometry, bodies)]
    ways = centres - places + np.random.default_rng(5).normal(0, noise_mm, places.shape)
    return VoxelPrediction(
        picture(geometry, bodies).data[None],
        ("lesion",),
        geometry,
        np.full(geometry.shape, 0.4, np.float32),
        np.moveaxis(ways, -1, 0).astype(np.float32),
    )


def with_heatmap(prediction: VoxelPrediction, heat: np.ndarray) -> VoxelPrediction:
    return VoxelPrediction(
        prediction.probabilities, ("lesion",), prediction.geometry, heat, prediction.offsets_mm
    )


def test_a_vote_is_cast_in_the_voxel_that_the_offset_in_mm_points_to():
    geometry = oblique()
    mask = np.zeros((6, 7, 5), bool)
    mask[1:4, 2:6, 0:3] = True
    target = np.array([2.4, 3.7, 1.1])
    ways = np.moveaxis(geometry.to_world(np.argwhere(np.ones_like(mask))), -1, 0)
    offsets = (geometry.to_world(target)[:, None] - ways).reshape(3, *mask.shape)
    seen = votes(mask, offsets.astype(np.float32), geometry)
    np.testing.assert_allclose(seen, np.broadcast_to(target, seen.shape), atol=1e-4)


radii = st.floats(11, 16)
directions = st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.3, 1))


@given(radii, radii, directions, st.sampled_from((0.0, 1.5, 3.0)))
def test_touching_balls_are_told_apart_by_votes_that_are_off_by_some_mm(
    first, second, direction, noise_mm
):
    geometry = oblique()
    way = np.array(direction) / np.linalg.norm(direction) * 0.48 * (first + second)
    bodies = [ball(tuple(-way), first), ball(tuple(way), second)]
    separated = separate(predict(geometry, bodies, noise_mm=noise_mm), SETTINGS)
    assert len(separated.structures) == 2
    inside = separated.labels > 0
    same = (separated.labels == owners(geometry, bodies) + 1)[inside].mean()
    assert max(same, 1 - same) > (0.999 if noise_mm == 0 else 0.93)


def test_a_small_lesion_at_a_large_one_is_not_cut_half_way():
    geometry = oblique()
    bodies = [ball((-8, 0, 0), 24), ball((23, 3, 1), 8)]
    separated = separate(predict(geometry, bodies, noise_mm=1), SETTINGS)
    inside = separated.labels > 0
    sizes = sorted(np.bincount(separated.labels[inside])[1:])
    expected = sorted(np.bincount(owners(geometry, bodies)[inside]))
    assert sizes == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("axes", [(30, 8, 9), (9, 34, 8), (12, 10, 33), (26, 25, 27)])
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_one_lesion_whose_votes_scatter_stays_whole(axes, share):
    bodies = [Ellipsoid((2, -1, 3), axes)]
    prediction = predict(oblique(), bodies, noise_mm=share * np.cbrt(np.prod(axes)))
    assert separate(prediction, SETTINGS).structures == ("lesion",)


def test_sharp_centres_split_where_offsets_say_nothing():
    geometry = oblique()
    bodies = [ball((-13, 1, 0), 14), ball((13, -1, 2), 13)]
    prediction = predict(geometry, bodies)
    nothing = np.zeros((3, *geometry.shape), np.float32)
    blind = VoxelPrediction(
        prediction.probabilities,
        ("lesion",),
        geometry,
        heatmap(geometry, bodies, sigma_mm=6),
        nothing,
    )
    assert len(separate(blind, SETTINGS).structures) == 2
    flat = VoxelPrediction(
        prediction.probabilities, ("lesion",), geometry, prediction.centre_heatmap, nothing
    )
    assert len(separate(flat, SETTINGS).structures) == 1


def test_a_ring_whose_centre_is_none_of_its_voxels_is_one_lesion():
    geometry = oblique()
    places = positions(geometry)
    radius = np.hypot(places[..., 0], places[..., 1])
    ring = (np.abs(radius - 24) < 7) & (np.abs(places[..., 2]) < 8)
    heat = np.exp(-(places**2).sum(-1) / (2 * 6**2)).astype(np.float32)
    prediction = VoxelPrediction(
        ring[None].astype(np.float32),
        ("lesion",),
        geometry,
        heat,
        np.moveaxis(-places, -1, 0).astype(np.float32),
    )
    assert separate(prediction, SETTINGS).structures == ("lesion",)


def test_a_centre_of_another_lesion_in_the_box_does_not_count():
    mask = np.zeros((12, 13, 7), bool)
    mask[:3, :, 2:5] = mask[:, :3, 2:5] = True  # an L, in whose corner another lesion lies
    heat = np.zeros(mask.shape, np.float32)
    heat[1, 1, 3], heat[9, 9, 3] = 0.9, 1.0
    seen = np.broadcast_to((1.0, 1.0, 3.0), (int(mask.sum()), 3))
    landscape = centre_landscape(mask, seen, heat, (2.0, 2.5, 3.0))
    assert landscape[1, 1, 3] > 0.85
    assert landscape[9, 9, 3] == 0


def test_a_vote_counts_the_same_in_mm_along_every_axis():
    mask = np.ones((21, 17, 9), bool)
    landscape = centre_landscape(
        mask, np.array([[10.0, 8.0, 4.0]]), np.zeros(mask.shape, np.float32), (2.0, 3.0, 6.0)
    )
    along = [landscape[13, 8, 4], landscape[10, 10, 4], landscape[10, 8, 5]]  # 6 mm away each
    assert along == pytest.approx([along[0]] * 3, rel=0.02)
    assert 0 < along[0] < landscape[10, 8, 4]


def test_voxels_cut_off_from_their_own_go_to_those_around_them():
    mask = np.zeros((9, 6, 5), bool)
    mask[1:8, 1:5, 1:4] = True
    peaks = np.array([(2, 2, 2), (6, 2, 2)])
    places = np.argwhere(mask)
    seen = np.where((places[:, :1] < 4), peaks[0], peaks[1]).astype(float)
    stray = (places == (6, 3, 2)).all(axis=1)
    seen[stray] = peaks[0]
    parts = split_by_votes(mask, seen, peaks, (2.0, 2.5, 3.0))
    assert set(parts[1:4, 1:5, 1:4].flat) == {1}
    assert set(parts[4:8, 1:5, 1:4].flat) == {2}
    assert not parts[~mask].any()


def test_a_peak_that_no_voxel_votes_for_is_no_instance():
    geometry = oblique()
    bodies = [ball((-13, 1, 0), 14), ball((13, -1, 2), 13)]
    prediction = predict(geometry, bodies)
    heat = heatmap(geometry, [*bodies, ball((0, 0, 0), 3)], sigma_mm=3)
    labels = separate(with_heatmap(prediction, heat), SETTINGS)
    assert sorted(np.unique(labels.labels)) == list(range(len(labels.structures) + 1))
