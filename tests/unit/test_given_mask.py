"""A study with a mask in place of a model, through the whole line."""

import json
from pathlib import Path

import numpy as np
import pytest

from medseg import run_folder, stages
from medseg.config import MaskSettings
from medseg.core.geometry import Geometry
from medseg.errors import NotAnImageError, SourceNotFoundError
from medseg.formats import nifti
from medseg.given_mask import EmptyMaskError, read_given
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the phantom with its truth as the mask."""
    folder = tmp_path_factory.mktemp("masks")
    phantom = small_phantom()
    write_study(folder / "study", phantom)
    nifti.write_labels(folder / "truth.nii.gz", phantom.lesions.labels, phantom.lesions.geometry)
    mask = MaskSettings(path=folder / "truth.nii.gz", instances="labels")
    stages.delineate(folder / "study", folder / "run", mask=mask)
    return folder / "run"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_truth_as_a_mask_comes_out_as_it_went_in_and_is_named(run: Path) -> None:
    labels, _ = nifti.read_labels(run / run_folder.LESIONS)
    np.testing.assert_array_equal(labels, small_phantom().lesions.labels)
    record = json.loads((run / run_folder.RUN_RECORD).read_text())
    assert record["models"] == {}
    assert list(record["mask"]) == ["nifti"]
    assert record["counting_rule"] == "peer-labels"
    assert "peer-mask" in [flag["code"] for flag in record["flags"]]
    page = (run / run_folder.REPORT_HTML).read_text()
    assert record["mask"]["nifti"] in page
    assert "not found by a model" in page


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "kind"),
    [(run_folder.DICOM_LESIONS, "dicom-seg"), (run_folder.DICOM_STRUCTURES, "rtstruct")],
)
def test_what_was_exported_comes_back_voxel_by_voxel(run: Path, name: str, kind: str) -> None:
    truth = small_phantom().lesions
    found = read_given(MaskSettings(path=run / name), truth.geometry)
    assert found.kind == kind
    # Segments and regions are numbered from 1 in the order of the instances.
    for number, row in enumerate(truth.instances, start=1):
        np.testing.assert_array_equal(found.labels == number, truth.labels == row.label)


def test_labels_that_are_not_there_are_no_empty_report(tmp_path: Path) -> None:
    geometry = Geometry((6, 7, 8), np.diag([1.0, 2.0, 3.0, 1.0]))
    values = np.zeros(geometry.shape, np.uint16)
    values[2:4, 2:5, 1:6] = 2
    values[5, 6, 7] = 1
    nifti.write_labels(tmp_path / "m.nii.gz", values, geometry)
    found = read_given(MaskSettings(path=tmp_path / "m.nii.gz", labels=(2,)), geometry)
    np.testing.assert_array_equal(found.labels, np.where(values == 2, 2, 0))
    with pytest.raises(EmptyMaskError):
        read_given(MaskSettings(path=tmp_path / "m.nii.gz", labels=(3, 4)), geometry)
    (tmp_path / "t.txt").write_text("no mask")
    with pytest.raises(NotAnImageError, match="neither NIfTI nor"):
        read_given(MaskSettings(path=tmp_path / "t.txt"), geometry)
    with pytest.raises(SourceNotFoundError):
        read_given(MaskSettings(path=tmp_path / "none.nii.gz"), geometry)
