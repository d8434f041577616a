"""The phantom on disk."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK

from medseg.formats.nifti import read_labels
from medseg.phantom.body import small_phantom
from medseg.phantom.study import PHANTOM_PATIENT, write_study, write_truth


@pytest.fixture(scope="module")
def phantom():
    return small_phantom(3)


def test_a_study_holds_a_ct_and_a_pet_of_one_patient(tmp_path, phantom):
    canary = replace(PHANTOM_PATIENT, name="CANARY^TEST", patient_id="CANARY-ID")
    write_study(tmp_path, phantom, canary)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    assert {path.suffix for path in files} == {""}
    assert {(s.Modality, s.SeriesNumber) for s in slices} == {("CT", 2), ("PT", 3)}
    assert len({s.StudyInstanceUID for s in slices}) == 1
    assert len({s.FrameOfReferenceUID for s in slices}) == 1
    assert {(str(s.PatientName), s.PatientID) for s in slices} == {("CANARY^TEST", "CANARY-ID")}
    expected = phantom.ct.geometry.shape[2] + phantom.pet.geometry.shape[2]
    assert len(files) == len({s.SOPInstanceUID for s in slices}) == expected


def test_simpleitk_reads_the_pet_of_the_phantom(tmp_path, phantom):
    write_study(tmp_path, phantom)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(
        SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "ST0" / "SE1"))
    )
    image = reader.Execute()
    last = [n - 1 for n in phantom.pet.geometry.shape]
    far = np.array(image.TransformIndexToPhysicalPoint(last)) * (-1, -1, 1)
    np.testing.assert_allclose(far, phantom.pet.geometry.to_world(np.array(last)), atol=1e-3)
    activity = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    factor = activity.max() / phantom.pet.data.max()
    tolerance = activity.max() / 50_000
    np.testing.assert_allclose(activity, phantom.pet.data * factor, rtol=0, atol=tolerance)


def test_the_truth_is_written_apart_on_the_grid_of_the_pet(tmp_path, phantom):
    write_study(tmp_path / "study", phantom)
    write_truth(tmp_path / "truth", phantom)
    labels, geometry = read_labels(tmp_path / "truth" / "lesions.nii.gz")
    np.testing.assert_array_equal(labels, phantom.lesions.labels)
    assert geometry.matches(phantom.pet.geometry)
    assert not list((tmp_path / "study").rglob("*.nii*"))
