"""Objects of every kind of source pass the gate: what is right is not stopped."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from medseg.formats import dicom_read_back as read_back
from medseg.formats import dicom_seg
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.dicom_values import quiet
from medseg.verify import contours, objects
from medseg.verify.truth import Truth
from tests import dicom_series, pacs
from tests.pacs import Exported


def enhanced() -> list[pydicom.Dataset]:
    """One file whose frames lie in no order."""
    grid = pacs.oblique()
    stored = np.random.default_rng(1).integers(-200, 300, grid.shape).astype(np.int16)
    order = np.random.default_rng(2).permutation(grid.shape[2])
    return [dicom_series.enhanced(grid, stored, order)]


def uneven() -> list[pydicom.Dataset]:
    """Slices up to 2 % off their places, as at a PET's bed overlap."""
    slices = pacs.series(pacs.axial())
    for one, off in zip(slices, np.random.default_rng(4).uniform(-0.03, 0.03, 17), strict=True):
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [x, y, f"{float(z) + off:.4f}"]
    return slices


def sagittal() -> list[pydicom.Dataset]:
    """No axial slice to draw an axis on: it is drawn in the patient's space."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, -1], [-1, 0, 0], [0, -1, 0]]) * (1.7, 2.1, 3.3)
    affine[:3, 3] = (25, 30, 40)
    affine[:3, 0] *= np.sign(-np.linalg.det(affine[:3, :3])) * -1
    return pacs.series(pacs.Geometry(pacs.SHAPE, affine))


def rounded() -> list[pydicom.Dataset]:
    """Cosines of four decimals, which are not quite of length 1."""
    slices = pacs.series(pacs.oblique())
    for one in slices:
        one.ImageOrientationPatient = [f"{float(x):.4f}" for x in one.ImageOrientationPatient]
    return slices


def named() -> list[pydicom.Dataset]:
    """A patient whose name and numbers are hard to copy."""
    other = pydicom.Dataset()
    other.PatientID, other.TypeOfPatientID = "CANARY-2", "TEXT"
    return pacs.series(
        pacs.axial(),
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        OtherPatientIDsSequence=[other],
        PatientComments="CANARY; several lines\r\nof text ",
        PatientWeight="70.50",
        StudyID="longer than sixteen characters",
        StudyTime="113000.123",
    )


SOURCES = {
    "rounded": rounded,
    "named": named,
    "axial": lambda: pacs.series(pacs.axial()),
    "backwards": lambda: pacs.series(pacs.axial())[::-1],
    "tilted": lambda: pacs.series(pacs.axial(17)),
    "uneven": uneven,
    "sagittal": sagittal,
    "enhanced": enhanced,
}


@pytest.fixture(scope="module", params=SOURCES)
def one(request, tmp_path_factory) -> Exported:
    folder = tmp_path_factory.mktemp(request.param)
    with quiet():  # pydicom warns of values that are too long
        source = dicom_series.write(folder / "source", SOURCES[request.param]())
    geometry = pacs.read_stack(source).geometry
    return pacs.export_series(folder, source, pacs.lesions(geometry), pacs.organs(geometry))


@pytest.fixture(scope="module")
def truth(one) -> Truth:
    volume, _ = read_voxels(one.stack)
    return Truth(one.lesions, one.organs, volume, one.stack.references, one.rows)


def test_segmentation_and_report_pass(one, truth):
    read = read_back.read_segmentation(one.objects / "segmentation.dcm")
    objects.check_segmentation(read, one.lesions, truth.rows_of(one.lesions), one.run)
    report = read_back.read_report(one.objects / "measurements.dcm")
    rows = truth.rows_of(one.lesions)
    objects.check_report(report, read, rows, one.lesions.geometry, one.run)


def test_structures_pass(one):
    read = read_back.read_structures(one.objects / "structures.dcm")
    contours.check_structures(read, (one.lesions, one.organs), one.rows, one.run)


def test_organs_pass_as_a_label_map_too(one, truth, tmp_path):
    path = tmp_path / "organs.dcm"
    uid = dicom_seg.write_label_map(path, one.organs, dicom_seg.ORGAN_LABELS, one.run)
    stored = pydicom.dcmread(path)
    assert stored.file_meta.TransferSyntaxUID == RLELossless
    assert (
        stored.SOPInstanceUID == uid != pydicom.dcmread(one.objects / "organs.dcm").SOPInstanceUID
    )
    rows = truth.rows_of(one.organs)
    objects.check_segmentation(read_back.read_segmentation(path), one.organs, rows, one.run)
    objects.check_segmentation(
        read_back.read_segmentation(one.objects / "organs.dcm"), one.organs, rows, one.run
    )


def test_an_axis_is_drawn_on_a_slice_or_in_space(one):
    report = read_back.read_report(one.objects / "measurements.dcm")
    drawn = [
        number for group in report.groups for number in group.numbers if number.points is not None
    ]
    is_axial = one.lesions.geometry.axial_axis == 2
    assert len(drawn) == 2 * len(one.lesion_rows)
    assert all((number.image is not None) == is_axial for number in drawn)
