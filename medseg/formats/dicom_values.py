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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import TypeVar, cast

from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag

T = TypeVar("T")

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

READING_FAULTS = (OSError, *PARSING_FAULTS)
"""The same where the bytes are read from a file."""

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
    return _meant(dataset, name, _itself)


def text(dataset: Dataset, name: str) -> str:
    """A single value as text without padding; empty where absent."""
    return _meant(dataset, name, _text) or ""


def texts(dataset: Dataset, name: str) -> tuple[str, ...]:
    """All values as upper-case text; empty where absent."""
    return _meant(dataset, name, _texts) or ()


def numbers(dataset: Dataset, name: str | int, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None where absent."""
    found = _meant(dataset, name, _numbers)
    if found is not None and len(found) != count:
        raise MalformedValueError
    return found


def _meant(dataset: Dataset, name: str | int, meaning: Callable[[object], T]) -> T | None:
    """What a value means; None where absent or empty."""
    tag = _tag(name)
    try:
        element = cast("DataElement | RawDataElement | None", dataset.get_item(tag))
        if element is None:
            return None
        if (
            isinstance(element, RawDataElement)
            and element.VR in PLAIN
            and len(element.value or ()) <= MOST_KEPT
        ):
            _, vr, length, content, _, _, is_little, *_ = element
            return _kept(meaning, tag, vr, length, content, is_little=is_little)
        found = dataset[tag].value
    except PARSING_FAULTS as error:
        raise MalformedValueError from error
    return None if _is_empty(found) else meaning(found)


@lru_cache(8192)
def _kept(
    meaning: Callable[[object], T],
    tag: BaseTag,
    vr: str | None,
    length: int,
    content: bytes | None,
    *,
    is_little: bool,
) -> T | None:
    """What a value means, worked out once for all slices that share its bytes."""
    raw = RawDataElement(
        tag, vr, length, content, 0, is_implicit_VR=False, is_little_endian=is_little
    )
    found = convert_raw_data_element(raw).value
    return None if _is_empty(found) else meaning(found)


@cache
def _tag(name: str | int) -> BaseTag:
    """The tag of a keyword; looking it up costs as much as reading its value."""
    return Tag(name)


def _is_empty(found: object) -> bool:
    return found is None or found in ("", b"")


def _itself(found: object) -> object:
    return found


def _text(found: object) -> str:
    return str(found).strip().strip("\0")


def _texts(found: object) -> tuple[str, ...]:
    return tuple(str(one).strip().upper() for one in _many(found))


def _numbers(found: object) -> tuple[float, ...]:
    try:
        parsed = tuple(float(str(one)) for one in _many(found))
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedValueError from error
    if not all(math.isfinite(one) for one in parsed):
        raise MalformedValueError
    return parsed


def _many(found: object) -> tuple[object, ...]:
    """The values of an element, which is a list only where there are several."""
    return tuple(found) if isinstance(found, Iterable) and not isinstance(found, str) else (found,)


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
