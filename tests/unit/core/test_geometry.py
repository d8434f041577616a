import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from tests.strategies import affines, geometries, shapes


@given(geometries())
def test_spacing_and_axis_codes_are_nibabels(geometry: Geometry) -> None:
    assert geometry.spacing_mm == pytest.approx(nib.affines.voxel_sizes(geometry.affine))
    ornt = nib.orientations.io_orientation(geometry.affine)
    assert geometry.axis_codes == nib.orientations.ornt2axcodes(ornt)


@given(geometries(), st.integers(0, 2**16))
def test_world_and_index_are_inverse_and_nibabels(geometry: Geometry, seed: int) -> None:
    indices = np.random.default_rng(seed).uniform(-5, 20, (7, 3))
    points = geometry.to_world(indices)
    assert points == pytest.approx(nib.affines.apply_affine(geometry.affine, indices))
    assert geometry.to_index(points) == pytest.approx(indices, abs=1e-6)


@given(shapes(), affines())
def test_a_voxel_has_the_volume_of_its_parallelepiped(
    shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> None:
    sheared = affine.copy()
    sheared[:3, 2] += 0.4 * sheared[:3, 0]
    edges = sheared[:3, :3].T
    expected = abs(np.dot(edges[0], np.cross(edges[1], edges[2])))
    assert Geometry(shape, sheared).voxel_volume_mm3 == pytest.approx(expected)


@given(geometries())
def test_a_grid_matches_itself_and_not_its_mirror_image(geometry: Geometry) -> None:
    assert geometry.matches(Geometry(geometry.shape, geometry.affine))
    for axis in range(3):
        mirrored = geometry.affine.copy()
        mirrored[:3, 3] += mirrored[:3, axis] * (geometry.shape[axis] - 1)
        mirrored[:3, axis] *= -1
        assert not geometry.matches(Geometry(geometry.shape, mirrored))


@given(geometries())
def test_a_grid_matches_within_its_tolerance_only(geometry: Geometry) -> None:
    moved = geometry.affine.copy()
    moved[1, 3] += 0.5
    other = Geometry(geometry.shape, moved)
    assert not geometry.matches(other)
    assert geometry.matches(other, tolerance_mm=0.6)


@given(geometries())
def test_two_frames_of_reference_never_match(geometry: Geometry) -> None:
    one = Geometry(geometry.shape, geometry.affine, "1.2.3")
    assert not one.matches(Geometry(geometry.shape, geometry.affine, "1.2.4"))
    assert one.matches(Geometry(geometry.shape, geometry.affine, "1.2.3"))
    assert one.matches(geometry)


@given(geometries())
def test_a_crop_keeps_every_voxel_where_it_was(geometry: Geometry) -> None:
    box = (slice(1, 3), slice(0, 2), slice(2, 4))
    cropped = geometry.crop(box)
    assert cropped.shape == (2, 2, 2)
    for corner in itertools.product((0, 1), repeat=3):
        whole = np.add(corner, (1, 0, 2))
        assert cropped.to_world(np.array(corner)) == pytest.approx(geometry.to_world(whole))


@given(geometries())
def test_the_axial_axis_steps_most_along_s(geometry: Geometry) -> None:
    steps = np.abs(geometry.affine[2, :3]) / np.array(geometry.spacing_mm)
    assert sorted(geometry.world_axes) == [0, 1, 2]
    assert steps[geometry.axial_axis] == pytest.approx(steps.max(), abs=0.5)


def test_a_sagittal_acquisition_has_its_axial_axis_in_plane() -> None:
    affine = np.array([[0, 0, 3, -60], [0.9, 0, 0, -120], [0, -0.9, 0, 100], [0, 0, 0, 1]], float)
    geometry = Geometry((256, 240, 40), affine)
    assert geometry.axial_axis == 1
    assert geometry.axis_codes == ("A", "I", "R")


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((3, 4, 0), np.eye(4)),
        ((3, 4), np.eye(4)),
        ((3, 4, 5), np.eye(3)),
        ((3, 4, 5), np.diag([1.0, 1, 0, 1])),
        ((3, 4, 5), np.diag([1.0, 1, np.nan, 1])),
        ((3, 4, 5), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])),
        ((3, 4, 5), np.diag([1.0, 1, 1, 2])),
    ],
)
def test_what_is_no_grid_is_refused(
    shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> None:
    with pytest.raises(ValueError, match=r"grid|affine"):
        Geometry(shape, affine)


def test_nobody_can_change_a_geometry_after_its_birth() -> None:
    affine = np.diag([1.0, 2, 3, 1])
    geometry = Geometry((3, 4, 5), affine)
    affine[0, 0] = 7
    assert geometry.spacing_mm == (1, 2, 3)
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 7
