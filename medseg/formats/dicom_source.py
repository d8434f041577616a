"""What DICOM objects of ours take over from the series that they rest on: patient, study, slices.

A PACS files an object by the patient and the study that it names, so both are copied as they are.
They pass from the stage that reads files to the one that writes objects in the staging folder,
beside the study of `handover` and never in it: everything else of a run holds no patient.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medseg.core.study import QualityFlag
from medseg.formats.dicom import open_dataset
from medseg.formats.dicom_stack import Stack
from medseg.formats.dicom_values import PARSING_FAULTS, quiet, text

Lps = tuple[float, float, float]
"""A position in LPS mm."""

PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDs",
    "OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup", "PatientComments",
    "QualityControlSubject", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
    "PatientBreedDescription", "PatientBreedCodeSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
)  # fmt: skip
"""Patient and Clinical Trial Subject modules (PS3.3 C.7.1.1 and C.7.1.3)."""

STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ConsultingPhysicianName",
    "StudyDescription", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy",
    "ProcedureCodeSequence", "AdmittingDiagnosesDescription", "PatientAge", "PatientSize",
    "PatientWeight", "Occupation", "AdditionalPatientHistory", "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)  # fmt: skip
"""General Study, Patient Study and Clinical Trial Study modules (PS3.3 C.7.2.1 to C.7.2.3)."""

SERIES = (
    "SeriesInstanceUID", "Modality", "SOPClassUID", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime",
    "TimezoneOffsetFromUTC", "NumberOfFrames", "BodyPartExamined",
)  # fmt: skip
"""What an object says of the series that it rests on, and takes its time from."""


@dataclass(frozen=True)
class SourceSlice:
    """Where one slice of a volume came from.

    Attributes:
        sop_instance_uid: Of its file.
        frame: Its place in a multi-frame file, from 1; None for a file of one slice.
        position: LPS mm of the centre of its first pixel, as its file states it.
    """

    sop_instance_uid: str
    frame: int | None
    position: Lps


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The series that a DICOM object rests on.

    Attributes:
        header: Its patient, study and series; private to the patient.
        orientation: Direction of a row, then of a column, in LPS, of length 1 as the geometry has
            them: what a file's cosines are rounded by adds up over its width.
        spacing_mm: Distance between rows, then between columns.
        slices: One for each k of the volume.
    """

    header: Dataset
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float]
    slices: tuple[SourceSlice, ...]

    def value(self, name: str) -> str:
        """A value of the header as text; empty where absent."""
        return text(self.header, name)


def source_of(stack: Stack) -> DicomSource | QualityFlag:
    """What objects that rest on a series take over from it.

    Returns:
        Or a flag that says why no object can rest on it.
    """
    first = stack.slices[0]
    header = _header(first.file.path)
    if header is None:
        return _none_possible("its patient and study cannot be read")
    lacks = [
        what
        for what, name in (
            ("a storage class", "SOPClassUID"),
            ("a study UID", "StudyInstanceUID"),
            ("a series UID", "SeriesInstanceUID"),
            ("a frame of reference", "FrameOfReferenceUID"),
        )
        if not text(header, name)
    ]
    if not stack.references:
        lacks.append("a UID for every slice")
    if lacks:
        return _none_possible(f"the source lacks {' and '.join(lacks)}")
    if (
        len(
            {
                (one.file.kind, one.file.traits.study, one.file.traits.patient)
                for one in stack.slices
            }
        )
        > 1
    ):
        return _none_possible("its slices name several patients, studies or kinds of image")
    is_multi_frame = "NumberOfFrames" in header
    slices = tuple(
        SourceSlice(
            one.file.sop_instance_uid,
            one.frame.index + 1 if is_multi_frame else None,
            _point(one.frame.position or ()),
        )
        for one in stack.slices
    )
    i_mm, j_mm, _ = stack.geometry.spacing_mm
    towards = stack.geometry.affine[:3, :2] / (i_mm, j_mm) * [[-1], [-1], [1]]
    orientation = tuple((towards.T.ravel() + 0.0).tolist())  # no minus before a zero
    return DicomSource(header, orientation, (j_mm, i_mm), slices)


def write_source(folder: Path, role: str, source: DicomSource) -> None:
    """Hand a source on to the stage that writes objects."""
    header = Dataset(source.header)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with quiet():
        header.save_as(_header_path(folder, role), enforce_file_format=False)
    record = {
        "orientation": source.orientation,
        "spacing_mm": source.spacing_mm,
        "slices": [asdict(one) for one in source.slices],
    }
    _record_path(folder, role).write_text(json.dumps(record), encoding="utf-8")


def read_source(folder: Path, role: str) -> DicomSource | None:
    """Read a source back; None where no object can rest on that series."""
    path = _record_path(folder, role)
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    with quiet():
        header = Dataset(dcmread(_header_path(folder, role), force=True))
        header.walk(lambda *_: None)  # converts every value, here where it is quiet
    return DicomSource(
        header,
        tuple(record["orientation"]),
        TypeAdapter(tuple[float, float]).validate_python(record["spacing_mm"]),
        TypeAdapter(tuple[SourceSlice, ...]).validate_python(record["slices"]),
    )


def _header(path: Path) -> Dataset | None:
    """Patient, study and series of a file; None where one of their values is damaged."""
    header = Dataset()
    names = ("SpecificCharacterSet", *PATIENT, *STUDY, *SERIES)
    try:
        with path.open("rb") as file, quiet():
            dataset = open_dataset(file)
            for name in names:
                if name in dataset:
                    header[name] = dataset[name]
            kind = text(dataset, "SOPClassUID") or text(
                dataset.file_meta, "MediaStorageSOPClassUID"
            )
            header.SOPClassUID = kind
            header.decode()
    except PARSING_FAULTS:
        return None
    return header


def _none_possible(why: str) -> QualityFlag:
    message = f"No DICOM objects were made for the PACS: {why}. Tables and report are complete."
    return QualityFlag("no-dicom-objects", message)


def _point(values: tuple[float, ...]) -> Lps:
    x, y, z = values
    return (x, y, z)


def _header_path(folder: Path, role: str) -> Path:
    return folder / f"source-{role}.dcm"


def _record_path(folder: Path, role: str) -> Path:
    return folder / f"source-{role}.json"
