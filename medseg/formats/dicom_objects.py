"""What every DICOM object of ours says of its patient, study, series, time and maker.

Two runs of one study make the same objects, byte for byte: UIDs are derived from the identity of
the run and from the source, and every date and time is the source's, since no clock is asked.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from medseg.core.structures import Code, Laterality, Structure
from medseg.formats.dicom_attributes import derived_uid
from medseg.formats.dicom_source import PATIENT, STUDY, DicomSource
from medseg.formats.dicom_values import quiet

MAKER = "medseg"

NO_DATE, NO_TIME = "19000101", "000000"
"""Of an object whose source was robbed of its dates; DICOM demands one."""

DATE = re.compile(r"\d{8}")
TIME = re.compile(r"\d{6}([.]\d{1,6})?")

REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes of patient and study that must be there, if only empty (type 2)."""

SIDES: Mapping[Laterality, Code] = {
    "left": Code("7771000", "SCT", "Left"),
    "right": Code("24028007", "SCT", "Right"),
}
"""PS3.16 CID 244."""

ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical Structure")
ENTIRE_BODY = Code("38266002", "SCT", "Entire Body")
LESION = Code("52988006", "SCT", "Lesion")


@dataclass(frozen=True)
class ObjectKind:
    """What tells one object of a run from the others.

    Attributes:
        name: Part of its UIDs.
        sop_class: Its storage class.
        modality: Of its series.
        series_number: Of its series; high, so that it stands behind the scanner's.
        description: Of its series, in ASCII.
    """

    name: str
    sop_class: str
    modality: str
    series_number: int
    description: str


@dataclass(frozen=True, eq=False)
class ObjectRun:
    """What all objects of one run share.

    Attributes:
        source: The series that they rest on.
        identity: Digest of what determines the labels.
        algorithm: Name of what delineated, in ASCII.
        structures: Name to title and code.
    """

    source: DicomSource
    identity: str
    algorithm: str
    structures: Mapping[str, Structure]

    def structure(self, name: str) -> Structure:
        """A structure by its name; one without a code gets the most general one of its kind."""
        is_lesion = name == "lesion" or name.endswith("_lesion")
        unknown = Structure(
            name.replace("_", " "),
            "lesion" if is_lesion else "organ",
            LESION if is_lesion else ANATOMICAL_STRUCTURE,
        )
        return self.structures.get(name, unknown)

    def region(self, organ: str | None) -> tuple[Code, Laterality]:
        """Where a lesion lies; the entire body where its organ is not known."""
        if organ is None:
            return ENTIRE_BODY, "none"
        structure = self.structure(organ)
        return structure.code, structure.laterality


def new_object(run: ObjectRun, kind: ObjectKind, *content: str) -> Dataset:
    """An object with everything but what it is about.

    Args:
        run: Whose object.
        kind: Which object.
        content: What its content depends on beyond the identity of the run: another content must
            get another UID.
    """
    source = run.source
    made = Dataset()
    names = ("SpecificCharacterSet", "TimezoneOffsetFromUTC", *PATIENT, *STUDY)
    for name in names:
        if name in source.header:
            made[name] = source.header[name]
    for name in REQUIRED:
        if name not in made:
            setattr(made, name, "")
    series = derived_uid("series", kind.name, run.identity, source.value("SeriesInstanceUID"))
    made.SOPClassUID = kind.sop_class
    made.SOPInstanceUID = derived_uid(series, *content)
    made.SeriesInstanceUID = series
    made.SeriesNumber = kind.series_number
    made.SeriesDescription = kind.description
    made.InstanceNumber = 1
    made.Modality = kind.modality
    made.Manufacturer = made.ManufacturerModelName = MAKER
    made.SoftwareVersions = version(MAKER)
    made.DeviceSerialNumber = "0"
    made.InstanceCreationDate, made.InstanceCreationTime = source_moment(source)
    return made


def source_moment(source: DicomSource) -> tuple[str, str]:
    """Date and time of the source, as DA and TM."""
    for event in ("Acquisition", "Series", "Study"):
        date, time = source.value(f"{event}Date"), source.value(f"{event}Time")
        if DATE.fullmatch(date):
            return date, time if TIME.fullmatch(time) else NO_TIME
    return NO_DATE, NO_TIME


def write_object(path: Path, made: Dataset, syntax: str = ExplicitVRLittleEndian) -> None:
    """Write an object as a DICOM file; the same object gives the same bytes."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.file_meta.ImplementationClassUID = UID(derived_uid(MAKER))
    made.file_meta.ImplementationVersionName = MAKER.upper()
    with quiet():
        dcmwrite(path, made, enforce_file_format=True)


def code_item(code: Code) -> Dataset:
    """A code as an item of a code sequence."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = ascii_only(code.meaning, 64)
    return item


def referenced_slices(run: ObjectRun, used: set[int]) -> list[Dataset]:
    """References to the files of some slices, each once, in the order of the slices."""
    uids = dict.fromkeys(run.source.slices[k].sop_instance_uid for k in sorted(used))
    return [reference(run.source.value("SOPClassUID"), uid) for uid in uids]


def reference(sop_class: str, uid: str) -> Dataset:
    """A reference to an object."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = uid
    return item


def ascii_only(words: str, most: int) -> str:
    """Words of ours as every character set of a source can hold them, without a backslash."""
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    return plain.replace("\\", "/")[:most].strip()
