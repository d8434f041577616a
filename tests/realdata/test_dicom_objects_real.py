"""Objects that rest on a real CT and a real PET, as an outside checker finds them."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.formats import nifti, tables
from tests import pacs
from tests.strategies import instance_map

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.fixture(scope="module")
def cases(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("petct")
    with tarfile.open(shared_data.parent / "acceptance" / "ingest_cases.tar.xz") as archive:
        members = [m for m in archive.getmembers() if m.name.startswith("./petct_sts2")]
        archive.extractall(folder, members, filter="data")
    return folder


def tumour_and_more(labels: np.ndarray, geometry: Geometry) -> InstanceMap:
    """The experts' tumour, its upper half as a lesion of its own, and a single voxel."""
    lesions = labels.astype(np.uint16)
    middle = int(np.argwhere(labels)[:, 2].mean())
    lesions[..., middle:] *= 2
    lesions[0, 1, 2] = 5
    return instance_map(lesions, geometry)


def said_by(program: str, *arguments: object) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def errors(said: str) -> list[str]:
    """Errors, without those of an attribute that the source itself has wrong."""
    return [line for line in said.splitlines() if "Error" in line and "StudyID" not in line]


@pytest.mark.parametrize("modality", ["CT", "PET"])
def test_real_series_get_objects_that_outsiders_find_right(cases, tmp_path, modality):
    source = cases / "petct_sts2_folder" / modality
    mask, _ = nifti.read_labels(cases / "petct_sts2_nifti_ref" / f"{modality}_mask.nii.gz")
    geometry = pacs.read_stack(source).geometry
    lesions = tumour_and_more(mask, geometry)
    one = pacs.export_series(tmp_path, source, lesions, None)
    tables.write_csv(tmp_path / "instances.csv", one.rows)
    nifti.write_labels(tmp_path / "lesions.nii.gz", lesions.labels, geometry)
    checker = Path(__file__).parents[3] / "shared" / "acceptance" / "check_dicom_outputs.py"
    done = subprocess.run(
        [sys.executable, checker, *arguments(one, tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "0 failed", done.stdout
    for path in one.objects.iterdir():
        assert errors(said_by("dciodvfy", "-new", path)) == []
        assert errors(said_by("dcentvfy", *source.iterdir(), path)) == []


def arguments(one: pacs.Exported, folder: Path) -> Sequence[str]:
    """What the checker is given."""
    files = {
        "--ct": one.source,
        "--seg": one.objects / "segmentation.dcm",
        "--sr": one.objects / "measurements.dcm",
        "--pdf": one.objects / "report.dcm",
        "--csv": folder / "instances.csv",
        "--labels": folder / "lesions.nii.gz",
    }
    return [str(part) for pair in files.items() for part in pair]
