"""Surfaces against MONAI's, whose areas are DeepMind's table, and against a ball."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.utils import get_mask_edges
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medseg.core.geometry import Geometry
from medseg.evaluate.surface import Surfaces, compare, surface_of
from tests.strategies import geometries


def ragged(geometry: Geometry, seed: int, share: float) -> np.ndarray:
    """A mask with smooth and single-voxel parts, off the edge of the grid and of whole rows."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=geometry.shape), 1.0)
    mask = (field > np.quantile(field, 1 - share)) | (rng.random(geometry.shape) < 0.01)
    mask[0] = mask[:, 0] = mask[:, :, 0] = False
    mask[-1] = mask[:, -1] = mask[:, :, -1] = False
    mask[2, 2, 2] = True
    return mask


def naive(
    one: np.ndarray, other: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> tuple[float, float]:
    """Surface Dice and HD95 from MONAI's edges and areas and scipy's distance transform."""
    tensors = (torch.from_numpy(mask) for mask in (one, other))
    edges = get_mask_edges(*tensors, crop=False, spacing=list(spacing))
    a, b, area_a, area_b = (np.asarray(e).squeeze() for e in edges)
    worst, within, total = 0.0, 0.0, 0.0
    for of, to, area in ((a, b, area_a), (b, a, area_b)):
        away = distance_transform_edt(~to, sampling=spacing)[of]
        weight = area[of].astype(float)
        within += weight[away <= tolerance].sum()
        total += weight.sum()
        enough = 0.95 * weight.sum() * (1 - 1e-7)
        worst = max(worst, min(d for d in away if weight[away <= d].sum() >= enough))
    return within / total, worst


@given(geometries(6, 12), st.integers(0, 2**32 - 1), st.floats(0.5, 4))
@settings(max_examples=50)
def test_surfaces_agree_as_monai_and_a_distance_transform_say(
    geometry: Geometry, seed: int, tolerance: float
) -> None:
    one, other = ragged(geometry, seed, 0.2), ragged(geometry, seed + 1, 0.3)
    dice, hd95 = naive(one, other, geometry.spacing_mm, tolerance)
    ours = compare(surface_of(one, geometry), surface_of(other, geometry), tolerance)
    assert ours.dice == pytest.approx(dice, abs=1e-6)
    assert ours.hd95_mm == pytest.approx(hd95, abs=1e-6)


def test_the_surface_of_a_ball_has_its_area_on_a_sheared_grid() -> None:
    affine = np.array([[0.5, 0.2, 0.1, 0], [0, 0.7, 0.15, 0], [0, 0, 0.9, 0], [0, 0, 0, 1.0]])
    geometry = Geometry((70, 45, 31), affine)
    middle = geometry.to_world((np.array(geometry.shape) - 1) / 2)
    places = geometry.to_world(np.moveaxis(np.indices(geometry.shape), 0, -1))
    ball = np.linalg.norm(places - middle, axis=-1) <= 9
    surface = surface_of(ball, geometry)
    # The surface of a binary mask is rough: it is a tenth or so larger than the ball's.
    assert 1.0 < surface.areas_mm2.sum() / (4 * np.pi * 81) < 1.15
    assert np.linalg.norm(surface.points_mm - middle, axis=1) == pytest.approx(9, abs=0.8)


def test_two_balls_lie_as_far_apart_as_their_radii_differ() -> None:
    geometry = Geometry((41, 60, 37), np.diag([0.9, 0.6, 1.0, 1.0]))
    places = geometry.to_world(np.moveaxis(np.indices(geometry.shape), 0, -1))
    away = np.linalg.norm(places - geometry.to_world(np.array((20, 29, 18))), axis=-1)
    small, large = surface_of(away <= 10, geometry), surface_of(away <= 13, geometry)
    scores = compare(small, large, 1.0)
    assert scores.hd95_mm == pytest.approx(3, abs=0.7)
    assert scores.dice == 0
    assert compare(small, large, 4.0).dice == 1


def test_one_label_has_the_surface_of_its_mask() -> None:
    geometry = Geometry((9, 8, 7), np.diag([1.1, 0.9, 2.0, 1.0]))
    labels = np.zeros(geometry.shape, np.uint16)
    labels[2:5, 3:6, 0:3] = 4
    labels[5:8, 3:6, 1:4] = 2
    one = Surfaces(labels, geometry).of(4)
    other = surface_of(labels == 4, geometry)
    assert sorted(map(tuple, one.points_mm)) == sorted(map(tuple, other.points_mm))
    assert one.areas_mm2.sum() == pytest.approx(other.areas_mm2.sum())
    with pytest.raises(KeyError):
        Surfaces(labels, geometry).of(3)


def test_nothing_has_no_distance() -> None:
    geometry = Geometry((5, 6, 7), np.diag([1.1, 0.9, 2.0, 1.0]))
    nothing = np.zeros(geometry.shape, bool)
    something = nothing.copy()
    something[2, 3, 4] = True
    empty, point = surface_of(nothing, geometry), surface_of(something, geometry)
    assert compare(empty, empty, 1).hd95_mm == 0
    assert np.isnan(compare(empty, empty, 1).dice)
    assert compare(point, empty, 1).hd95_mm == np.inf
    assert compare(point, empty, 1).dice == 0
