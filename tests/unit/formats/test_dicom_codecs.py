"""Every codec gives back the values that went in, and none of them half an image.

Codestreams are made by imagecodecs and pydicom's encoders; where medseg decodes with the library
that encoded, the values come back against those of another (JPEG 2000: pylibjpeg's OpenJPEG).
"""

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import get_encoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medseg.core.geometry import Geometry
from medseg.errors import UnreadableFileError, UnsupportedImageError
from medseg.formats.dicom import group, read_file
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.dicom_stack import Stack, stack
from tests import dicom_series
from tests.dicom_series import GRID

GEOMETRY = Geometry((41, 35, 4), GRID.affine)
RNG = np.random.default_rng(7)


def values(bits: int, *, signed: bool) -> np.ndarray:
    """Values over the whole range, in the smallest type that holds them."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    made = np.random.default_rng(bits).integers(low, high, GEOMETRY.shape).astype(dtype)
    made[0, 0], made[-1, -1] = low, high - 1
    return made


def datasets(stored: np.ndarray, bits: int, **tags: object) -> list[Dataset]:
    """Uncompressed slices of these values."""
    allocated = 8 * stored.dtype.itemsize
    signed = int(stored.dtype.kind == "i")
    plain = {
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": signed,
    }
    made = dicom_series.slices(GEOMETRY, np.zeros(GEOMETRY.shape, np.int16), "CT", **plain | tags)
    for k, one in enumerate(made):
        content = np.ascontiguousarray(stored[:, :, k].T).tobytes()
        one.PixelData = content + b"\0" * (len(content) % 2)
        one["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return made


def with_syntax(one: Dataset, syntax: str) -> Dataset:
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = UID(syntax)
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    return one


def compressed(made: list[Dataset], syntax: str, images: list[bytes]) -> list[Dataset]:
    """The slices with these codestreams for pixels."""
    for one, image in zip(made, images, strict=True):
        with_syntax(one, syntax)
        one.PixelData = encapsulate([image])
        one["PixelData"].VR = "OB"
        one["PixelData"].is_undefined_length = True
    return made


def planes(stored: np.ndarray) -> list[np.ndarray]:
    """(rows, columns) of each slice."""
    return [np.ascontiguousarray(stored[:, :, k].T) for k in range(stored.shape[2])]


def jpeg2000(plane: np.ndarray, bits: int, signed: int) -> bytes:
    """By pydicom's encoder, which calls another build of OpenJPEG than the decoder under test."""
    options = {
        "rows": plane.shape[0],
        "columns": plane.shape[1],
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "bits_allocated": 8 * plane.dtype.itemsize,
        "bits_stored": bits,
        "pixel_representation": signed,
        "photometric_interpretation": "MONOCHROME2",
    }
    return get_encoder(JPEG2000Lossless).encode(plane.tobytes(), **options)


def found(folder) -> Stack:
    (series,) = group(read_file(path) for path in sorted(folder.iterdir()))
    return stack(series)


def data(folder, made: list[Dataset]) -> np.ndarray:
    uids = {str(one.SOPInstanceUID) for one in made}
    series = found(dicom_series.write(folder, made))
    assert {one.file.sop_instance_uid for one in series.slices} == uids
    return read_voxels(series)[0].data


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_uncompressed_values_come_as_they_are(tmp_path, syntax, bits, signed):
    stored = values(bits, signed=signed)
    made = [with_syntax(one, syntax) for one in datasets(stored, bits)]
    if syntax == ExplicitVRBigEndian:
        for one, plane in zip(made, planes(stored), strict=True):
            content = plane.byteswap().tobytes() if bits > 8 else plane.tobytes()
            one.PixelData = content + b"\0" * (len(content) % 2)
    assert np.array_equal(data(tmp_path, made), stored)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.float32, np.float64])
def test_wide_and_float_values_come_as_they_are(tmp_path, dtype):
    stored = (RNG.normal(size=GEOMETRY.shape) * 1000).astype(dtype)
    stored[3, 4, 1] = 77
    made = datasets(np.zeros(GEOMETRY.shape, np.uint16), 16)
    name = {"f4": "FloatPixelData", "f8": "DoubleFloatPixelData"}.get(stored.dtype.str[1:])
    for one, plane in zip(made, planes(stored), strict=True):
        one.BitsAllocated = one.BitsStored = 8 * stored.dtype.itemsize
        one.HighBit = one.BitsStored - 1
        one.PixelRepresentation = int(dtype == np.int32)
        del one.PixelData
        if name:
            del one.BitsStored, one.HighBit, one.PixelRepresentation
            setattr(one, name, plane.tobytes())
        else:
            one.PixelData = plane.tobytes()
            one["PixelData"].VR = "OW"
    assert np.array_equal(data(tmp_path, made), stored.astype(np.float32))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_rle_changes_no_value(tmp_path, bits, signed):
    stored = values(bits, signed=signed)
    made = datasets(stored, bits)
    for one in made:
        with_syntax(one, ExplicitVRLittleEndian).compress(RLELossless, generate_instance_uid=False)
    assert np.array_equal(data(tmp_path, made), stored)


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 13, 16])
def test_the_header_says_whether_a_jpeg_2000_value_is_signed(tmp_path, bits, encoded, stated):
    """Scanners write codestreams of unsigned values for signed ones, bit by bit the same."""
    stored = values(bits, signed=stated)
    kind = f"{'i' if encoded else 'u'}{stored.dtype.itemsize}"
    shift = 8 * stored.dtype.itemsize - bits
    same_bits = ((stored.astype(np.int32) << shift).astype(kind)) >> shift
    images = [jpeg2000(plane, bits, int(encoded)) for plane in planes(same_bits)]
    made = compressed(datasets(stored, bits), JPEG2000Lossless, images)
    assert np.array_equal(data(tmp_path, made), stored)


@pytest.mark.parametrize("syntax", [HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL])
def test_high_throughput_jpeg_2000_changes_no_value(tmp_path, syntax):
    stored = values(12, signed=False)
    images = [bytes(imagecodecs.htj2k_encode(p, reversible=True)) for p in planes(stored)]
    assert np.array_equal(data(tmp_path, compressed(datasets(stored, 12), syntax, images)), stored)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLossless, JPEGLosslessSV1])
def test_lossless_jpeg_changes_no_value(tmp_path, syntax, bits, signed):
    stored = values(bits, signed=signed)
    kind = np.dtype(f"u{stored.dtype.itemsize}").type
    unsigned = [plane.view(kind) & kind(2**bits - 1) for plane in planes(stored)]
    images = [
        bytes(
            imagecodecs.jpegls_encode(plane)
            if syntax == JPEGLSLossless
            else imagecodecs.ljpeg_encode(plane, bitspersample=bits)
        )
        for plane in unsigned
    ]
    assert np.array_equal(
        data(tmp_path, compressed(datasets(stored, bits), syntax, images)), stored
    )


@pytest.mark.parametrize("predictor", range(1, 8))
def test_every_predictor_of_lossless_jpeg_is_read(tmp_path, predictor):
    stored = values(16, signed=False)
    images = [
        bytes(imagecodecs.jpeg_encode(p, lossless=True, predictor=predictor, bitspersample=16))
        for p in planes(stored)
    ]
    made = compressed(datasets(stored, 16), JPEGLossless, images)
    assert np.array_equal(data(tmp_path, made), stored)


ENCODERS = {
    JPEG2000Lossless: lambda plane, bits: jpeg2000(plane, bits, 0),
    HTJ2KLossless: lambda plane, _bits: imagecodecs.htj2k_encode(plane, reversible=True),
    JPEGLSLossless: lambda plane, _bits: imagecodecs.jpegls_encode(plane),
    JPEGLosslessSV1: lambda plane, bits: imagecodecs.ljpeg_encode(plane, bitspersample=bits),
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", ENCODERS)
def test_what_lies_above_bits_stored_is_no_part_of_a_compressed_value(tmp_path, syntax, signed):
    """Overlays of old, packed together with the values in words of 16 bits."""
    stored = values(12, signed=signed)
    dirty = (stored.astype(np.int32) & 0xFFF | 0xA000).astype(np.uint16)
    images = [bytes(ENCODERS[syntax](plane, 16)) for plane in planes(dirty)]
    made = compressed(datasets(stored, 12), syntax, images)
    assert np.array_equal(data(tmp_path, made), stored)


@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_header_may_allot_more_bits_than_the_codestream_uses(tmp_path, syntax):
    narrow = values(8, signed=False)
    images = [bytes(ENCODERS[syntax](plane, 8)) for plane in planes(narrow)]
    made = compressed(datasets(narrow, 8, BitsAllocated=16), syntax, images)
    assert np.array_equal(data(tmp_path, made), narrow)


def smooth(bits: int) -> np.ndarray:
    """What a lossy codec is made for."""
    i, j, k = np.indices(GEOMETRY.shape)
    wave = 0.5 + 0.25 * np.sin(i / 9 + k) + 0.2 * np.cos(j / 7)
    return (wave * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize(
    ("syntax", "bits", "most"),
    [
        (JPEGLSNearLossless, 12, 3),
        (JPEGBaseline8Bit, 8, 6),
        (JPEGExtended12Bit, 12, 60),
        (JPEG2000, 12, 60),
    ],
)
def test_lossy_codecs_stay_near_and_are_flagged(tmp_path, syntax, bits, most):
    stored = smooth(bits)
    encode = {
        JPEGLSNearLossless: lambda plane: imagecodecs.jpegls_encode(plane, level=3),
        JPEGBaseline8Bit: lambda plane: imagecodecs.jpeg8_encode(plane, level=95),
        JPEGExtended12Bit: lambda plane: imagecodecs.jpeg8_encode(
            plane, level=95, bitspersample=12
        ),
        JPEG2000: lambda plane: imagecodecs.jpeg2k_encode(
            plane, level=60, codecformat="j2k", bitspersample=12
        ),
    }[syntax]
    images = [bytes(encode(plane)) for plane in planes(stored)]
    made = compressed(datasets(stored, bits, LossyImageCompression="01"), syntax, images)
    away = np.abs(data(tmp_path, made) - stored)
    assert 0 < away.max() <= most
    assert "lossy-compression" in [flag.code for flag in found(tmp_path).flags]


def test_what_was_never_lossy_is_not_flagged(tmp_path):
    stored = values(12, signed=False)
    dicom_series.write(tmp_path, datasets(stored, 12, LossyImageCompression="00"))
    assert "lossy-compression" not in [flag.code for flag in found(tmp_path).flags]


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_codestream_in_fragments_is_put_together(tmp_path, fragments, has_table):
    stored = values(12, signed=False)
    images = [bytes(imagecodecs.jpegls_encode(plane)) for plane in planes(stored)]
    assert any(len(image) % 2 for image in images)
    made = compressed(datasets(stored, 12), JPEGLSLossless, images)
    for one, image in zip(made, images, strict=True):
        one.PixelData = encapsulate([image], fragments_per_frame=fragments, has_bot=has_table)
    assert np.array_equal(data(tmp_path, made), stored)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1])
def test_zeros_behind_the_end_of_a_codestream_are_no_part_of_it(tmp_path, syntax):
    stored = values(12, signed=False)
    encode = {
        JPEGLSLossless: imagecodecs.jpegls_encode,
        JPEGLosslessSV1: lambda plane: imagecodecs.ljpeg_encode(plane, bitspersample=12),
    }[syntax]
    images = [bytes(encode(plane)) + bytes(100) for plane in planes(stored)]
    assert np.array_equal(data(tmp_path, compressed(datasets(stored, 12), syntax, images)), stored)


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_the_frames_of_an_enhanced_object_are_told_apart(tmp_path, table):
    stored = values(16, signed=True)
    order = [2, 0, 3, 1]
    one = dicom_series.enhanced(GEOMETRY, stored, order)
    unsigned = [plane.view(np.uint16) for plane in planes(stored)]
    images = [bytes(imagecodecs.jpegls_encode(unsigned[k])) for k in order]
    with_syntax(one, JPEGLSLossless)
    if table == "extended":
        content, one.ExtendedOffsetTable, one.ExtendedOffsetTableLengths = encapsulate_extended(
            images
        )
        one.PixelData = content
    else:
        one.PixelData = encapsulate(images, has_bot=table == "basic")
    one["PixelData"].VR = "OB"
    one["PixelData"].is_undefined_length = True
    slopes = np.argsort(order) + 1.0
    assert np.allclose(data(tmp_path, [one]), stored * slopes)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless, HTJ2K])
def test_a_codestream_that_was_cut_refuses_the_series(tmp_path, syntax, share):
    """The container is whole; an end mark may even have been put back."""
    stored = values(12, signed=False)
    encode = {
        JPEGLSLossless: imagecodecs.jpegls_encode,
        JPEGLosslessSV1: lambda plane: imagecodecs.ljpeg_encode(plane, bitspersample=12),
        JPEG2000Lossless: lambda plane: jpeg2000(plane, 12, 0),
        HTJ2K: lambda plane: imagecodecs.htj2k_encode(plane, reversible=True),
    }[syntax]
    images = [bytes(encode(plane)) for plane in planes(stored)]
    images[2] = images[2][: int(share * len(images[2]))]
    dicom_series.write(tmp_path, compressed(datasets(stored, 12), syntax, images))
    with pytest.raises(UnreadableFileError, match="cannot be decoded"):
        read_voxels(found(tmp_path))


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_a_codestream_of_another_matrix_is_refused(tmp_path, syntax):
    """Rows for columns: as many values, and every one in the wrong place."""
    stored = values(12, signed=False)
    encode = {
        JPEGLSLossless: imagecodecs.jpegls_encode,
        JPEGLosslessSV1: lambda plane: imagecodecs.ljpeg_encode(plane, bitspersample=12),
        JPEG2000Lossless: lambda plane: jpeg2000(plane, 12, 0),
    }[syntax]
    images = [bytes(encode(np.ascontiguousarray(plane.T))) for plane in planes(stored)]
    dicom_series.write(tmp_path, compressed(datasets(stored, 12), syntax, images))
    with pytest.raises(UnreadableFileError):
        read_voxels(found(tmp_path))


def test_one_value_is_not_spread_over_a_slice(tmp_path):
    stored = values(12, signed=False)
    images = [bytes(imagecodecs.jpegls_encode(plane)) for plane in planes(stored)]
    images[1] = bytes(imagecodecs.jpegls_encode(np.full((1, 1), 5, np.uint16)))
    dicom_series.write(tmp_path, compressed(datasets(stored, 12), JPEGLSLossless, images))
    with pytest.raises(UnreadableFileError):
        read_voxels(found(tmp_path))


def test_values_in_high_bits_are_refused(tmp_path):
    stored = values(12, signed=False) << 4
    dicom_series.write(tmp_path, datasets(stored, 12, HighBit=15))
    with pytest.raises(UnsupportedImageError, match="High Bit"):
        read_voxels(found(tmp_path))


def test_a_padding_value_is_a_value(tmp_path):
    stored = values(12, signed=True)
    made = datasets(stored, 12)
    for one in made:
        one.add_new("PixelPaddingValue", "SS", int(stored[5, 5, 0]))
    assert np.array_equal(data(tmp_path, made), stored)
