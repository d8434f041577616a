"""How a DICOM file stores its pixels, and where in the file each frame lies.

Headers are parsed once, without the pixels; what the decoder needs of them is kept here, so that a
slice is decoded from the bytes of its file without parsing the header again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from medseg.formats.dicom_values import MalformedValueError, integer, text, value

KEYWORDS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}
"""The elements of group 7FE0 that hold pixels."""

UNDEFINED = 0xFFFFFFFF
"""Length of an element that ends at a delimiter: of encapsulated, that is compressed, pixels."""

LONG_FORM = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"}
"""Value representations of pixels, whose length has four bytes (PS3.5 7.1.2)."""

LOSSY_SYNTAXES = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless}
"""Transfer syntaxes that always lose something; others say it in Lossy Image Compression."""


@dataclass(frozen=True)
class Place:
    """Where the pixels of a file are.

    Attributes:
        keyword: Which of the three elements holds them.
        vr: Value representation; empty in an implicit file.
        begin: First byte of the value in the file; None in a deflated file, where no place is known
            before it is inflated.
        length: Bytes of the value; UNDEFINED where they are encapsulated.
    """

    keyword: str
    vr: str
    begin: int | None
    length: int


@dataclass(frozen=True)
class Encoding:
    """How the pixels of a file are stored (PS3.3 C.7.6.3); None where the header does not say.

    Attributes:
        syntax: Transfer syntax.
        place: Where they are.
        rows, columns: Matrix.
        frames: How many, one after the other.
        samples: Values of a pixel.
        bits_allocated, bits_stored, high_bit: Bits of a value, in use, and the highest of those.
        pixel_representation: 1 where values are signed.
        photometric: Such as MONOCHROME2.
        offsets: Extended offset table and lengths, where there are such.
    """

    syntax: UID
    place: Place
    rows: int
    columns: int
    frames: int
    samples: int | None
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    pixel_representation: int | None
    photometric: str
    offsets: tuple[bytes, bytes] | None

    @property
    def has_low_bits(self) -> bool:
        """Whether values lie in the lowest bits, as every image of today has them."""
        return self.high_bit is None or self.high_bit + 1 == self.bits_stored


def find_pixels(file: BinaryIO, dataset: FileDataset) -> Place | None:
    """Where the pixels begin, in a file whose parsing stopped before them; None without any."""
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        has_pixels = text(dataset, "PhotometricInterpretation") != ""
        return Place("PixelData", "OW", None, 0) if has_pixels else None
    is_implicit, is_little = dataset.original_encoding
    begin = file.tell()
    start = file.read(12)

    def number(first: int, last: int) -> int:
        return int.from_bytes(start[first:last], "little" if is_little else "big")

    if len(start) < 8 or number(0, 2) != 0x7FE0 or number(2, 4) not in KEYWORDS:
        return None
    keyword = KEYWORDS[number(2, 4)]
    # Files that claim to be implicit and are not occur; read as a length, such bytes would be odd.
    is_explicit = start[4:6] in LONG_FORM and start[6:8] == b"\0\0"
    if (is_implicit and not is_explicit) or not start[4:6].isalpha():
        return Place(keyword, "", begin + 8, number(4, 8))
    if start[4:6] not in LONG_FORM:
        raise MalformedValueError
    return Place(keyword, start[4:6].decode("ascii"), begin + 12, number(8, 12))


def encoding_of(dataset: FileDataset, place: Place) -> Encoding:
    """What the header says of the pixels.

    Raises:
        MalformedValueError: One of its values is damaged, or one is missing that decoding needs.
    """
    offsets = value(dataset, "ExtendedOffsetTable"), value(dataset, "ExtendedOffsetTableLengths")
    found = Encoding(
        UID(dataset.file_meta.TransferSyntaxUID),
        place,
        integer(dataset, "Rows") or 0,
        integer(dataset, "Columns") or 0,
        integer(dataset, "NumberOfFrames") or 1,
        integer(dataset, "SamplesPerPixel"),
        integer(dataset, "BitsAllocated"),
        integer(dataset, "BitsStored"),
        integer(dataset, "HighBit"),
        integer(dataset, "PixelRepresentation"),
        text(dataset, "PhotometricInterpretation").upper(),
        (offsets[0], offsets[1])
        if isinstance(offsets[0], bytes) and isinstance(offsets[1], bytes)
        else None,
    )
    needed = [found.samples, found.bits_allocated]
    if place.keyword == "PixelData":
        needed += [found.bits_stored, found.pixel_representation]
    if None in needed or not found.photometric:
        raise MalformedValueError
    return found


def frames_in(content: bytes, encoding: Encoding) -> Iterator[memoryview | bytes]:
    """The stored bytes of each frame of a file, in order; the last one with its byte of padding.

    Raises:
        Exception: One of PARSING_FAULTS; the file ends before its pixels do.
    """
    if encoding.syntax.is_encapsulated:
        if encoding.place.length != UNDEFINED:
            raise MalformedValueError
        source = BytesIO(content)
        source.seek(encoding.place.begin or 0)
        yield from generate_frames(
            source, number_of_frames=encoding.frames, extended_offsets=encoding.offsets
        )
        return
    stored = _native(content, encoding.place)
    each = encoding.rows * encoding.columns * _bytes_of_a_value(encoding)
    if each * encoding.frames > len(stored):
        raise MalformedValueError
    for frame in range(encoding.frames - 1):
        yield stored[frame * each : (frame + 1) * each]
    yield stored[(encoding.frames - 1) * each : each * encoding.frames + each % 2]


def _native(content: bytes, place: Place) -> memoryview:
    """The value of the pixel element, whole."""
    if place.begin is None:
        return memoryview(dcmread(BytesIO(content), force=True).PixelData)
    stored = memoryview(content)[place.begin :]
    if place.length > len(stored):
        raise MalformedValueError
    return stored[: place.length]


def _bytes_of_a_value(encoding: Encoding) -> int:
    """Whole bytes only: slices of volumes are never stored as single bits."""
    bits = encoding.bits_allocated or 0
    if bits not in (8, 16, 32, 64):
        raise MalformedValueError
    return bits // 8
