"""Laws of the way from the acquired grid to the model's and back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.instances import Delineation
from medseg.core.volume import Volume
from medseg.segment.delineate import delineate
from tests.strategies import affines
from tests.unit.segment.bodies import (
    SETTINGS,
    Ellipsoid,
    Threshold,
    ball,
    picture,
    positions,
)

EXTENTS_MM = (96.0, 104.0, 113.0)


@st.composite
def grids(draw: st.DrawFn) -> Geometry:
    """Oblique, anisotropic, left- and right-handed grids of a part of a body."""
    affine = draw(affines())
    spacing = np.array([draw(st.floats(1.9, 3.6)) for _ in range(3)])
    affine[:3, :3] *= spacing / np.linalg.norm(affine[:3, :3], axis=0)
    i, j, k = (int(n) + 1 for n in np.array(draw(st.permutations(EXTENTS_MM))) / spacing)
    return Geometry((i, j, k), affine)


def middle(geometry: Geometry) -> NDArray[np.float64]:
    return geometry.to_world((np.array(geometry.shape) - 1) / 2)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Geometry, list[Ellipsoid], Threshold]:
    """A large lesion right of the middle, a smaller one left of it, and a model for their grid.

    The model's grid is finer or coarser, yet not so coarse that a blur is needed.
    """
    geometry = draw(grids())
    centre = middle(geometry) + [draw(st.floats(-2, 2)) for _ in range(3)]
    bodies = [
        ball(tuple(centre + np.array((30.3, 0, 0))), draw(st.floats(11.5, 13.1))),
        ball(tuple(centre - np.array((29.7, 0, 0))), draw(st.floats(9.3, 10.2))),
    ]
    by_world = [geometry.spacing_mm[geometry.world_axes.index(world)] for world in range(3)]
    spacing = [mm * draw(st.floats(0.7, 1.2)) for mm in by_world]
    return geometry, bodies, Threshold((spacing[0], spacing[1], spacing[2]), tuple(bodies))


def find(volume: Volume, model: Threshold) -> Delineation:
    return delineate({"pet": volume}, model, SETTINGS, identity="law")


def interpolation_errors(
    rho: NDArray[np.float64], acquired_mm: float, model_mm: float
) -> NDArray[np.float64]:
    """Most that two linear interpolations take from the depth at a distance rho from the centre.

    The depth f = R - |x - c| is concave, and an interpolated value is a mean of f over the corners
    y of a cell with diagonal D whose weighted mean is x. So it is at most f(x) (Jensen), and from
    |y - c| <= rho + u (y - x) + |y - x|² / (2 rho) and a variance of at most D² / 4 it is at least
    f(x) - D² / (8 rho). The first interpolation happens at corners of the second one's cell, no
    nearer to the centre than rho - D. Near the centre the slope of 1 bounds both.
    """
    with np.errstate(divide="ignore"):
        second = model_mm**2 / 8 / rho
        first = acquired_mm**2 / 8 / np.maximum(rho - model_mm, 0)
    return np.minimum(first + second, (acquired_mm + model_mm) / 2)


@given(cases())
def test_restored_lesions_lie_where_they_are_and_are_as_large_as_they_are(case):
    geometry, bodies, model = case
    lesions = find(picture(geometry, bodies), model).lesions
    assert len(lesions.instances) == 2
    acquired_mm, model_mm = (
        float(np.linalg.norm(mm)) for mm in (geometry.spacing_mm, model.spacing_mm)
    )
    for number, body in enumerate(bodies):
        radius = body.axes[0]
        mask = lesions.labels == number + 1
        rho = np.linalg.norm(positions(geometry) - body.centre, axis=-1)
        assert (rho[mask] <= radius + 1e-3).all()
        deep = radius - rho > interpolation_errors(rho, acquired_mm, model_mm) + 1e-3
        assert deep.any()
        assert mask[deep].all()

        steps = np.linspace(0, radius, 400)
        doubtful = radius - steps <= interpolation_errors(steps, acquired_mm, model_mm) + 1e-3
        half = acquired_mm / 2  # a voxel reaches half its diagonal beyond its centre
        equivalent = (np.count_nonzero(mask) * geometry.voxel_volume_mm3 * 3 / 4 / np.pi) ** (1 / 3)
        assert steps[doubtful].min() - half < equivalent < radius + half
        centroid = positions(geometry)[mask].mean(axis=0)
        assert np.linalg.norm(centroid - body.centre) < half


@settings(max_examples=25)
@given(cases(), st.permutations((0, 1, 2)), st.tuples(*[st.booleans()] * 3))
def test_storing_the_volume_in_another_order_changes_no_lesion(case, order, flips):
    geometry, bodies, model = case
    seen = picture(geometry, bodies)
    step = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    affine = geometry.affine[:, [*order, 3]].copy()
    stored = seen.data.transpose(order)[step]
    last = np.array(stored.shape) - 1
    affine[:3, 3] += affine[:3, :3] @ (last * flips)
    affine[:3, :3] *= np.where(flips, -1, 1)
    again = find(Volume(stored, Geometry(stored.shape, affine), seen.unit), model)
    expected = find(seen, model)
    back = again.lesions.labels[step].transpose(np.argsort(order))
    np.testing.assert_array_equal(back, expected.lesions.labels)
    assert again.lesions.instances == expected.lesions.instances


@settings(max_examples=20)
@given(cases())
def test_the_right_lesion_stays_right(case):
    geometry, bodies, model = case
    labels = find(picture(geometry, bodies), model).lesions.labels
    r = positions(geometry)[..., 0] - middle(geometry)[0]
    assert (r[labels == 1] > 0).all(), "the large lesion lies right of the middle"
    assert (r[labels == 2] < 0).all()


@settings(max_examples=5)
@given(cases())
def test_the_same_study_gives_the_same_labels(case):
    geometry, bodies, model = case
    first, second = (find(picture(geometry, bodies), model) for _ in range(2))
    np.testing.assert_array_equal(first.lesions.labels, second.lesions.labels)
    assert first.lesions.instances == second.lesions.instances
