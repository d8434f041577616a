"""Who a study is of, for the one report that is asked to say it (`report.pseudonymised`).

Nothing else may read this: logs, records and tables know a patient by pseudonym alone.
"""

from medseg.formats.dicom_source import DicomSource
from medseg.formats.dicom_values import MalformedValueError

HEADINGS = (
    ("Patient", "PatientName"),
    ("Patient ID", "PatientID"),
    ("Born", "PatientBirthDate"),
    ("Sex", "PatientSex"),
    ("Study date", "StudyDate"),
    ("Accession", "AccessionNumber"),
    ("Study", "StudyDescription"),
)
"""Heading and attribute (PS3.3 C.7.1.1 and C.7.2.1), in the order of a report's head."""


def identification(source: DicomSource) -> tuple[tuple[str, str], ...]:
    """Heading and value of what the source states; a damaged value counts as not stated."""
    found = ((heading, _shown(source, name)) for heading, name in HEADINGS)
    return tuple((heading, value) for heading, value in found if value)


def _shown(source: DicomSource, name: str) -> str:
    try:
        value = source.value(name)
    except MalformedValueError:
        return ""
    if name == "PatientName":
        # The first that there is of three writings, its parts in their order (PS3.5 6.2.1).
        writing = next((one for one in value.split("=") if one), "")
        return ", ".join(part for part in writing.split("^") if part)
    if name.endswith("Date") and len(value) == 8 and value.isdecimal():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value
