"""Values of a DICOM dataset, read without trusting them.

What is absent or empty is None; what is there and cannot be read raises MalformedValueError, so
that a damaged number is never taken for a missing one. pydicom quotes values in what it warns and
logs, and a value may be a name: both are silenced here.
"""

import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import cast

from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag

LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "_openjpeg", "libjpeg", "rle")

PARSING_FAULTS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom and its plugins raise on bytes that are no DICOM, or are damaged."""

DATE = re.compile(r"(\d{4})[.]?(\d{2})[.]?(\d{2})")
TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:[.](\d{1,6}))?")
OFFSET = re.compile(r"([+-])(\d{2})(\d{2})$")

PLAIN = {"AS", "CS", "DA", "DS", "DT", "FD", "IS", "SL", "SS", "TM", "UI", "UL", "US"}
"""Value representations, stated in the file, whose text is of one character set."""

MOST_KEPT = 128
"""Bytes of a value that is kept for the next slice."""


class MalformedValueError(ValueError):
    """A value of the dataset is there and is not what its name promises."""


@contextmanager
def quiet() -> Iterator[None]:
    """No warning or log line of pydicom or a decoder leaves this block, and no panic.

    Raises:
        MalformedValueError: A decoder written in Rust panicked. What PyO3 makes of that is a
            BaseException whose class cannot be imported, so that it is known by its name.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    loggers = [logger for logger in loggers if logger.level <= logging.CRITICAL]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise MalformedValueError from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def value(dataset: Dataset, name: str | int) -> object | None:
    """The value of a keyword or tag as pydicom converts it; None where absent or empty."""
    tag = _tag(name)
    try:
        element = cast("DataElement | RawDataElement | None", dataset.get_item(tag))
        if element is None:
            return None
        if isinstance(element, RawDataElement) and _is_plain(element):
            found = _converted(
                tag,
                element.VR,
                element.length,
                element.value,
                is_little=element.is_little_endian,
            )
        else:
            found = dataset[tag].value
    except PARSING_FAULTS as error:
        raise MalformedValueError from error
    return None if found is None or found in ("", b"") else found


def _is_plain(element: RawDataElement) -> bool:
    """Whether its own bytes decide what the value is, and they are few."""
    return element.VR in PLAIN and len(element.value or ()) <= MOST_KEPT


@lru_cache(4096)
def _converted(
    tag: BaseTag, vr: str | None, length: int, content: bytes | None, *, is_little: bool
) -> object:
    """The value as pydicom converts it, once for all slices that share it."""
    raw = RawDataElement(
        tag, vr, length, content, 0, is_implicit_VR=False, is_little_endian=is_little
    )
    return convert_raw_data_element(raw).value


@cache
def _tag(name: str | int) -> BaseTag:
    """The tag of a keyword; looking it up costs as much as reading its value."""
    return Tag(name)


def text(dataset: Dataset, name: str) -> str:
    """A single value as text without padding; empty where absent."""
    found = value(dataset, name)
    return "" if found is None else str(found).strip().strip("\0")


def texts(dataset: Dataset, name: str) -> tuple[str, ...]:
    """All values as upper-case text; empty where absent."""
    found = value(dataset, name)
    if found is None:
        return ()
    many = [found] if isinstance(found, str) or not hasattr(found, "__iter__") else list(found)
    return tuple(str(one).strip().upper() for one in many)


def numbers(dataset: Dataset, name: str | int, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None where absent."""
    found = value(dataset, name)
    if found is None:
        return None
    many = list(found) if hasattr(found, "__iter__") and not isinstance(found, str) else [found]
    try:
        parsed = tuple(float(one if isinstance(one, float) else str(one)) for one in many)
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedValueError from error
    if len(parsed) != count or not all(math.isfinite(one) for one in parsed):
        raise MalformedValueError
    return parsed


def number(dataset: Dataset, name: str | int) -> float | None:
    """One finite number, or None where absent."""
    found = numbers(dataset, name, 1)
    return None if found is None else found[0]


def integer(dataset: Dataset, name: str) -> int | None:
    """One whole number, or None where absent."""
    found = number(dataset, name)
    if found is not None and found != int(found):
        raise MalformedValueError
    return None if found is None else int(found)


def items(dataset: Dataset, name: str) -> tuple[Dataset, ...]:
    """The items of a sequence; empty where absent."""
    found = value(dataset, name)
    if found is None:
        return ()
    if not hasattr(found, "__iter__") or isinstance(found, str):
        raise MalformedValueError
    many = tuple(found)
    if not all(isinstance(item, Dataset) for item in many):
        raise MalformedValueError
    return many


def moment(date: str, time: str) -> datetime | None:
    """A DICOM date and time (PS3.5 6.2: DA and TM) as local time; None where one is absent."""
    if not date or not time:
        return None
    day, clock = DATE.fullmatch(date), TIME.fullmatch(time)
    if day is None or clock is None:
        raise MalformedValueError
    hour, minute, second, fraction = (part or "0" for part in clock.groups())
    try:
        start = datetime(int(day[1]), int(day[2]), int(day[3]), int(hour), int(minute))
    except ValueError as error:
        raise MalformedValueError from error
    return start + timedelta(seconds=int(second), microseconds=int(fraction.ljust(6, "0")))


def date_time(stamp: str, local: str) -> datetime | None:
    """A DICOM date-time (DT) as local time.

    Args:
        stamp: YYYYMMDDHHMMSS.FFFFFF&ZZXX; an offset from UTC may be left out.
        local: Timezone Offset From UTC of the dataset, or empty; then an offset in the stamp is
            taken to be the local one.
    """
    offset, here = OFFSET.search(stamp), OFFSET.search(local)
    found = moment(stamp[:8], OFFSET.sub("", stamp[8:]))
    if found is None or offset is None or here is None:
        return found
    return found - _zone(offset) + _zone(here)


def _zone(match: re.Match[str]) -> timedelta:
    sign = -1 if match[1] == "-" else 1
    span = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return sign * span
