"""A study with lesions and organs, and everything that goes to a PACS from it, written for real."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medseg import config, run_folder
from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, tracking_uid
from medseg.core.measurements import Measurement
from medseg.formats import dicom_pdf, dicom_seg, dicom_sr, fhir, nifti, rtstruct, tables
from medseg.formats.dicom import read_file
from medseg.formats.dicom_objects import ObjectRun
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.dicom_source import DicomSource, source_of
from medseg.formats.dicom_stack import Stack, stack
from medseg.measure.measure import measure
from tests import dicom_series

SHAPE = (29, 23, 17)
SPACING = (1.7, 2.1, 3.3)
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<</Size 1>>\n%%EOF\n"
"""Enough of one to be carried; its length is odd, which DICOM has to make even."""


def axial(tilt_degrees: float = 0) -> Geometry:
    """Axial slices that ascend, of rows along the patient's left."""
    angle = np.radians(tilt_degrees)
    affine = np.eye(4)
    affine[:3, 0] = [-SPACING[0], 0, 0]
    affine[:3, 1] = [0, -SPACING[1] * np.cos(angle), -SPACING[1] * np.sin(angle)]
    affine[:3, 2] = [0, 0, SPACING[2]]
    affine[:3, 3] = [31.2, 40.7, -12.4]
    return Geometry(SHAPE, affine)


def oblique() -> Geometry:
    """Turned about every axis; still nearest to axial."""
    turn = np.linalg.qr([[-1.5, 0.1, 0.1], [0.1, -1.9, 0.3], [0.1, 0.2, 1.0]])[0]
    turn *= np.sign(np.diag(turn)) * (-1, -1, 1)
    if np.linalg.det(turn) < 0:
        raise AssertionError("left-handed")
    affine = np.eye(4)
    affine[:3, :3] = turn * SPACING
    affine[:3, 3] = [31.2, 40.7, -12.4]
    return Geometry(SHAPE, affine)


def series(geometry: Geometry, **tags: object) -> list[Dataset]:
    """A CT that a PACS would take."""
    stored = np.random.default_rng(1).integers(-200, 300, geometry.shape).astype(np.int16)
    about = {
        "PatientBirthDate": "19600229", "PatientSex": "O", "StudyDate": "20240305",
        "StudyTime": "113000", "SeriesDate": "20240305", "SeriesTime": "114500", "StudyID": "7",
        "AccessionNumber": "A17", "ReferringPhysicianName": "CANARY^DOCTOR", "KVP": "120",
        "Manufacturer": "Maker", "SliceThickness": "3.3", "PositionReferenceIndicator": "",
        "StudyDescription": "CANARY study", "AcquisitionNumber": "1", "PatientPosition": "HFS",
        "RescaleType": "HU", "SpecificCharacterSet": "ISO_IR 100",
    }  # fmt: skip
    return dicom_series.slices(geometry, stored, "CT", **{**about, **tags})


def lesions(geometry: Geometry) -> InstanceMap:
    """Labels 2, 3 and 7: a ragged one with a hole, one at the edge, and a single voxel."""
    labels = np.zeros(geometry.shape, np.uint16)
    labels[4:12, 3:12, 2:7] = 2
    labels[4, 3, :] = labels[11, 11, :] = labels[11, 4, 3] = 0
    labels[6:9, 5:8, 3:5] = 0
    labels[9, 8, 4] = 0
    labels[20:29, 14:18, 10:17] = 3
    labels[20:24, 17, 11:] = 0
    labels[16, 5, 12] = 7
    organs = {2: "parotid_left", 3: None, 7: "mandible"}
    rows = tuple(
        Instance(n, "lesion", "lesion", tracking_uid("run", "lesion", n), organ)
        for n, organ in organs.items()
    )
    return InstanceMap(labels, geometry, rows)


def organs(geometry: Geometry) -> InstanceMap:
    """Both parotid glands and a mandible around one of the lesions."""
    labels = np.zeros(geometry.shape, np.uint16)
    labels[2:14, 2:13, 1:8] = 1
    labels[22:27, 3:12, 2:9] = 2
    labels[14:19, 4:8, 9:15] = 3
    names = ("parotid_left", "parotid_right", "mandible")
    rows = tuple(
        Instance(n, "organ", name, tracking_uid("run", "organ", n))
        for n, name in enumerate(names, start=1)
    )
    return InstanceMap(labels, geometry, rows)


@dataclass(frozen=True, eq=False)
class Exported:
    """A study and its objects.

    Attributes:
        source: Folder of its DICOM files.
        objects: Folder of the objects.
        stack: The series.
        run: What the objects share.
        lesions, organs: What they show.
        rows: The measurements, lesions first.
    """

    source: Path
    objects: Path
    stack: Stack
    run: ObjectRun
    lesions: InstanceMap
    organs: InstanceMap
    rows: tuple[Measurement, ...]

    @property
    def lesion_rows(self) -> list[Measurement]:
        return [row for row in self.rows if row.kind == "lesion"]


def read_stack(folder: Path) -> Stack:
    files = [read_file(path) for path in sorted(folder.iterdir())]
    return stack([file for file in files if file is not None])


def export(folder: Path, datasets: Sequence[Dataset]) -> Exported:
    """Write a study and all objects that rest on it."""
    source = dicom_series.write(folder / "source", datasets)
    geometry = read_stack(source).geometry
    return export_series(folder, source, lesions(geometry), organs(geometry))


def export_series(
    folder: Path, source: Path, lesions: InstanceMap, organs: InstanceMap | None
) -> Exported:
    """Write all objects that rest on the series in a folder; without organs, those of lesions."""
    found = read_stack(source)
    empty = InstanceMap(np.zeros_like(lesions.labels), found.geometry, ())
    shared = source_of(found)
    assert isinstance(shared, DicomSource), shared
    run = ObjectRun(shared, "0" * 64, "threshold", config.load_structures())
    volume, _ = read_voxels(found)
    labelled = (lesions, organs or empty)
    rows = tuple(
        row for one in labelled for row in measure(one, volume, MeasureSettings(), found.references)
    )
    exported = Exported(source, folder / "dicom", found, run, *labelled, rows)
    write_objects(exported)
    return exported


def write_objects(one: Exported) -> None:
    one.objects.mkdir()
    uid = dicom_seg.write_segmentation(
        one.objects / "segmentation.dcm", one.lesions, dicom_seg.LESIONS, one.run
    )
    if one.organs.instances:
        path = one.objects / "organs.dcm"
        dicom_seg.write_segmentation(path, one.organs, dicom_seg.ORGANS, one.run)
    dicom_sr.write_measurements(
        one.objects / "measurements.dcm", one.lesion_rows, one.lesions.geometry, uid, one.run
    )
    rtstruct.write_structures(one.objects / "structures.dcm", (one.lesions, one.organs), one.run)
    dicom_pdf.write_pdf(one.objects / "report.dcm", PDF, one.run, names_patient=False)


def run_folder_with_all(folder: Path, datasets: Sequence[Dataset]) -> Exported:
    """A run folder with every export, as the stages leave it."""
    one = export(folder, datasets)
    nifti.write_labels(folder / run_folder.LESIONS, one.lesions.labels, one.lesions.geometry)
    nifti.write_labels(folder / run_folder.ORGANS, one.organs.labels, one.organs.geometry)
    tables.write_csv(folder / run_folder.TABLE_CSV, one.rows)
    tables.write_json(folder / run_folder.TABLE_JSON, one.rows)
    tables.write_parquet(folder / run_folder.TABLE_PARQUET, one.rows)
    subject = fhir.Subject("0" * 64, "P-1", "cc26-peaks", "medseg 0")
    fhir.write_fhir(folder / run_folder.FHIR, one.rows, subject, one.run.structures)
    data = json.dumps({"lesions": [asdict(row) for row in one.lesion_rows]})
    shown = "".join(
        f'<tr id="row-{row.instance}"><td>{row.volume_mm3 / 1000:.3f}</td>'
        f"<td>{row.longest_axial_diameter_mm:.1f} × {row.short_axis_mm:.1f}</td></tr>"
        for row in one.lesion_rows
    )
    page = (
        f"<html><table>{shown}</table>"
        f'<script type="application/json" id="data">{data}</script></html>'
    )
    (folder / run_folder.REPORT_HTML).write_text(page, encoding="utf-8")
    (folder / run_folder.REPORT_PDF).write_bytes(PDF)
    return one


def written_again(one: Exported, folder: Path) -> Exported:
    """The same study's objects, written a second time elsewhere."""
    again = replace(one, objects=folder)
    write_objects(again)
    return again
