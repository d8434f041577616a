"""The command on the real whole-body PET, from DICOM files to a run folder."""

import csv
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.report import pdf

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.fixture(scope="module")
def study(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole-body")
    with tarfile.open(shared_data / "dicom" / "sts_001_whole_body.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def run(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    command = "from medseg.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "delineate", str(study), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "report.html")
    return folder


def test_the_mask_lies_on_the_acquired_grid_as_simpleitk_reads_it(study: Path, run: Path) -> None:
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(study / "sts_001_whole_body" / "image"))
    reader.SetFileNames(names)
    acquired = reader.Execute()
    mask = nib.load(run / "lesions.nii.gz")
    assert mask.shape == acquired.GetSize()
    assert mask.get_data_dtype() == np.uint16
    corners = [(0, 0, 0), tuple(n - 1 for n in mask.shape), (mask.shape[0] - 1, 0, 7)]
    for corner in corners:
        lps = np.array(acquired.TransformIndexToPhysicalPoint(corner))
        ras = nib.affines.apply_affine(mask.affine, corner)
        assert ras == pytest.approx(lps * (-1, -1, 1), abs=0.02)


def test_the_run_folder_is_whole_and_its_table_is_its_mask(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == [
        "dicom",
        "fhir.json",
        "instances.csv",
        "instances.json",
        "instances.parquet",
        "lesions.nii.gz",
        "manifest.json",
        "organs.nii.gz",
        "report.html",
        *(["report.pdf"] if pdf.missing() is None else []),
        "run.json",
    ]
    mask = nib.load(run / "lesions.nii.gz")
    labels = np.asarray(mask.dataobj)
    voxel_mm3 = abs(np.linalg.det(mask.affine[:3, :3]))
    with (run / "instances.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["instance"]) for row in rows] == list(range(1, labels.max() + 1))
    for row in rows:
        count = int((labels == int(row["instance"])).sum())
        assert int(row["voxel_count"]) == count
        assert float(row["volume_mm3"]) == pytest.approx(count * voxel_mm3, rel=1e-5)
        assert row["intensity_unit"] == "SUV"
        assert row["slice_sop_instance_uid"]


def test_the_known_tumour_is_found_as_an_instance(shared_data: Path, run: Path) -> None:
    """Its reference lies on the grid of the crop; the voxel centres are compared in the world."""
    reference = nib.load(shared_data / "pet_lesions" / "train" / "STS_001_lesions.nii.gz")
    tumour = np.argwhere(np.asarray(reference.dataobj) > 0)
    world = nib.affines.apply_affine(reference.affine, tumour)
    mask = nib.load(run / "lesions.nii.gz")
    labels = np.asarray(mask.dataobj)
    indices = np.rint(nib.affines.apply_affine(np.linalg.inv(mask.affine), world)).astype(int)
    inside = np.all((indices >= 0) & (indices < labels.shape), axis=1)
    assert inside.mean() > 0.95
    assert (labels[tuple(indices[inside].T)] > 0).mean() > 0.5


def test_little_of_the_normal_uptake_is_called_lesion(shared_data: Path, run: Path) -> None:
    """The first bundle called 411 mL outside the tumour lesion on this body, in training for both.

    What touches the tumour is most of what is left: its outline is larger than the expert's.
    """
    reference = nib.load(shared_data / "pet_lesions" / "train" / "STS_001_lesions.nii.gz")
    tumour = np.argwhere(np.asarray(reference.dataobj) > 0)
    mask = nib.load(run / "lesions.nii.gz")
    labels = np.asarray(mask.dataobj)
    world = nib.affines.apply_affine(reference.affine, tumour)
    indices = np.rint(nib.affines.apply_affine(np.linalg.inv(mask.affine), world)).astype(int)
    known = np.zeros(labels.shape, bool)
    known[tuple(indices.T)] = True
    voxel_ml = abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    apart = ~np.isin(labels, np.unique(labels[known])) & (labels > 0)
    assert (apart.sum() * voxel_ml) < 12
    assert ((labels > 0) & ~known).sum() * voxel_ml < 75


def test_the_record_says_what_was_used_within_two_gibibytes(run: Path) -> None:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["peak_memory_mib"] < 2048
    assert record["models"].keys() == {"pet-lesions"}
    assert [flag["code"] for flag in record["flags"]].count("uneven-spacing") == 1
    assert record["choice"]["pet"]


def test_objects_table_page_and_labels_tell_one_story(study: Path, run: Path) -> None:
    checker = Path(__file__).parents[3] / "shared" / "acceptance" / "check_dicom_outputs.py"
    files = {
        "--ct": study / "sts_001_whole_body" / "image",
        "--seg": run / "dicom" / "segmentation.dcm",
        "--sr": run / "dicom" / "measurements.dcm",
        "--csv": run / "instances.csv",
        "--html": run / "report.html",
        "--labels": run / "lesions.nii.gz",
    }
    if pdf.missing() is None:
        files["--pdf"] = run / "dicom" / "report.dcm"
    arguments = [str(part) for pair in files.items() for part in pair]
    done = subprocess.run(
        [sys.executable, checker, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["0 failed"], done.stdout + done.stderr
