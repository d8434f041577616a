"""What must hold for every grid."""

import numpy as np
import pytest
from hypothesis import given

from medseg.core.geometry import Geometry
from medseg.errors import ImplausibleGeometryError, UnsupportedImageError
from medseg.ingest.checks import check_grid, check_perpendicular, shear_degrees
from tests.dicom_series import GRID
from tests.strategies import geometries


def scaled(factor: float) -> Geometry:
    affine = GRID.affine.copy()
    affine[:3] *= factor
    return Geometry(GRID.shape, affine)


def sheared(degrees: float) -> Geometry:
    affine = GRID.affine.copy()
    affine[:3, 2] += 3.25 * np.tan(np.radians(degrees)) * affine[:3, 1] / 1.9
    return Geometry(GRID.shape, affine)


@given(geometries())
def test_what_a_scanner_makes_has_no_shear_whatever_its_orientation(geometry):
    assert shear_degrees(geometry) < 1e-4


@pytest.mark.parametrize("degrees", [0.02, 0.4, 3.0, 14.0])
def test_shear_is_measured_in_degrees_and_refused_of_a_file_that_shows_no_tilt(degrees):
    grid = sheared(degrees)
    assert shear_degrees(grid) == pytest.approx(degrees, rel=1e-3)
    assert check_grid(grid) == ()
    if degrees < 0.5:
        check_perpendicular(grid)
    else:
        with pytest.raises(UnsupportedImageError, match="shear"):
            check_perpendicular(grid)


@pytest.mark.parametrize("factor", [0.001, 0.01, 1000])
def test_a_spacing_in_another_unit_is_told_by_the_size_of_a_person(factor):
    assert check_grid(GRID) == ()
    with pytest.raises(ImplausibleGeometryError):
        check_grid(scaled(factor))


@pytest.mark.parametrize("shape", [(6, 5, 2), (1, 5, 9), (6, 2, 9)])
def test_too_few_voxels_along_an_axis_are_no_volume(shape):
    with pytest.raises(UnsupportedImageError, match="too few"):
        check_grid(Geometry(shape, GRID.affine))


def test_thick_slices_are_flagged():
    affine = GRID.affine.copy()
    affine[:3, 2] *= 3
    flags = check_grid(Geometry(GRID.shape, affine))
    assert [flag.code for flag in flags] == ["thick-slices"]
