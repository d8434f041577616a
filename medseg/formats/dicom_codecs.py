"""From the stored bytes of one frame to its values.

pydicom decodes, and mends what files get wrong: signs that the codestream and the header state
differently, unused bits that are not empty. JPEG 2000 and JPEG-LS go through imagecodecs, which
decodes on several threads at once and takes no codestream that was cut. What pydicom does not ask
is asked here: whether the image in the codestream has the matrix that the header states.
"""

from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import DecodeOptions, Decoder, get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from medseg.formats.dicom_encoding import Encoding

IMAGECODECS = {*JPEGLSTransferSyntaxes, JPEG2000Lossless, JPEG2000}
"""What is left to imagecodecs."""

END_OF_IMAGE = b"\xff\xd9"
"""Some decoders fill up what is missing after a cut, so the mark is asked for."""

START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Second byte of the markers that state the matrix (ITU-T T.81 B.1.1.3; T.87 C.1.1)."""


def decode(frame: memoryview | bytes, encoding: Encoding) -> NDArray[np.generic]:
    """The stored values of a frame, (rows, columns).

    Raises:
        Exception: One of PARSING_FAULTS: the frame cannot be decoded, or holds another matrix.
    """
    _check_codestream(frame, encoding)
    syntax = encoding.syntax
    options: dict[str, object] = {
        "rows": encoding.rows,
        "columns": encoding.columns,
        "number_of_frames": 1,
        "samples_per_pixel": encoding.samples,
        "bits_allocated": encoding.bits_allocated,
        "bits_stored": encoding.bits_stored,
        "pixel_representation": encoding.pixel_representation,
        "photometric_interpretation": encoding.photometric,
        "pixel_keyword": encoding.place.keyword,
        "pixel_vr": encoding.place.vr,
    }
    if syntax in JPEGTransferSyntaxes:
        # The decoder's words are as wide as the codestream's values, whatever the header allots.
        options["bits_allocated"] = 8 if _jpeg_frame(bytes(frame))[2] <= 8 else 16
    stated = cast(DecodeOptions, {name: o for name, o in options.items() if o is not None})
    source = encapsulate([bytes(frame)], has_bot=False) if syntax.is_encapsulated else frame
    values, _ = next(_decoder(syntax).iter_array(source, raw=True, **stated))
    if values.shape != (encoding.rows, encoding.columns):
        raise ValueError(f"an image of {values.shape}")
    return _in_stated_bits(values, encoding)


@cache
def _decoder(syntax: UID) -> Decoder:
    """The decoder of a transfer syntax."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return get_decoder(ExplicitVRLittleEndian)
    if syntax not in IMAGECODECS:
        return get_decoder(syntax)
    made = Decoder(syntax)
    made.add_plugin("imagecodecs", ("medseg.formats.dicom_imagecodecs", "decode_frame"))
    return made


def _in_stated_bits(values: NDArray[np.generic], encoding: Encoding) -> NDArray[np.generic]:
    """Values of JPEG 2000 and JPEG-LS without what lies above Bits Stored, signed as stated.

    pydicom does so for other syntaxes; for these it takes the precision of the codestream, which
    says 16 bits where an encoder was given words of 16 bits.
    """
    bits = encoding.bits_stored or 0
    unused = 8 * values.dtype.itemsize - bits
    if encoding.syntax not in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes) or unused <= 0:
        return values
    kind = f"{'i' if encoding.pixel_representation else 'u'}{values.dtype.itemsize}"
    shifted: NDArray[np.generic] = values.view(kind) << unused >> unused
    return shifted


def _check_codestream(frame: memoryview | bytes, encoding: Encoding) -> None:
    """Refuse a compressed image that was cut or that has another matrix than the header states."""
    if encoding.syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        if END_OF_IMAGE not in bytes(frame).rstrip(b"\0")[-16:]:  # some fill a fixed buffer
            raise ValueError("a compressed image without its end")
        matrix = _jpeg_frame(bytes(frame))[:2]
    elif encoding.syntax in JPEG2000TransferSyntaxes:
        matrix = _jpeg2000_matrix(bytes(frame))
    else:
        return
    if matrix != (encoding.rows, encoding.columns):
        raise ValueError("a compressed image of another matrix")


def _jpeg_frame(image: bytes) -> tuple[int, int, int]:
    """Rows, columns and bits that a JPEG or JPEG-LS image states before its first scan."""
    place = 2
    while place + 9 <= len(image):
        if image[place] != 0xFF:
            break
        marker = image[place + 1]
        if marker in START_OF_FRAME:
            return _big(image, place + 5, 2), _big(image, place + 7, 2), image[place + 4]
        place += 1 if marker == 0xFF else 2 + _big(image, place + 2, 2)
    raise ValueError("a compressed image without a matrix")


def _jpeg2000_matrix(image: bytes) -> tuple[int, int]:
    """Rows and columns that a JPEG 2000 codestream states (ITU-T T.800 A.5.1), in a JP2 or not."""
    start = image.find(b"\xff\x4f\xff\x51")
    if start < 0:
        raise ValueError("a compressed image without a matrix")
    width, height, left, top = (_big(image, start + 8 + 4 * n, 4) for n in range(4))
    return height - top, width - left


def _big(image: bytes, place: int, count: int) -> int:
    return int.from_bytes(image[place : place + count], "big")
