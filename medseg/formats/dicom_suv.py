"""From stored PET values to SUV by body weight.

The rules are those of QIBA's vendor-neutral pseudo-code
(https://qibawiki.rsna.org/index.php/Standardized_Uptake_Value_(SUV)) on the attributes of PS3.3
C.8.9: the injected dose is decayed to the moment to which the scanner corrected the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from medseg.core.study import QualityFlag
from medseg.core.volume import IntensityUnit
from medseg.formats.dicom_suv_enhanced import EnhancedPet, enhanced_pet
from medseg.formats.dicom_values import (
    MalformedValueError,
    date_time,
    items,
    moment,
    number,
    text,
    texts,
)

SUV_UNITS = {"GML", "G/ML", "SUV", "SUVBW"}
"""Units of an image that is in SUV already; the last three are not DICOM and occur."""

LONGEST_UPTAKE_HALF_LIVES = 10
"""A scan later than that after the injection measures a thousandth of it: a wrong date."""

DOSE_RANGE_BQ = (1e5, 1e11)
"""0.1 MBq to 100 GBq. Outside it the dose is in another unit (MBq, mCi)."""

WEIGHT_RANGE_KG = (0.3, 650)
HALF_LIFE_RANGE_S = (30, 1e8)

LATE_START = timedelta(minutes=5)
"""A series that began longer before its first acquisition: 3 % of SUV for F-18."""


@dataclass(frozen=True)
class PetTags:
    """What a PET slice says of its intensities and its series; None or empty where it does not."""

    units: str
    suv_type: str
    decay_correction: str
    corrections: tuple[str, ...]
    series_start: datetime | None
    acquisition_start: datetime | None
    vendor_scan_start: datetime | None
    injections: int
    injection: datetime | None
    injection_clock: str
    dose_bq: float | None
    half_life_seconds: float | None
    weight_kg: float | None
    philips_suv: float | None
    philips_activity: float | None
    slice_count: float | None


@dataclass(frozen=True)
class PetScale:
    """What stored PET values are multiplied by, and the unit they are in then."""

    factor: float
    unit: IntensityUnit
    flags: tuple[QualityFlag, ...] = ()


class _NoSuvError(Exception):
    """The tags do not allow SUV; its text is the reason, as the end of a sentence."""


def pet_tags(dataset: Dataset) -> PetTags:
    """Read the tags that SUV rests on.

    A damaged number counts as absent: it costs the SUV, not the image.
    """
    drugs = _lenient_items(dataset)
    drug = next(iter(drugs), Dataset())
    local = text(dataset, "TimezoneOffsetFromUTC")
    tags = PetTags(
        units=text(dataset, "Units").upper(),
        suv_type=text(dataset, "SUVType").upper(),
        decay_correction=text(dataset, "DecayCorrection").upper(),
        corrections=texts(dataset, "CorrectedImage"),
        series_start=_moment(dataset, "Series"),
        acquisition_start=_moment(dataset, "Acquisition"),
        vendor_scan_start=_private_stamp(dataset, 0x0009, "GEMS_PETD_01", 0x0D, local)
        or _private_stamp(dataset, 0x0071, "SIEMENS MED PT", 0x22, local),
        injections=len(drugs),
        injection=_stamp(text(drug, "RadiopharmaceuticalStartDateTime"), local),
        injection_clock=text(drug, "RadiopharmaceuticalStartTime"),
        dose_bq=_number(drug, "RadionuclideTotalDose", DOSE_RANGE_BQ),
        half_life_seconds=_number(drug, "RadionuclideHalfLife", HALF_LIFE_RANGE_S),
        weight_kg=_number(dataset, "PatientWeight", WEIGHT_RANGE_KG),
        philips_suv=_private_number(dataset, 0x00),
        philips_activity=_private_number(dataset, 0x09),
        slice_count=_number(dataset, "NumberOfSlices", (1, 1e6)),
    )
    found = enhanced_pet(dataset, local)
    return tags if found is None else _with_frames(tags, found)


def _with_frames(tags: PetTags, found: EnhancedPet) -> PetTags:
    """The tags of an enhanced object; what it states as a classic one does is kept."""
    tags = replace(
        tags,
        units=tags.units or found.units,
        suv_type=tags.suv_type or found.suv_type,
        corrections=tags.corrections or found.corrections,
    )
    if tags.decay_correction or found.corrected_to is None:
        return tags
    return replace(
        tags,
        decay_correction="START",
        series_start=found.corrected_to,
        acquisition_start=found.corrected_to,
    )


def pet_scale(slices: Sequence[PetTags]) -> PetScale:
    """The factor to SUV (g/mL), or the reason why there is none as a flag.

    Args:
        slices: The tags of every slice of one series.

    Returns:
        SUV where the tags allow it. Else factor 1 and a flag `no-suv`, in Bq/mL where that is what
        the image states and in arbitrary units otherwise.
    """
    first = slices[0]
    try:
        return _scale(first, slices)
    except _NoSuvError as reason:
        unit = IntensityUnit.BQML if first.units == "BQML" else IntensityUnit.ARBITRARY
        message = f"There is no SUV, because {reason}; intensities are in {unit.value} units."
        return PetScale(1.0, unit, (QualityFlag("no-suv", message),))


def _scale(tags: PetTags, slices: Sequence[PetTags]) -> PetScale:
    if len({_timeless(one) for one in slices}) > 1:
        raise _NoSuvError("its slices disagree about the injection or the patient's weight")
    if tags.corrections and "ATTN" not in tags.corrections:
        raise _NoSuvError("the image is not corrected for attenuation")
    if tags.units in SUV_UNITS:
        if tags.suv_type not in ("", "BW"):
            raise _NoSuvError("its uptake values are not by body weight")
        return PetScale(1.0, IntensityUnit.SUV)
    if tags.units == "CNTS" and tags.philips_suv:
        return PetScale(tags.philips_suv, IntensityUnit.SUV)
    activity = 1.0
    if tags.units == "CNTS" and tags.philips_activity:
        activity = tags.philips_activity
    elif tags.units != "BQML":
        raise _NoSuvError("its values are not an activity concentration")
    if tags.corrections and "DECY" not in tags.corrections:
        raise _NoSuvError("the image is not corrected for decay")
    dose, flags = _decayed_dose_bq(tags, slices)
    if tags.weight_kg is None:
        raise _NoSuvError("the patient's weight is missing or impossible")
    return PetScale(activity * tags.weight_kg * 1000 / dose, IntensityUnit.SUV, flags)


def _timeless(tags: PetTags) -> PetTags:
    """The tags without what differs from bed position to bed position."""
    return replace(tags, series_start=None, acquisition_start=None, vendor_scan_start=None)


def _decayed_dose_bq(
    tags: PetTags, slices: Sequence[PetTags]
) -> tuple[float, tuple[QualityFlag, ...]]:
    """The dose that is left at the moment to which the image was corrected (PS3.3 C.8.9.1)."""
    if tags.injections > 1:
        raise _NoSuvError("it names several injections")
    if tags.dose_bq is None:
        raise _NoSuvError("the injected dose is missing or impossible")
    if tags.decay_correction == "ADMIN":
        return tags.dose_bq, ()
    if tags.decay_correction != "START":
        raise _NoSuvError("it is not said to which moment decay was corrected")
    if tags.half_life_seconds is None:
        raise _NoSuvError("the half-life of the nuclide is missing or impossible")
    scan, scan_flags = _scan_start(slices)
    seconds, uptake_flags = _uptake_seconds(tags, scan, tags.half_life_seconds)
    return tags.dose_bq * 2 ** (-seconds / tags.half_life_seconds), scan_flags + uptake_flags


def _scan_start(slices: Sequence[PetTags]) -> tuple[datetime, tuple[QualityFlag, ...]]:
    """The moment that decay was corrected to.

    It is the start of the series, unless that lies after an acquisition: then the series was made
    later from stored data, and the vendor's own tag or the first acquisition says when.
    """
    acquisitions = [t.acquisition_start for t in slices if t.acquisition_start is not None]
    series = min((t.series_start for t in slices if t.series_start is not None), default=None)
    vendor = min((t.vendor_scan_start for t in slices if t.vendor_scan_start), default=None)
    first = min(acquisitions, default=None)
    if first is None:
        raise _NoSuvError("the time of its acquisition is missing or damaged")
    if series is not None and series <= first:
        if first - series <= LATE_START:
            return series, ()
        message = (
            f"The series began {(first - series).total_seconds() / 60:.0f} minutes before its "
            "first acquisition; SUV takes its beginning as the moment of decay correction."
        )
        return series, (QualityFlag("early-series-time", message),)
    if vendor is not None and first - timedelta(days=1) < vendor <= first:
        return vendor, ()
    message = (
        "The series was stored again after the acquisition; SUV takes the first acquisition as "
        "the moment of decay correction."
    )
    return first, (QualityFlag("late-series-time", message),)


def _uptake_seconds(
    tags: PetTags, scan: datetime, half_life_seconds: float
) -> tuple[float, tuple[QualityFlag, ...]]:
    """Time from injection to scan, over midnight where only the time of day is known."""
    longest = LONGEST_UPTAKE_HALF_LIVES * half_life_seconds
    if tags.injection is not None:
        seconds = (scan - tags.injection).total_seconds()
        if 0 <= seconds <= longest:
            return seconds, ()
    clock = tags.injection_clock or (tags.injection.strftime("%H%M%S") if tags.injection else "")
    try:
        start = moment(scan.strftime("%Y%m%d"), clock)
    except MalformedValueError:
        start = None
    if start is None:
        raise _NoSuvError("the time of the injection is missing or damaged")
    seconds = (scan - start).total_seconds() % timedelta(days=1).total_seconds()
    if seconds > longest:
        raise _NoSuvError("the time of the injection does not fit the time of the scan")
    if tags.injection is None:
        return seconds, ()
    message = (
        "The date of the injection does not fit the date of the scan; SUV takes the time of day "
        f"alone, {seconds / 60:.0f} minutes before the scan."
    )
    return seconds, (QualityFlag("injection-date", message),)


def _lenient_items(dataset: Dataset) -> tuple[Dataset, ...]:
    try:
        return items(dataset, "RadiopharmaceuticalInformationSequence")
    except MalformedValueError:
        return ()


def _number(dataset: Dataset, name: str, allowed: tuple[float, float]) -> float | None:
    """A number within its range; None where absent, damaged or impossible."""
    try:
        found = number(dataset, name)
    except MalformedValueError:
        return None
    return found if found is not None and allowed[0] <= found <= allowed[1] else None


def _moment(dataset: Dataset, level: str) -> datetime | None:
    """Date and time of the series or the acquisition; the acquisition may state one date-time."""
    try:
        found = moment(text(dataset, f"{level}Date"), text(dataset, f"{level}Time"))
        if found is None and level == "Acquisition":
            found = date_time(text(dataset, "AcquisitionDateTime"), "")
        if found is None:
            found = moment(text(dataset, "SeriesDate"), text(dataset, f"{level}Time"))
    except MalformedValueError:
        return None
    return found


def _stamp(stamp: str, local: str) -> datetime | None:
    try:
        return date_time(stamp, local)
    except MalformedValueError:
        return None


def _private_stamp(
    dataset: Dataset, group: int, creator: str, element: int, local: str
) -> datetime | None:
    """A vendor's date-time, found through the private creator's block."""
    return _stamp(_private(dataset, group, creator, element), local)


def _private_number(dataset: Dataset, element: int) -> float | None:
    """A positive number of Philips' PET group."""
    try:
        parsed = float(_private(dataset, 0x7053, "Philips PET Private Group", element))
    except ValueError:
        return None
    return parsed if 0 < parsed < float("inf") else None


def _private(dataset: Dataset, group: int, creator: str, element: int) -> str:
    """A private value as text without padding, its representation known or not; else empty."""
    try:
        found = dataset.private_block(group, creator)[element].value
    except KeyError:
        return ""
    words = found.decode("ascii", "ignore") if isinstance(found, bytes) else str(found)
    return words.strip(" \0")
