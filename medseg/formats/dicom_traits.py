"""What a header says of how an image was made: what a radiologist reads before choosing a series.

None of it decides a geometry or an intensity, so what is damaged counts as not stated. Texts are
compared and never shown: a hospital writes into them what it likes.
"""

from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from medseg.formats.dicom_values import MalformedValueError, items, number, text, texts

LONG_ECHO_MS = 60.0
"""From here on tissue is told by T2: T1-weighted echoes last below 30 ms, T2-weighted ones 80 and
more (Bernstein et al., Handbook of MRI Pulse Sequences, 2004)."""

SHORT_ECHO_MS = 35.0

FLUID_NULLING_MS = (1400.0, 3500.0)
"""Inversion times that null cerebrospinal fluid; those that null fat (STIR) or part grey from white
matter (MPRAGE) are below 1200 ms."""

NOTHING = Dataset()
"""In place of an item that is not there; never written to."""

SCREEN_WORDS = {"SCREEN SAVE", "SCREENSHOT", "SCREEN CAPTURE"}


@dataclass(frozen=True)
class Traits:
    """How an image was made; empty or False where the header does not say.

    Attributes:
        body_part: DICOM's Body Part Examined, upper case; never shown.
        has_contrast: A contrast agent is named.
        weighting: t1, t2 or flair, by the echo and inversion time of an MR image.
        is_screen_capture: The pixels were taken from a screen, film or video, not from a scanner.
        part, part_count: Which part of how many of one object the file holds; 0 where it is whole.
        patient: What tells the patient from others, for a pseudonym; never shown.
        study: The Study Instance UID, for a pseudonym; never shown.
    """

    body_part: str = ""
    has_contrast: bool = False
    weighting: str = ""
    is_screen_capture: bool = False
    part: int = 0
    part_count: int = 0
    patient: str = field(default="", repr=False)
    study: str = field(default="", repr=False)


def traits_of(dataset: Dataset) -> Traits:
    """Read the traits of one file, of an enhanced object from what its frames share."""
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    anatomy = _first(shared, "FrameAnatomySequence")
    return Traits(
        body_part=_text(dataset, "BodyPartExamined") or _region(dataset) or _region(anatomy),
        has_contrast=_has_contrast(dataset, shared),
        weighting=_weighting(dataset, shared),
        is_screen_capture=bool(SCREEN_WORDS & set(_texts(dataset, "ImageType")))
        or bool(_text(dataset, "ConversionType")),
        part=int(_number(dataset, "InConcatenationNumber") or 0),
        part_count=int(_number(dataset, "InConcatenationTotalNumber") or 0),
        patient="\\".join((_text(dataset, "IssuerOfPatientID"), _text(dataset, "PatientID")))
        if _text(dataset, "PatientID")
        else "",
        study=_text(dataset, "StudyInstanceUID"),
    )


def _has_contrast(dataset: Dataset, shared: Dataset) -> bool:
    """Whether an agent is named; `NONE` and the like are names that hospitals give to nothing."""
    agent = _text(dataset, "ContrastBolusAgent")
    if agent in ("", "NONE", "NO", "N", "OHNE", "SANS", "WITHOUT"):
        agent = ""
    usage = _first(shared, "ContrastBolusUsageSequence")
    administered = _text(usage, "ContrastBolusAgentAdministered")
    return bool(agent) or administered == "YES"


def _weighting(dataset: Dataset, shared: Dataset) -> str:
    """What an MR image shows most, by its times; of anything else and in between, nothing."""
    if _text(dataset, "Modality") != "MR":
        return ""
    modifier = _first(shared, "MRModifierSequence")
    inversion = _number(dataset, "InversionTime") or _number(modifier, "InversionTimes")
    echo = _number(dataset, "EchoTime")
    if echo is None:
        echo = _number(_first(shared, "MREchoSequence"), "EffectiveEchoTime")
    if echo is None:
        return ""
    if echo >= LONG_ECHO_MS:
        low, high = FLUID_NULLING_MS
        if inversion and low <= inversion <= high:
            return "flair"
        return "" if inversion else "t2"
    return "t1" if echo <= SHORT_ECHO_MS else ""


def _region(dataset: Dataset) -> str:
    """The code meaning of the anatomic region."""
    return _text(_first(dataset, "AnatomicRegionSequence"), "CodeMeaning")


def _first(dataset: Dataset, name: str) -> Dataset:
    try:
        found = items(dataset, name)
    except MalformedValueError:
        found = ()
    return found[0] if found else NOTHING


def _text(dataset: Dataset, name: str) -> str:
    try:
        return text(dataset, name).upper()
    except MalformedValueError:
        return ""


def _texts(dataset: Dataset, name: str) -> tuple[str, ...]:
    try:
        return texts(dataset, name)
    except MalformedValueError:
        return ()


def _number(dataset: Dataset, name: str) -> float | None:
    try:
        return number(dataset, name)
    except MalformedValueError:
        return None
