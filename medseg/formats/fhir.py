"""The door to FHIR R4: a DiagnosticReport with an Observation for each lesion, in one Bundle.

The Bundle names no patient: its subject is the run's pseudonym, where there is one. Lengths and
volumes are in UCUM units and coded as in the DICOM report (SNOMED CT); how a lesion is located is
its tracking UID, which DICOM SEG and SR hold too. The same run makes the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from uuid import NAMESPACE_OID, uuid5

from medseg.core.measurements import Measurement
from medseg.core.report import NOT_FOR_DIAGNOSTIC_USE
from medseg.core.structures import Code, Structure
from medseg.core.volume import IntensityUnit
from medseg.errors import UnreadableFileError
from medseg.formats.dicom_objects import SIDES

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"

SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"
PSEUDONYM = "urn:medseg:patient-key"

NUMBERS: tuple[tuple[str, Code, str, str], ...] = (
    ("volume_mm3", Code("118565006", "SCT", "Volume"), "mm3", "mm³"),
    ("longest_axial_diameter_mm", Code("103339001", "SCT", "Long axis"), "mm", "mm"),
    ("short_axis_mm", Code("103340004", "SCT", "Short axis"), "mm", "mm"),
)
"""Column, what it measures, its unit in UCUM, and that unit for a person."""

INTENSITIES = {
    IntensityUnit.SUV: ("g/ml{SUVbw}", "SUV (body weight)"),
    IntensityUnit.HU: ("[hnsf'U]", "HU"),
}
"""Units of intensity that UCUM knows; one without a unit is left out."""

NO_PROOF = (
    " That none was counted is no proof that there is none: a model may look for organs alone."
)
"""An archive that reads of 0 lesions must not take it for a finding."""

MEAN = ("intensity_mean", Code("373098007", "SCT", "Mean"))
MAXIMUM = ("intensity_max", Code("56851009", "SCT", "Maximum"))


@dataclass(frozen=True)
class Subject:
    """What the Bundle says of the run.

    Attributes:
        identity: Digest of what determines the labels; ids are derived from it.
        patient_key: Pseudonym of the patient, or None.
        counting_rule: Rule under which lesions were counted.
        software: Name and version of what measured.
    """

    identity: str
    patient_key: str | None
    counting_rule: str
    software: str


def write_fhir(
    path: Path,
    rows: Sequence[Measurement],
    subject: Subject,
    structures: Mapping[str, Structure],
) -> None:
    """Write the Bundle.

    Args:
        path: The new file.
        rows: The table; organs are passed over.
        subject: What the Bundle says of the run.
        structures: Codes of lesions and organs.
    """
    lesions = [row for row in rows if row.kind == "lesion"]
    observations = [_observation(row, subject, structures) for row in lesions]
    report = _report(len(lesions), subject, observations)
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in (report, *observations)
        ],
    }
    path.write_text(
        json.dumps(bundle, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def read_fhir(path: Path) -> dict[str, dict[str, tuple[float, str]]]:
    """Read the numbers back: tracking UID to code to value and UCUM unit.

    Raises:
        UnreadableFileError: It is no such Bundle, or its report and its Observations disagree.
    """
    try:
        entries = json.loads(path.read_bytes())["entry"]
        listed = [one["reference"] for one in entries[0]["resource"].get("result", [])]
        held = {one["fullUrl"]: _numbers(one["resource"]) for one in entries[1:]}
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        listed, held = [], {"": ("", {})}
    if listed != list(held):
        raise UnreadableFileError(
            "The FHIR Bundle cannot be read, so none of its numbers can be used.",
            "Run the study again.",
        )
    return dict(held.values())


def read_sites(path: Path) -> dict[str, list[str]]:
    """Read back where each lesion lies: tracking UID to the codes of its organ and its side.

    Args:
        path: A Bundle that `read_fhir` can read.
    """
    observations = [one["resource"] for one in json.loads(path.read_bytes())["entry"][1:]]
    return {
        _tracking_uid(one): [code["code"] for code in one.get("bodySite", {}).get("coding", [])]
        for one in observations
    }


def _tracking_uid(observation: Mapping[str, Any]) -> str:
    uid: str = observation["identifier"][0]["value"]
    return uid.removeprefix("urn:oid:")


def _numbers(observation: Mapping[str, Any]) -> tuple[str, dict[str, tuple[float, str]]]:
    """Tracking UID of an Observation, and its numbers by code; a unit of no UCUM is empty."""
    quantities = {
        part["code"]["coding"][0]["code"]: part["valueQuantity"]
        for part in observation["component"]
    }
    return _tracking_uid(observation), {
        code: (one["value"], one["code"] if one["system"] == UCUM else "")
        for code, one in quantities.items()
    }


def _report(
    count: int, subject: Subject, observations: Sequence[Mapping[str, Json]]
) -> dict[str, Json]:
    results: list[Json] = [{"reference": f"urn:uuid:{one['id']}"} for one in observations]
    return {
        "resourceType": "DiagnosticReport",
        "id": _id(subject, "report"),
        "status": "preliminary",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
                        "code": "RAD",
                        "display": "Radiology",
                    }
                ]
            }
        ],
        "code": {
            "coding": [{"system": LOINC, "code": "18748-4", "display": "Diagnostic imaging study"}]
        },
        **_patient(subject),
        # FHIR knows no empty list.
        **({"result": results} if results else {}),
        "conclusion": (
            f"{count} {'lesion' if count == 1 else 'lesions'} by the rule "
            f"{subject.counting_rule}, measured by {subject.software} and not verified. "
            f"{NOT_FOR_DIAGNOSTIC_USE}.{'' if count else NO_PROOF}"
        ),
    }


def _observation(
    row: Measurement, subject: Subject, structures: Mapping[str, Structure]
) -> dict[str, Json]:
    structure = structures[row.structure]
    return {
        "resourceType": "Observation",
        "id": _id(subject, row.tracking_uid),
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:oid:{row.tracking_uid}"}],
        "status": "preliminary",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "imaging",
                        "display": "Imaging",
                    }
                ]
            }
        ],
        "code": {
            "coding": [_coding(structure.code)],
            "text": f"{structure.title} {row.instance}",
        },
        **_patient(subject),
        **_site(row, structures),
        "component": [*_sizes(row), *_intensities(row)],
    }


def _sizes(row: Measurement) -> list[Json]:
    return [
        _component(code, getattr(row, column), unit, said) for column, code, unit, said in NUMBERS
    ]


def _intensities(row: Measurement) -> list[Json]:
    known = INTENSITIES.get(IntensityUnit(row.intensity_unit))
    if known is None:
        return []
    return [_component(code, getattr(row, column), *known) for column, code in (MEAN, MAXIMUM)]


def _component(code: Code, value: float, unit: str, said: str) -> dict[str, Json]:
    return {
        "code": {"coding": [_coding(code)], "text": f"{code.meaning} ({said})"},
        "valueQuantity": {"value": value, "unit": said, "system": UCUM, "code": unit},
    }


def _site(row: Measurement, structures: Mapping[str, Structure]) -> dict[str, Json]:
    """The organ that a lesion lies in, with its side as a second coding; nothing where unknown."""
    if row.organ is None:
        return {}
    organ = structures[row.organ]
    side = SIDES.get(organ.laterality)
    codings = [_coding(organ.code), *([] if side is None else [_coding(side)])]
    return {"bodySite": {"coding": codings, "text": organ.title}}


def _patient(subject: Subject) -> dict[str, Json]:
    if subject.patient_key is None:
        return {}
    identifier = {"system": PSEUDONYM, "value": subject.patient_key}
    return {"subject": {"type": "Patient", "identifier": identifier}}


def _coding(code: Code) -> dict[str, Json]:
    return {"system": SNOMED, "code": code.value, "display": code.meaning}


def _id(subject: Subject, name: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"{subject.identity}/{name}"))
