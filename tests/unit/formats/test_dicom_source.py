"""What objects take over from their source, and the sources that none can rest on."""

import pytest

from medseg.core.study import QualityFlag
from medseg.formats.dicom_source import DicomSource, read_source, source_of, write_source
from tests import dicom_series, pacs


def found(tmp_path, **tags: object) -> DicomSource | QualityFlag:
    datasets = pacs.series(pacs.oblique(), **tags)
    return source_of(pacs.read_stack(dicom_series.write(tmp_path / "in", datasets)))


def test_patient_study_and_slices_pass_through_the_staging_folder(tmp_path):
    source = found(tmp_path, PatientName="Bédard^Zoé")
    assert isinstance(source, DicomSource)
    write_source(tmp_path, "ct", source)
    again = read_source(tmp_path, "ct")
    assert again is not None
    assert again.slices == source.slices
    assert (again.orientation, again.spacing_mm) == (source.orientation, source.spacing_mm)
    assert again.value("PatientName") == "Bédard^Zoé"
    assert again.value("StudyDescription") == "CANARY study"
    assert [again.value(name) for name in ("AccessionNumber", "StudyID")] == ["A17", "7"]


def test_slices_are_in_the_order_of_the_volume(tmp_path):
    datasets = pacs.series(pacs.oblique())
    stack = pacs.read_stack(dicom_series.write(tmp_path / "in", datasets[::-1]))
    source = source_of(stack)
    assert isinstance(source, DicomSource)
    stated = [one.SOPInstanceUID for one in datasets]
    assert [one.sop_instance_uid for one in source.slices] == stated
    for one, dataset in zip(source.slices, datasets, strict=True):
        assert one.position == pytest.approx([float(x) for x in dataset.ImagePositionPatient])


def test_without_a_source_there_is_none_to_read(tmp_path):
    assert read_source(tmp_path, "ct") is None


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"StudyInstanceUID": ""}, "lacks a study UID"),
        ({"SeriesInstanceUID": ""}, "lacks a series UID"),
        ({"FrameOfReferenceUID": ""}, "lacks a frame of reference"),
        ({"StudyInstanceUID": "", "FrameOfReferenceUID": ""}, "a study UID and a frame"),
    ],
)
def test_a_source_without_a_needed_uid_is_flagged(tmp_path, tags, why):
    flag = found(tmp_path, **tags)
    assert isinstance(flag, QualityFlag)
    assert flag.code == "no-dicom-objects"
    assert why in flag.message
    assert "CANARY" not in flag.message


def test_slices_of_two_patients_carry_no_object(tmp_path):
    datasets = pacs.series(pacs.oblique())
    datasets[3].PatientID = "CANARY-OTHER"
    flag = source_of(pacs.read_stack(dicom_series.write(tmp_path / "in", datasets)))
    assert isinstance(flag, QualityFlag)
    assert "several patients" in flag.message
