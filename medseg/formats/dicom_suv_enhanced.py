"""What an enhanced PET object says of its intensities, in the terms of a classic one.

It has no Units: a Real World Value Mapping names them by a code of UCUM (PS3.3 C.7.6.16.2.11), and
holds for our values where it maps as the rescaling does. Corrections are attributes of their own
(C.8.22.4), and decay is corrected to a moment that is stated.
"""

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from medseg.formats.dicom_values import (
    MalformedValueError,
    date_time,
    items,
    number,
    text,
)

UNITS = {
    "BQ/ML": ("BQML", ""),
    "{SUVBW}G/ML": ("GML", "BW"),
    "G/ML{SUVBW}": ("GML", "BW"),
    "{SUVLBM}G/ML": ("GML", "LBM"),
    "G/ML{SUVLBM}": ("GML", "LBM"),
    "{SUVBSA}CM2/ML": ("CM2ML", "BSA"),
}
"""UCUM code, upper case, to Units and SUV Type of a classic PET (CID 83, 84, 85)."""

CORRECTIONS = {
    "DecayCorrected": "DECY",
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "RandomsCorrected": "RAN",
}
"""Attribute to the word of Corrected Image."""

SAME_SHARE = 1e-6


@dataclass(frozen=True)
class EnhancedPet:
    """What it says; empty or None where it does not.

    Attributes:
        units, suv_type: As a classic PET would state them.
        corrections: Words of Corrected Image.
        corrected_to: The moment that decay was corrected to.
    """

    units: str
    suv_type: str
    corrections: tuple[str, ...]
    corrected_to: datetime | None


def enhanced_pet(dataset: Dataset, local: str) -> EnhancedPet | None:
    """Read an object of frames; None for a classic slice.

    Args:
        dataset: The whole object.
        local: Its Timezone Offset From UTC, or empty.
    """
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return None
    try:
        frames = items(dataset, "PerFrameFunctionalGroupsSequence")
        shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), Dataset())
        named = {_units(frame, shared, dataset) for frame in frames}
    except MalformedValueError:
        named = set()
    units, suv_type = next(iter(named)) if len(named) == 1 else ("", "")
    try:
        corrected_to = date_time(text(dataset, "DecayCorrectionDateTime"), local)
    except MalformedValueError:
        corrected_to = None
    corrections = tuple(
        word for name, word in CORRECTIONS.items() if text(dataset, name).upper() == "YES"
    )
    # An object that states one of them states all: an empty list would read as `not stated`.
    is_stated = any(name in dataset for name in CORRECTIONS)
    return EnhancedPet(
        units, suv_type, corrections or (("NONE",) if is_stated else ()), corrected_to
    )


def _units(frame: Dataset, shared: Dataset, root: Dataset) -> tuple[str, str]:
    """The units of one frame's rescaled values; empty where no mapping equals the rescaling."""
    values = _macro(frame, shared, "PixelValueTransformationSequence") or (root,)
    slope, intercept = number(values[0], "RescaleSlope"), number(values[0], "RescaleIntercept")
    for mapping in _macro(frame, shared, "RealWorldValueMappingSequence"):
        codes = items(mapping, "MeasurementUnitsCodeSequence")
        code = text(codes[0], "CodeValue").upper() if codes else ""
        if code not in UNITS:
            continue
        pairs = (
            (number(mapping, "RealWorldValueSlope"), 1.0 if slope is None else slope),
            (number(mapping, "RealWorldValueIntercept"), intercept or 0.0),
        )
        if all(a is not None and abs(a - b) <= SAME_SHARE * max(abs(b), 1e-9) for a, b in pairs):
            return UNITS[code]
    return "", ""


def _macro(frame: Dataset, shared: Dataset, name: str) -> tuple[Dataset, ...]:
    return items(frame, name) or items(shared, name)
