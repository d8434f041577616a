"""Written series, read by SimpleITK and pydicom, which know nothing of our writer."""

import shutil
import subprocess
from dataclasses import replace
from datetime import date, datetime
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats.dicom_attributes import (
    PatientAttributes,
    SeriesAttributes,
    StudyAttributes,
    Tracer,
    derived_uid,
)
from medseg.formats.dicom_images import write_series
from tests.strategies import geometries

PATIENT = PatientAttributes("CANARY^TEST", "CANARY-ID", date(1971, 11, 3), "F", 80.5, 1.62)
STUDY = StudyAttributes(PATIENT, derived_uid("test"), "7", datetime(2021, 7, 5, 0, 38), "Test")
CT = SeriesAttributes(STUDY, 2, "CT", datetime(2021, 7, 5, 0, 39, 10))
FDG = Tracer(4e8, 6586.2, 0.967, datetime(2021, 7, 4, 23, 30, 0))
PET = SeriesAttributes(STUDY, 3, "PET", datetime(2021, 7, 5, 0, 41, 40), FDG)
WAITED_SECONDS = 71 * 60 + 40
"""From the injection, before midnight, to the start of the PET."""


def grid(handedness: int = 1) -> Geometry:
    """Oblique, anisotropic, of three sizes."""
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (14, -22, 31), degrees=True).as_matrix()
    affine[:3, :3] = turn * (-2.1, -3.3 * handedness, 4.7)
    affine[:3, 3] = (81.5, -40.25, 612.75)
    return Geometry((9, 6, 11), affine, derived_uid("frame"))


def volume(geometry: Geometry, unit: IntensityUnit, seed: int = 0) -> Volume:
    """Uneven intensities, so that every flip and every swap shows."""
    rng = np.random.default_rng(seed)
    if unit is IntensityUnit.HU:
        values = rng.integers(-1024, 3071, geometry.shape)
    else:
        values = rng.gamma(1.5, 2.0, geometry.shape) * rng.uniform(0.2, 5, geometry.shape[2])
    return Volume(values.astype(np.float32), geometry, unit)


def read_by_simpleitk(folder: Path) -> SimpleITK.Image:
    """The series as another library understands it: LPS mm, and values after the rescale."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    reader.SetOutputPixelType(SimpleITK.sitkFloat64)
    return reader.Execute()


def assert_same_in_the_patient(image: SimpleITK.Image, expected: Volume, tolerance: float) -> None:
    """Every voxel of SimpleITK's lies on one of ours, within 1e-3 mm, and holds its value."""
    assert image.GetNumberOfPixels() == expected.data.size
    indices = list(product(*(range(n) for n in image.GetSize())))
    points = [image.TransformIndexToPhysicalPoint(index) for index in indices]
    ours = expected.geometry.to_index(np.array(points) * (-1, -1, 1))
    nearest = np.round(ours).astype(int)
    off_mm = (ours - nearest) @ expected.geometry.affine[:3, :3].T
    assert np.abs(off_mm).max() < 1e-3
    assert len({tuple(index) for index in nearest.tolist()}) == expected.data.size
    values = [image.GetPixel(index) for index in indices]
    there = expected.data[tuple(nearest.T)]
    np.testing.assert_allclose(values, there, rtol=0, atol=tolerance)


@settings(max_examples=15)
@given(geometries(4, 9), st.integers(0, 1000))
def test_simpleitk_finds_every_ct_voxel_at_its_place_in_the_patient(geometry, seed):
    framed = Geometry(geometry.shape, geometry.affine, derived_uid("frame"))
    written = volume(framed, IntensityUnit.HU, seed)
    with TemporaryDirectory() as folder:
        write_series(Path(folder), written, CT)
        assert_same_in_the_patient(read_by_simpleitk(Path(folder)), written, 0)


@settings(max_examples=15)
@given(geometries(4, 9), st.integers(0, 1000))
def test_simpleitk_finds_every_pet_voxel_at_its_place_in_the_patient(geometry, seed):
    framed = Geometry(geometry.shape, geometry.affine, derived_uid("frame"))
    written = volume(framed, IntensityUnit.BQML, seed)
    with TemporaryDirectory() as folder:
        write_series(Path(folder), written, PET)
        step = float(np.abs(written.data).max()) / 32767
        assert_same_in_the_patient(read_by_simpleitk(Path(folder)), written, 0.51 * step)


def test_simpleitk_reads_a_right_handed_grid_with_the_same_indices(tmp_path):
    written = volume(grid(), IntensityUnit.HU)
    write_series(tmp_path, written, CT)
    image = read_by_simpleitk(tmp_path)
    assert image.GetSize() == written.geometry.shape
    assert image.GetSpacing() == pytest.approx(written.geometry.spacing_mm, abs=1e-6)
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), written.data
    )


def test_the_check_against_simpleitk_sees_a_mirrored_series(tmp_path):
    written = volume(grid(), IntensityUnit.HU)
    mirrored = Volume(np.ascontiguousarray(written.data[::-1]), written.geometry, written.unit)
    write_series(tmp_path, mirrored, CT)
    with pytest.raises(AssertionError):
        assert_same_in_the_patient(read_by_simpleitk(tmp_path), written, 0)


def test_suv_comes_out_by_the_decay_rule_from_the_tags_alone(tmp_path):
    written = volume(grid(), IntensityUnit.SUV)
    write_series(tmp_path, written, PET)
    image = read_by_simpleitk(tmp_path)
    first = pydicom.dcmread(next(tmp_path.iterdir()))
    drug = first.RadiopharmaceuticalInformationSequence[0]
    injected = datetime.strptime(drug.RadiopharmaceuticalStartDateTime, "%Y%m%d%H%M%S")
    started = datetime.strptime(first.SeriesDate + first.SeriesTime, "%Y%m%d%H%M%S")
    waited = (started - injected).total_seconds()
    assert (first.Units, first.DecayCorrection, waited) == ("BQML", "START", WAITED_SECONDS)
    left_bq = drug.RadionuclideTotalDose * 0.5 ** (waited / drug.RadionuclideHalfLife)
    suv = (
        SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0) / left_bq * first.PatientWeight * 1000
    )
    np.testing.assert_allclose(suv, written.data, rtol=0, atol=written.data.max() / 60_000)
    # By hand: 4e8 Bq x 2^(-4300 / 6586.2) = 254.41 MBq left in 80 500 g.
    assert left_bq / 80_500 == pytest.approx(3160.4, abs=0.2)


def test_the_series_starts_with_its_earliest_bed(tmp_path):
    long = Geometry((3, 4, 100), grid().affine, derived_uid("frame"))
    write_series(tmp_path, volume(long, IntensityUnit.SUV), PET)
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in tmp_path.iterdir()]
    times = {(s.AcquisitionDate, s.AcquisitionTime) for s in slices}
    assert len(times) == 3
    assert min(times) == ("20210705", "004140") == (slices[0].SeriesDate, slices[0].SeriesTime)


def test_pydicom_finds_the_attributes_that_were_given(tmp_path):
    write_series(tmp_path / "new" / "folder", volume(grid(), IntensityUnit.SUV), PET)
    files = sorted((tmp_path / "new" / "folder").iterdir())
    slices = [pydicom.dcmread(path) for path in files]
    assert [path.name for path in files[:2]] == ["IM0001", "IM0002"]
    assert len(slices) == len({s.SOPInstanceUID for s in slices}) == 11
    assert {s.SeriesInstanceUID for s in slices} == {derived_uid(STUDY.uid, "3")}
    assert {s.FrameOfReferenceUID for s in slices} == {derived_uid("frame")}
    assert {str(s.PatientName) for s in slices} == {"CANARY^TEST"}
    assert {s.PatientID for s in slices} == {"CANARY-ID"}
    assert {s.SOPClassUID.name for s in slices} == {"Positron Emission Tomography Image Storage"}
    assert [s.InstanceNumber for s in slices] == list(range(1, 12))
    assert (slices[0].Rows, slices[0].Columns) == (6, 9)
    assert slices[0].PixelSpacing == [3.3, 2.1]
    heights = [float(s.ImagePositionPatient[2]) for s in slices]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize(("unit", "series"), [(IntensityUnit.HU, CT), (IntensityUnit.SUV, PET)])
def test_writing_twice_gives_the_same_bytes(tmp_path, unit, series):
    for name in ("one", "two"):
        write_series(tmp_path / name, volume(grid(), unit), series)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two
    assert len(set(one.values())) == 11


@pytest.mark.parametrize(("unit", "series"), [(IntensityUnit.HU, CT), (IntensityUnit.SUV, PET)])
def test_dciodvfy_finds_no_error(tmp_path, unit, series):
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy of dicom3tools is not installed")
    write_series(tmp_path, volume(grid(), unit), series)
    for path in tmp_path.iterdir():
        said = subprocess.run([checker, "-new", path], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr + said.stdout


def test_an_empty_slice_is_written_as_zeros(tmp_path):
    values = volume(grid(), IntensityUnit.SUV).data.copy()
    values[..., 4] = 0
    write_series(tmp_path, Volume(values, grid(), IntensityUnit.SUV), PET)
    pixels = pydicom.dcmread(tmp_path / "IM0007")
    assert float(pixels.RescaleSlope) > 0
    assert not pixels.pixel_array.any()


def test_what_dicom_slices_cannot_express_is_refused(tmp_path):
    sheared = grid().affine.copy()
    sheared[:3, 1] += 0.2 * sheared[:3, 0]
    framed = Geometry((9, 6, 11), sheared, derived_uid("frame"))
    homeless = Geometry((9, 6, 11), grid().affine)
    dense = Volume(np.full((9, 6, 11), 40_000, np.float32), grid(), IntensityUnit.HU)
    for written, series in (
        (volume(framed, IntensityUnit.HU), CT),
        (volume(homeless, IntensityUnit.HU), CT),
        (dense, CT),
        (volume(grid(), IntensityUnit.SUV), replace(PET, tracer=None)),
        (volume(grid(), IntensityUnit.ARBITRARY), CT),
    ):
        with pytest.raises(ValueError, match=r"[a-z]"):
            write_series(tmp_path, written, series)
    assert not list(tmp_path.iterdir())
