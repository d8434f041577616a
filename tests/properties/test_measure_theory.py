"""Balls and ellipsoids on oblique anisotropic grids agree with theory within the voxel error.

A voxel belongs to the instance where its centre lies in the solid E. Two lengths bound what that
costs: `half_pixel`, the distance from the centre of a pixel of an axial slice to its farthest
corner, and `half_voxel`, the same for a voxel. A region R of voxel boxes then satisfies

    (1) R lies within E grown by half_voxel: each point of R is that near to a centre in E;
    (2) R holds every point that is at least half_voxel inside E: the centre of the box that the
        point lies in is no farther from it than that, so it is in E.

In a slice the same holds of the section of E, the union of pixels, and half_pixel. If E has a
smallest semi-axis b, then E shrunk by the factor 1 - h/b about its middle lies at least h inside E,
because a ball of radius h lies in E shrunk by h/b, and the two shrunk bodies add up to E.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.measure import measure
from tests.strategies import affines, instance_map


@dataclass(frozen=True, eq=False)
class _Solid:
    """An ellipsoid on a grid: (x - middle)^T form (x - middle) <= 1."""

    geometry: Geometry
    middle: NDArray[np.float64]
    form: NDArray[np.float64]

    @property
    def semi_axes_mm(self):
        """Largest first."""
        return 1 / np.sqrt(np.linalg.eigvalsh(self.form))

    @property
    def plane(self):
        """(3, 2) steps in mm from pixel to pixel of an axial slice."""
        return np.delete(self.geometry.affine[:3, :3], self.geometry.axial_axis, axis=1)

    @property
    def normal(self):
        """Unit normal of the axial slices."""
        normal = np.cross(*self.plane.T)
        return normal / np.linalg.norm(normal)

    @property
    def section_mm(self):
        """Semi-axes of the section through the middle along an axial slice, larger first."""
        basis, _ = np.linalg.qr(self.plane)
        return 1 / np.sqrt(np.linalg.eigvalsh(basis.T @ self.form @ basis))

    @property
    def nearest_slice(self):
        """Least scale of the section in the slice nearest to the middle, as a share of the above.

        Slices are a distance d apart, so one lies within d / 2 of the middle. Parallel sections of
        an ellipsoid are alike; at distance t they are sqrt(1 - t^2 / n^T form^-1 n) as large.
        """
        apart = abs(self.normal @ self.geometry.affine[:3, self.geometry.axial_axis])
        reach = self.normal @ np.linalg.inv(self.form) @ self.normal
        return np.sqrt(1 - (apart / 2) ** 2 / reach)

    @property
    def half_pixel(self):
        a, b = self.plane.T
        return max(np.linalg.norm(a + b), np.linalg.norm(a - b)) / 2

    @property
    def half_voxel(self):
        a, b, c = self.geometry.affine[:3, :3].T
        return max(np.linalg.norm(a + p * b + q * c) for p in (-1, 1) for q in (-1, 1)) / 2

    def mask(self):
        indices = np.moveaxis(np.indices(self.geometry.shape), 0, -1)
        offset = self.geometry.to_world(indices) - self.middle
        return np.einsum("...i,ij,...j->...", offset, self.form, offset) <= 1


def _solid(affine, form, share):
    """The ellipsoid with room around it, its middle a share of a voxel off a voxel's centre."""
    inverse = np.linalg.inv(affine[:3, :3])
    reach = np.sqrt(np.diag(inverse @ np.linalg.inv(form) @ inverse.T))
    sizes = 2 * np.ceil(reach).astype(int) + (3, 4, 5)
    geometry = Geometry(tuple(int(n) for n in sizes), affine)
    return _Solid(geometry, geometry.to_world(np.ceil(reach) + 1 + np.array(share)), form)


def _measured(solid):
    labels = solid.mask().astype(np.uint16)
    volume = Volume(labels.astype(np.float32), solid.geometry, IntensityUnit.HU)
    found, *others = measure(instance_map(labels, solid.geometry), volume, MeasureSettings())
    assert not others
    assert not found.touches_edge
    return found


SHARES = st.tuples(*[st.floats(0, 1)] * 3)


@given(affines(), st.floats(1.6, 4), SHARES)
@settings(max_examples=30)
def test_a_ball_has_the_diameters_and_the_volume_of_a_ball(affine, size, share):
    """By (1) and (2), with the radius of the nearest slice's disc for the axial ones.

    The short axis is perpendicular to the longest diameter, whatever that is; the disc that the
    slice holds by (2) has a diameter in that direction too.
    """
    radius = size * np.linalg.norm(affine[:3, :3], axis=0).max()
    solid = _solid(affine, np.eye(3) / radius**2, share)
    found = _measured(solid)
    least = 2 * (solid.nearest_slice * radius - solid.half_pixel)
    assert least <= found.longest_axial_diameter_mm <= 2 * (radius + solid.half_pixel)
    assert least <= found.short_axis_mm <= 2 * (radius + solid.half_pixel)
    assert 2 * (radius - solid.half_voxel) <= found.max_diameter_3d_mm
    assert found.max_diameter_3d_mm <= 2 * (radius + solid.half_voxel)
    assert 4 / 3 * np.pi * (radius - solid.half_voxel) ** 3 <= found.volume_mm3
    assert found.volume_mm3 <= 4 / 3 * np.pi * (radius + solid.half_voxel) ** 3


@st.composite
def _forms(draw):
    """Ellipsoids with three different semi-axes, turned against grid and patient: unit of b = 1."""
    longer = np.array((1, draw(st.floats(1.1, 1.5)), draw(st.floats(1.6, 2.5))))
    angles = [draw(st.floats(0, 180)) for _ in range(3)]
    axes = Rotation.from_euler("zyx", angles, degrees=True).as_matrix()
    return (axes / longer**2) @ axes.T


@given(affines(), _forms(), st.floats(1.6, 2.5), SHARES)
@settings(max_examples=30)
def test_an_oblique_ellipsoid_has_the_diameters_of_its_section_and_its_volume(
    affine, form, size, share
):
    """With a >= b the semi-axes of the section, s the scale of the nearest slice, h = half_pixel.

    Longest: the section holds the ellipse (sa, sb) shrunk by 1 - h/sb, so 2a(s - h/b) is reached;
    2(a + h) is not passed.
    Short: the shrunk ellipse is at least 2(sb - h) wide in every direction. For the upper bound let
    theta be the angle of the longest diameter L to the major axis. L is no longer than the grown
    ellipse is wide in its direction, L <= 2 sqrt(a^2 - (a^2 - b^2) sin^2 theta) + 2h, so
    (a^2 - b^2) sin^2 theta <= a^2 - (L/2 - h)^2; and the chord across is no longer than the grown
    ellipse is wide there, 2 sqrt(b^2 + (a^2 - b^2) sin^2 theta) + 2h.
    """
    form = form / (size * np.linalg.norm(affine[:3, :3], axis=0).max()) ** 2
    solid = _solid(affine, form, share)
    found = _measured(solid)
    a, b = solid.section_mm
    s, h = solid.nearest_slice, solid.half_pixel
    least = 2 * a * (s - h / b)
    assert least <= found.longest_axial_diameter_mm <= 2 * (a + h)
    tilt = max(a**2 - max(least / 2 - h, 0) ** 2, 0)
    assert 2 * (s * b - h) <= found.short_axis_mm <= 2 * np.sqrt(b**2 + tilt) + 2 * h
    longest, smallest, h = solid.semi_axes_mm[0], solid.semi_axes_mm[2], solid.half_voxel
    assert 2 * longest * (1 - h / smallest) <= found.max_diameter_3d_mm <= 2 * (longest + h)
    true_mm3 = 4 / 3 * np.pi * solid.semi_axes_mm.prod()
    assert true_mm3 * (1 - h / smallest) ** 3 <= found.volume_mm3
    assert found.volume_mm3 <= true_mm3 * (1 + h / smallest) ** 3


@given(affines(), _forms(), st.floats(1.6, 2.5))
@settings(max_examples=20)
def test_an_ellipsoid_around_a_voxel_centre_has_its_centroid_there(affine, form, size):
    """Both the grid and the solid are then symmetric about that point, and so is the region."""
    form = form / (size * np.linalg.norm(affine[:3, :3], axis=0).max()) ** 2
    solid = _solid(affine, form, (0, 0, 0))
    found = _measured(solid)
    centroid = (found.centroid_r_mm, found.centroid_a_mm, found.centroid_s_mm)
    np.testing.assert_allclose(centroid, solid.middle, atol=1e-6)


def test_volume_is_right_on_average_over_where_the_grid_lies():
    """Over all offsets of the grid each point of a solid is in equally many boxes: no bias.

    64 offsets, one drawn in each of 4 x 4 x 4 parts of a voxel, estimate the mean; their spread
    gives its standard error (too large a one, as the parts are stratified).
    """
    rng = np.random.default_rng(8)
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", (11, -23, 35), degrees=True).as_matrix()
    affine[:3, :3] = rotation * (-2.0, 3.1, 4.2)
    form = np.diag((1 / 9**2, 1 / 6**2, 1 / 12**2))
    parts = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)
    volumes = [
        _measured(_solid(affine, form, (part + rng.random(3)) / 4)).volume_mm3 for part in parts
    ]
    error = np.std(volumes) / np.sqrt(len(volumes))
    assert np.mean(volumes) == pytest.approx(4 / 3 * np.pi * 9 * 6 * 12, abs=3 * error)
    assert error < 0.005 * np.mean(volumes)
