"""A decoding plugin for pydicom: JPEG 2000 and JPEG-LS by imagecodecs.

pydicom's own plugins hold Python's lock while they decode, so threads gain nothing; for JPEG-LS its
pylibjpeg fills up a codestream that was cut. OpenJPEG and CharLS, which imagecodecs calls, are free
of the lock and strict.
"""

from imagecodecs import jpeg2k_decode, jpegls_decode
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGLSTransferSyntaxes


def is_available(_syntax: str) -> bool:
    """Whether it can be used; pydicom asks every plugin."""
    return True


def decode_frame(image: bytes, runner: DecodeRunner) -> bytearray:
    """The values of one image, in bytes that pydicom may change in place."""
    decoded = (
        jpegls_decode(image)
        if runner.transfer_syntax in JPEGLSTransferSyntaxes
        else jpeg2k_decode(image)
    )
    runner.set_option("bits_allocated", 8 * decoded.dtype.itemsize)
    return bytearray(decoded.data)
