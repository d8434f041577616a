"""The objects for a PACS, as other people's software reads them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from tests import dicom_series, pacs
from tests.pacs import Exported

NAMES = ("segmentation", "organs", "measurements", "structures", "report")


@pytest.fixture(scope="module", params=["axial", "oblique", "tilted", "enhanced"])
def one(request, tmp_path_factory) -> Exported:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "enhanced":
        grid = pacs.oblique()
        stored = np.random.default_rng(1).integers(-200, 300, grid.shape).astype(np.int16)
        order = np.random.default_rng(2).permutation(grid.shape[2])
        return pacs.export(folder, [dicom_series.enhanced(grid, stored, order)])
    grids = {"axial": pacs.axial(), "oblique": pacs.oblique(), "tilted": pacs.axial(-14)}
    return pacs.export(folder, pacs.series(grids[request.param]))


@pytest.fixture(scope="module")
def upright(tmp_path_factory) -> Exported:
    return pacs.export(tmp_path_factory.mktemp("upright"), pacs.series(pacs.axial()))


def ran(*command: object) -> str:
    """What a program said; it must end well."""
    program = shutil.which(str(command[0])) or str(Path(sys.executable).parent / str(command[0]))
    if not Path(program).exists():
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [program, *map(str, command[1:])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_dciodvfy_finds_no_error(one, name):
    assert "Error" not in ran("dciodvfy", "-new", one.objects / f"{name}.dcm")


def test_dcentvfy_finds_one_study_and_no_error(one):
    said = ran("dcentvfy", *one.source.iterdir(), *one.objects.iterdir())
    assert "Error" not in said


def test_dsrdump_prints_every_lesion(one):
    said = ran("dsrdump", one.objects / "measurements.dcm")
    assert all(f'"lesion-{row.instance}"' in said for row in one.lesion_rows)
    assert "UNVERIFIED" in said


def test_dcm2pdf_gives_the_pdf_back(one, tmp_path):
    ran("dcm2pdf", one.objects / "report.dcm", tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes() == pacs.PDF


def test_a_second_writing_gives_the_same_bytes(one, tmp_path):
    again = pacs.written_again(one, tmp_path / "again")
    for name in NAMES:
        first = (one.objects / f"{name}.dcm").read_bytes()
        assert (again.objects / f"{name}.dcm").read_bytes() == first, name


def test_patient_and_study_are_the_sources(one):
    source = pydicom.dcmread(next(one.source.iterdir()), stop_before_pixels=True)
    series = set()
    for name in NAMES:
        made = pydicom.dcmread(one.objects / f"{name}.dcm")
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate"):
            assert str(made.get(keyword, "")) == str(source.get(keyword, "")), (name, keyword)
        series.add(made.SeriesInstanceUID)
        assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID
    assert len(series - {source.SeriesInstanceUID}) == len(NAMES)


@pytest.mark.parametrize(("name", "labelled"), [("segmentation", "lesions"), ("organs", "organs")])
def test_dcmqi_reads_the_same_voxels(upright, tmp_path, name, labelled):
    expected: InstanceMap = getattr(upright, labelled)
    said = ran(
        "segimage2itkimage", "--inputDICOM", upright.objects / f"{name}.dcm",
        "--outputDirectory", tmp_path, "-t", "nii", "-p", "s",
    )  # fmt: skip
    assert not [line for line in said.splitlines() if line.startswith(("W:", "E:"))]
    about = json.loads((tmp_path / "s-meta.json").read_text())["segmentAttributes"]
    found = {}
    for n, group in enumerate(about, start=1):
        image = nib.load(tmp_path / f"s-{n}.nii.gz")
        for segment in group:
            places = np.argwhere(np.asanyarray(image.dataobj) == segment["labelID"])
            found[segment["labelID"]] = nib.affines.apply_affine(image.affine, places)
    for number, instance in enumerate(expected.instances, start=1):
        places = np.rint(expected.geometry.to_index(found[number])).astype(int)
        off = np.abs(expected.geometry.to_world(places) - found[number]).max()
        assert off < 1e-3
        mask = np.zeros(expected.labels.shape, bool)
        mask[tuple(places.T)] = True
        assert np.array_equal(mask, expected.labels == instance.label)


def test_dcmqi_reads_the_same_measurements(one, tmp_path):
    path = tmp_path / "sr.json"
    said = ran(
        "tid1500reader", "--inputDICOM", one.objects / "measurements.dcm",
        "--outputMetadata", path,
    )  # fmt: skip
    assert not [line for line in said.splitlines() if line.startswith(("E:", "F:"))]
    groups = [g for g in json.loads(path.read_text())["Measurements"] if "ReferencedSegment" in g]
    assert len(groups) == len(one.lesion_rows)
    for group, row in zip(groups, one.lesion_rows, strict=True):
        assert group["TrackingUniqueIdentifier"] == row.tracking_uid
        values = {
            item["quantity"]["CodeValue"]: (float(item["value"]), item["units"]["CodeValue"])
            for item in group["measurementItems"]
        }
        assert values["118565006"] == (pytest.approx(row.volume_mm3), "mm3")
        assert values["103339001"] == (pytest.approx(row.longest_axial_diameter_mm), "mm")
        assert values["103340004"] == (pytest.approx(row.short_axis_mm), "mm")


def test_plastimatch_reads_the_contours_back_as_the_mask(upright, tmp_path):
    ran(
        "plastimatch", "convert", "--input", upright.objects / "structures.dcm",
        "--referenced-ct", upright.source, "--output-prefix", tmp_path,
        "--prefix-format", "nii.gz",
    )  # fmt: skip
    read = {path.name: nib.load(path) for path in tmp_path.iterdir()}
    assert len(read) == 6
    labels = {"Lesion 2": 2, "Lesion 3": 3, "Lesion 7": 7}
    for name, label in labels.items():
        image = read[f"{name}.nii.gz"]
        assert same_places(image, upright.lesions.labels == label, upright) >= 0.99, name
    labels = {"Parotid gland, left": 1, "Parotid gland, right": 2, "Mandible": 3}
    for name, label in labels.items():
        image = read[f"{name}.nii.gz"]
        assert same_places(image, upright.organs.labels == label, upright) >= 0.99, name


def same_places(image: nib.Nifti1Image, mask: np.ndarray, one: Exported) -> float:
    """Dice of a mask of ours and one on another grid, by where its voxels lie."""
    geometry: Geometry = one.lesions.geometry
    places = nib.affines.apply_affine(image.affine, np.argwhere(np.asanyarray(image.dataobj) > 0))
    indices = np.rint(geometry.to_index(places)).astype(int)
    read = np.zeros(mask.shape, bool)
    read[tuple(indices.T)] = True
    return 2 * float((read & mask).sum()) / float(read.sum() + mask.sum())
