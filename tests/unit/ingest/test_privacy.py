"""A patient called CANARY goes in, and no CANARY comes out."""

import json
import logging

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medseg.errors import InputError, MedsegError, SettingsError
from medseg.formats import handover
from medseg.ingest.choice import judge
from medseg.ingest.inspect import inspect
from medseg.ingest.select import choose_protocol, explain, read_study
from medseg.site_secret import load_site_secret
from medseg.terminal import as_json, inspection_text
from tests import dicom_series, hospital
from tests.unit.ingest.test_select import CT, PET, protocol

CANARY = "CANARY"
VALUES = {
    "PN": "CANARY^BIRD", "LO": CANARY, "SH": CANARY, "LT": CANARY, "ST": CANARY, "UT": CANARY,
    "CS": CANARY, "AE": CANARY, "DA": "19770707", "TM": "070707", "AS": "077Y", "UC": CANARY,
}  # fmt: skip
NAMES = (
    "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "PatientBirthDate",
    "PatientBirthTime", "PatientAge", "PatientAddress", "PatientMotherBirthName", "PatientComments",
    "PatientTelephoneNumbers", "EthnicGroup", "Occupation", "AdditionalPatientHistory",
    "AccessionNumber", "StudyID", "StudyDescription", "SeriesDescription", "ProtocolName",
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy", "ImageComments", "DerivationDescription", "DeviceSerialNumber",
    "ManufacturerModelName", "Manufacturer", "SoftwareVersions", "ConvolutionKernel",
    "BodyPartExamined", "ContrastBolusAgent", "RequestedProcedureDescription", "AdmissionID",
    "RequestingPhysician", "PerformedProcedureStepDescription", "AcquisitionComments",
    "SequenceName", "RescaleType", "TextComments", "RequestAttributesSequence", "AdmittingDate",
)  # fmt: skip
WORDS = (CANARY, "canary", "19770707", "077Y", "2.25.4242")


def named(dataset: Dataset) -> Dataset:
    """The dataset with every text called CANARY, in a sequence and in private elements too."""
    inner = Dataset()
    inner.RequestedProcedureDescription = inner.ScheduledProcedureStepID = CANARY
    for name in NAMES:
        tag = tag_for_keyword(name)
        assert tag is not None, name
        kind = dictionary_VR(tag)
        setattr(dataset, name, Items([inner]) if kind == "SQ" else VALUES[kind])
    dataset.StudyInstanceUID = "2.25.4242"
    dataset.private_block(0x0011, CANARY, create=True).add_new(1, "LO", CANARY)
    return dataset


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with series to take, to refuse and to rank, in folders called CANARY."""
    folder = tmp_path_factory.mktemp("x") / "CANARY_study"
    gap = hospital.ct(3, hospital.THICK, 1.0)
    del gap[4]
    series = {
        "pet": hospital.pet(5),
        "again": hospital.pet(6, RescaleSlope="2", ImageType=["DERIVED", CANARY]),
        "no_suv": hospital.pet(7, Units=CANARY),
        "gap": gap,
        "scout": hospital.ct(1, hospital.THICK, 1.0, ImageType=[CANARY, "LOCALIZER"])[:1],
        "picture": [hospital.capture(8)],
        "dose": [hospital.dose_report(9)],
        "odd": hospital.pet(10, Modality=CANARY),
        "private": hospital.pet(11, SOPClassUID="2.25.4242"),
    }
    for name, datasets in series.items():
        at = folder / f"CANARY_{name}"
        dicom_series.write(at, [named(one) for one in datasets], "CANARY{}.dcm".format)
    damaged = (folder / "CANARY_gap" / "CANARY0.dcm").read_bytes()
    (folder / "CANARY_damaged").mkdir()
    (folder / "CANARY_damaged" / "CANARY.dcm").write_bytes(damaged[:700])
    (folder / "CANARY.txt").write_text(CANARY)
    (folder / "CANARY.nii").write_text(CANARY)
    return folder


def leaks(text: str) -> list[str]:
    return [word for word in WORDS if word in text]


def test_no_text_of_the_source_leaves_the_door(study, tmp_path, caplog, capsys, monkeypatch):
    caplog.set_level(logging.DEBUG)
    secret = b"0123456789abcdef"
    answer = {**inspect(study).plain(), "choice": explain(judge(study), protocol()).plain()}
    assert {row["outcome"] for row in answer["series"]} == {"ok", "refused"}
    assert not leaks(as_json(answer) + inspection_text(answer))
    assert not leaks(choose_protocol(judge(study), [protocol("pet", pet=PET)])[1])
    for key in (None, secret):
        found = read_study(study, protocol(), {}, key)
        (tmp_path / str(key)).mkdir()
        handover.write_study(tmp_path / str(key), found)
        files = list(tmp_path.rglob("*.json"))
        assert files
        assert not [path for path in files if leaks(path.read_text())]
    said = caplog.text + "".join(capsys.readouterr())
    assert not leaks(said)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: read_study(path, protocol(ct=CT), {}),
        lambda path: read_study(path, protocol(ct={**CT, "modality": "MR"}), {}),
        lambda path: read_study(path, protocol(), {"pet": path / "CANARY_no_suv"}),
        lambda path: read_study(path, protocol(), {"pet": path / "CANARY_odd"}),
        lambda path: read_study(path, protocol(), {"pet": path / "CANARY.txt"}),
        lambda path: read_study(path, protocol(), {"pet": path / "CANARY_missing"}),
        lambda path: read_study(path / "CANARY_damaged", protocol(), {}),
        lambda path: choose_protocol(judge(path), [protocol("ct", ct=CT), protocol("c", ct=CT)]),
    ],
)
def test_no_error_names_anyone(study, make):
    with pytest.raises(InputError) as caught:
        make(study)
    assert not leaks(f"{caught.value!r} {caught.value}")


def test_a_pseudonym_is_keyed_by_the_site_and_tells_patients_apart(tmp_path):
    for place, (patient, uid) in enumerate([("1", "2.25.1"), ("1", "2.25.2"), ("2", "2.25.3")]):
        series = hospital.pet(5, PatientID=patient, StudyInstanceUID=uid)
        dicom_series.write(tmp_path / str(place), series)
    secrets = (b"0123456789abcdef", b"fedcba9876543210")
    asked = protocol(pet=PET)
    found = {
        (place, key): read_study(tmp_path / str(place), asked, {}, key)
        for place in range(3)
        for key in (*secrets, None)
    }
    one, other = secrets
    patients = {at: study.patient_key for at, study in found.items()}
    assert patients[0, one] == patients[1, one]
    assert len({patients[at] for at in ((0, one), (2, one), (0, other), (2, other))}) == 4
    assert patients[0, None] is None
    studies = {study.study_key for study in found.values()}
    assert len(studies) == 9
    assert all(len(name) == 16 for name in studies)


def test_a_study_of_two_patients_names_neither(tmp_path):
    dicom_series.write(tmp_path / "a", hospital.pet(5, PatientID="1"))
    dicom_series.write(tmp_path / "b", hospital.ct(2, hospital.THIN, 1.0, PatientID="2"))
    found = read_study(tmp_path, protocol(), {}, b"0123456789abcdef")
    assert set(found.series) == {"pet", "ct"}
    assert found.patient_key is None


def test_a_secret_that_is_none_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDSEG_SITE_SECRET_FILE", raising=False)
    assert load_site_secret() is None
    path = tmp_path / "CANARY"
    monkeypatch.setenv("MEDSEG_SITE_SECRET_FILE", str(path))
    for content in (None, b"short"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError) as caught:
            load_site_secret()
        assert CANARY not in str(caught.value)
    path.write_bytes(b"0123456789abcdef\n")
    assert load_site_secret() == b"0123456789abcdef"


@pytest.mark.parametrize(
    "tags",
    [
        {"BurnedInAnnotation": "YES"},
        {"ConversionType": "WSD"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
    ],
)
def test_text_in_the_pixels_is_a_doubt(tmp_path, tags):
    dicom_series.write(tmp_path / "a", hospital.pet(5, **tags))
    dicom_series.write(tmp_path / "b", hospital.pet(6, BurnedInAnnotation="NO"))
    with_text, without = inspect(tmp_path).series
    assert [flag.code for flag in with_text.flags] == ["burned-in-annotation"]
    assert without.flags == ()


def test_a_run_record_is_json_and_says_what_was_considered(study):
    found = read_study(study, protocol(pet=PET), {})
    rows = [one.__dict__ for one in found.candidates["pet"]]
    assert json.loads(json.dumps(rows)) == rows
    assert issubclass(InputError, MedsegError)
