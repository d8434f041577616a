"""What the stages after ingest get of a study: its volumes, and its patient apart from them."""

import nibabel as nib
import numpy as np
import pytest

from medseg import config
from medseg.errors import UnitError
from medseg.formats import handover
from medseg.formats.dicom_source import read_source
from medseg.ingest.hand_on import hand_on
from tests import dicom_series, pacs
from tests.unit.ingest.test_select import CT, protocol

FLAG = "no-dicom-objects"


def codes(folder) -> list[str]:
    return [flag.code for flag in handover.read_study(folder).flags]


def test_the_main_series_is_handed_on_with_its_patient_in_files_of_its_own(tmp_path):
    dicom_series.write(tmp_path / "in", pacs.series(pacs.axial()))
    (tmp_path / "stages").mkdir()
    hand_on(tmp_path / "in", tmp_path / "stages", protocol(ct=CT), {})
    source = read_source(tmp_path / "stages", "ct")
    assert source is not None
    assert source.value("PatientName") == "CANARY^TEST"
    assert FLAG not in codes(tmp_path / "stages")
    holding = [
        path.name for path in (tmp_path / "stages").iterdir() if b"CANARY" in path.read_bytes()
    ]
    assert holding == ["source-ct.dcm"]


def test_a_series_without_a_frame_of_reference_is_flagged_and_read(tmp_path):
    dicom_series.write(tmp_path / "in", pacs.series(pacs.axial(), FrameOfReferenceUID=""))
    (tmp_path / "stages").mkdir()
    hand_on(tmp_path / "in", tmp_path / "stages", protocol(ct=CT), {})
    assert read_source(tmp_path / "stages", "ct") is None
    assert FLAG in codes(tmp_path / "stages")


def test_a_nifti_file_has_no_patient_and_needs_no_flag(tmp_path):
    voxels = np.random.default_rng(0).normal(0, 90, (9, 7, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag((1.5, 2.0, 3.0, 1.0))), tmp_path / "a.nii.gz")
    (tmp_path / "stages").mkdir()
    hand_on(tmp_path / "a.nii.gz", tmp_path / "stages", protocol(ct=CT), {})
    assert read_source(tmp_path / "stages", "ct") is None
    assert FLAG not in codes(tmp_path / "stages")


def test_a_doubtful_unit_is_refused_unless_the_user_named_protocol_or_series(tmp_path):
    voxels = np.random.default_rng(0).normal(60, 9, (9, 7, 5)).astype(np.float32)
    file = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.diag((1.5, 2.0, 3.0, 1.0))), file)
    (tmp_path / "stages").mkdir()
    with pytest.raises(UnitError, match=r"Series 1, .* half of its bright voxels") as refused:
        hand_on(file, tmp_path / "stages", None, {})
    assert "--protocol" in refused.value.remedy
    assert not list((tmp_path / "stages").iterdir())
    named = config.load_protocol("pet-lesions")
    for number, (asked, picked) in enumerate(((named, {}), (None, {"pet": file}))):
        stages = tmp_path / f"stages{number}"
        stages.mkdir()
        assert hand_on(file, stages, asked, picked).name == "pet-lesions"
        assert {"unit-assumed", "unit-doubtful"} <= set(codes(stages))
