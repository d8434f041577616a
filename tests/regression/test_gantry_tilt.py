"""A ball in a CT with a tilted gantry, from its files to its numbers."""

import numpy as np
import pytest

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.formats import nifti
from medseg.ingest.select import read_study
from medseg.measure.measure import measure
from medseg.segment.delineate import delineate
from tests import dicom_series
from tests.unit.ingest.test_select import CT, protocol
from tests.unit.segment.bodies import SETTINGS, Threshold, ball, picture

RADIUS_MM = 22.0


def tilted(degrees: float) -> Geometry:
    """Axial slices 2.5 mm apart whose positions lean along the columns, as a gantry's do."""
    angle = np.radians(degrees)
    affine = np.eye(4)
    affine[:3, 0] = [-1.6, 0, 0]
    affine[:3, 1] = [0, -1.9 * np.cos(angle), -1.9 * np.sin(angle)]
    affine[:3, 2] = [0, 0, 2.5]
    affine[:3, 3] = [48, 70, -50]
    return Geometry((60, 62, 46), affine)


@pytest.mark.parametrize("degrees", [0.0, 9.0, -22.0])
def test_a_ball_keeps_its_volume_and_diameter_under_any_tilt(tmp_path, degrees):
    grid = tilted(degrees)
    body = ball(tuple(grid.to_world(np.array([30.0, 31.0, 23.0]))), RADIUS_MM)
    stored = np.round(picture(grid, [body]).data * 1000).astype(np.int16)
    # Slices ascend along row x column, which points to the feet here: they are stored that way.
    dicom_series.write(
        tmp_path / "in", dicom_series.slices(grid, stored, "CT", RescaleSlope="0.001")
    )
    series = read_study(tmp_path / "in", protocol(ct=CT), {}).series["ct"]
    has_flag = "gantry-tilt" in [flag.code for flag in series.flags]
    assert has_flag == (degrees != 0)
    assert series.volume.geometry.matches(Geometry(grid.shape, grid.affine))
    model = Threshold((2.0, 2.1, 2.3), roles=("ct",))
    found = delineate({"ct": series.volume}, model, SETTINGS, identity="0" * 64)
    (row,) = measure(found.lesions, series.volume, MeasureSettings(), series.slices)
    assert row.volume_mm3 == pytest.approx(body.volume_mm3, rel=0.02)
    assert (row.centroid_r_mm, row.centroid_a_mm, row.centroid_s_mm) == pytest.approx(
        body.centre, abs=0.2
    )
    # A voxel is a box, so a diameter reaches from corner to corner: up to a voxel's diagonal more.
    for diameter in (row.max_diameter_3d_mm, row.longest_axial_diameter_mm, row.short_axis_mm):
        assert -0.5 < diameter - 2 * RADIUS_MM < 4
    nifti.write_labels(tmp_path / "a.nii.gz", found.lesions.labels, found.lesions.geometry)
    labels, geometry = nifti.read_labels(tmp_path / "a.nii.gz")
    assert np.array_equal(labels, found.lesions.labels)
    assert geometry.matches(found.lesions.geometry)
