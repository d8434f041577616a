"""Voxels come out as they were stored, rescaled per slice, or not at all."""

import hashlib
import logging

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medseg.core.geometry import Geometry
from medseg.core.volume import Volume
from medseg.errors import InvalidVoxelsError, UnreadableFileError
from medseg.formats.dicom import group, read_file
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.dicom_stack import stack
from tests import dicom_series
from tests.dicom_series import GRID, STORED, example


def volume(tmp_path) -> Volume:
    (series,) = group(read_file(path) for path in sorted(tmp_path.iterdir()))
    return read_voxels(stack(series))[0]


def with_syntax(dataset: Dataset, syntax: str) -> Dataset:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def test_column_row_and_slice_are_i_j_and_k(tmp_path):
    dicom_series.write(tmp_path, example())
    found = volume(tmp_path)
    assert found.data.shape == GRID.shape
    assert found.data.dtype == np.float32
    assert np.array_equal(found.data, STORED)


def test_every_slice_has_its_own_slope_and_intercept(tmp_path):
    datasets = example("MR")
    for k, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(0.5 + k), str(-k)
    dicom_series.write(tmp_path, datasets)
    expected = STORED * (0.5 + np.arange(GRID.shape[2])) - np.arange(GRID.shape[2])
    assert np.allclose(volume(tmp_path).data, expected)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("intercept", ["-1023", "0.1", "16777216", "-1e15", "1e-9"])
@pytest.mark.parametrize("slope", ["1", "-1", "255", "511", "1.0000001", "0.1", "1e12"])
def test_values_are_rescaled_as_in_double_precision(tmp_path, slope, intercept, signed):
    stored = np.random.default_rng(3).integers(-(2**15), 2**15, GRID.shape).astype(np.int16)
    tags = {"RescaleSlope": slope, "RescaleIntercept": intercept, "PixelRepresentation": signed}
    dicom_series.write(tmp_path, dicom_series.slices(GRID, stored, "CT", **tags))
    values = stored if signed else stored.view(np.uint16)
    expected = (values.astype(np.float64) * float(slope) + float(intercept)).astype(np.float32)
    assert np.array_equal(volume(tmp_path).data, expected)


def test_the_digest_is_of_every_byte_in_the_order_of_the_slices(tmp_path):
    dicom_series.write(tmp_path, example(), lambda k: f"{(7 * k) % 9}")
    (series,) = group(read_file(path) for path in sorted(tmp_path.iterdir()))
    whole = [(tmp_path / f"{(7 * k) % 9}").read_bytes() for k in range(GRID.shape[2])]
    digests = b"".join(hashlib.sha256(content).digest() for content in whole)
    assert read_voxels(stack(series))[1] == hashlib.sha256(digests).hexdigest()


def test_unused_high_bits_are_no_part_of_a_value(tmp_path):
    values = (np.arange(np.prod(GRID.shape)).reshape(GRID.shape) % 4096).astype(np.int16)
    dirty = values | np.int16(0x5000)
    tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    dicom_series.write(tmp_path, dicom_series.slices(GRID, dirty, "MR", **tags))
    assert np.array_equal(volume(tmp_path).data, values)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_lossless_compression_changes_no_voxel(tmp_path, syntax, signed):
    geometry = Geometry((41, 35, 4), GRID.affine)
    stored = np.resize(STORED if signed else np.abs(STORED), geometry.shape)
    datasets = dicom_series.slices(geometry, stored, "CT", PixelRepresentation=signed)
    for dataset in datasets:
        uid = str(dataset.SOPInstanceUID)
        with_syntax(dataset, dicom_series.ExplicitVRLittleEndian)
        dataset.compress(syntax, generate_instance_uid=False)
        assert dataset.SOPInstanceUID == uid
    dicom_series.write(tmp_path, datasets)
    assert np.array_equal(volume(tmp_path).data, stored)


def test_big_endian_and_deflated_files_are_read(tmp_path):
    datasets = [with_syntax(d, DeflatedExplicitVRLittleEndian) for d in example()]
    dicom_series.write(tmp_path / "deflated", datasets)
    assert np.array_equal(volume(tmp_path / "deflated").data, STORED)
    for k, dataset in enumerate(example()):
        big = with_syntax(dataset, ExplicitVRBigEndian)
        big.PixelData = np.ascontiguousarray(STORED[:, :, k].T, ">i2").tobytes()
        (tmp_path / "big").mkdir(exist_ok=True)
        big.save_as(tmp_path / "big" / str(k), enforce_file_format=True)
    assert np.array_equal(volume(tmp_path / "big").data, STORED)


def test_files_without_meta_information_are_decoded(tmp_path):
    for k, dataset in enumerate(example()):
        dataset.save_as(tmp_path / str(k), implicit_vr=True, little_endian=True)
    assert np.array_equal(volume(tmp_path).data, STORED)


@pytest.mark.parametrize("cut", [2, 30])
def test_a_slice_that_was_cut_refuses_the_series(tmp_path, cut):
    dicom_series.write(tmp_path, example())
    content = (tmp_path / "file4").read_bytes()
    (tmp_path / "file4").write_bytes(content[:-cut])
    with pytest.raises(UnreadableFileError, match="cannot be decoded"):
        volume(tmp_path)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_a_compressed_slice_that_is_garbage_refuses_the_series_silently(tmp_path, caplog, syntax):
    datasets = example()
    bad = with_syntax(datasets[4], syntax)
    bad.PixelData = encapsulate([b"\xff\xd8\xff\xf7" + bytes(40)])
    bad["PixelData"].VR = "OB"
    dicom_series.write(tmp_path, datasets)
    caplog.clear()
    with caplog.at_level(logging.DEBUG), pytest.raises(UnreadableFileError):
        volume(tmp_path)
    assert caplog.records == []


def test_a_matrix_that_the_pixels_do_not_fill_is_refused(tmp_path):
    dicom_series.write(tmp_path, example(Rows=7))
    with pytest.raises(UnreadableFileError):
        volume(tmp_path)


def test_values_beyond_float_are_refused(tmp_path):
    dicom_series.write(tmp_path, example(RescaleSlope="1e38"))
    with pytest.raises(InvalidVoxelsError):
        volume(tmp_path)
