"""What is said of a patient, a study and a series when an image series is written as DICOM."""

import hashlib
import math
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True)
class PatientAttributes:
    """Whom a study is of. Only invented patients are written.

    Attributes:
        name: Family and given name, parted by `^`.
        patient_id: The hospital's number.
        birth_date: Day of birth.
        sex: M, F or O.
        weight_kg: Body weight, which SUV needs.
        size_m: Body height.
    """

    name: str
    patient_id: str
    birth_date: date
    sex: str
    weight_kg: float
    size_m: float


@dataclass(frozen=True)
class StudyAttributes:
    """What the series of a study share.

    Attributes:
        patient: Whom it is of.
        uid: Study Instance UID.
        study_id: The number that the department gives it.
        started: When it began.
        description: What was done.
    """

    patient: PatientAttributes
    uid: str
    study_id: str
    started: datetime
    description: str


@dataclass(frozen=True)
class Tracer:
    """What was injected before a PET, and when.

    Attributes:
        dose_bq: Activity in the syringe at the injection, Bq.
        half_life_seconds: Of the radionuclide; 6586.2 s for fluorine-18 (1.8295 h).
        positron_fraction: Share of decays that emit a positron; 0.967 for fluorine-18.
        injected: When.
    """

    dose_bq: float
    half_life_seconds: float
    positron_fraction: float
    injected: datetime


@dataclass(frozen=True)
class SeriesAttributes:
    """What is said of one series.

    Attributes:
        study: The study that it is part of.
        number: Series Number; with the study's UID it determines every other UID.
        description: Shown by a PACS.
        started: When the acquisition of its first slice began; a PET is decay-corrected to then.
        tracer: For PET; None for CT.
    """

    study: StudyAttributes
    number: int
    description: str
    started: datetime
    tracer: Tracer | None = None


def derived_uid(*parts: str) -> str:
    """A UID that is always the same for the same parts: `2.25.` and 128 bits (PS3.5 B.2)."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def suv_to_bqml(series: SeriesAttributes) -> float:
    """Activity concentration in Bq/mL of SUV 1 at the start of a PET series.

    The injected dose, decayed to the start of the series, spread evenly over the body weight at
    1 g/mL (QIBA FDG-PET profile, SUV by body weight; Decay Correction START, PS3.3 C.8.9.1.1.6).

    Raises:
        ValueError: The series has no tracer.
    """
    if series.tracer is None:
        raise ValueError("a PET series needs a tracer")
    waited = (series.started - series.tracer.injected).total_seconds()
    left_bq = series.tracer.dose_bq * math.exp2(-waited / series.tracer.half_life_seconds)
    return left_bq / (series.study.patient.weight_kg * 1000)
