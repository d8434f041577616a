"""Laws of the DICOM door, held against SimpleITK's series reader."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.core.volume import Volume
from medseg.formats.dicom import group, read_file
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.dicom_stack import Stack, stack
from tests import dicom_series
from tests.strategies import geometries


def right_handed(geometry: Geometry) -> Geometry:
    """The same grid with its last axis such that DICOM slices ascend with k."""
    affine = geometry.affine.copy()
    if np.linalg.det(affine[:3, :3]) < 0:
        affine[:3, 2] *= -1
    return Geometry(geometry.shape, affine)


def stored_values(geometry: Geometry, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 3000, geometry.shape).astype(np.int16)


def series_of(folder: Path) -> Stack:
    files = [read_file(path) for path in folder.rglob("*") if path.is_file()]
    (series,) = group([file for file in files if file is not None])
    return stack(series)


def itk_volume(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(I, J, K) values and RAS+ affine by SimpleITK."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


@given(geometries(), st.integers(0, 99))
def test_a_series_lies_where_simpleitk_says_and_holds_the_same_values(
    tmp_path_factory, geometry, seed
):
    geometry = right_handed(geometry)
    made = dicom_series.slices(geometry, stored_values(geometry, seed), RescaleIntercept="-7")
    folder = dicom_series.write(tmp_path_factory.mktemp("series"), made)
    volume = read_voxels(series_of(folder))[0]
    values, affine = itk_volume(folder)
    assert volume.geometry.shape == values.shape
    assert np.allclose(volume.geometry.affine, affine, atol=1e-4)
    assert np.array_equal(volume.data, values)


@settings(max_examples=20)
@given(geometries(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_names_numbers_and_the_order_of_files_change_nothing(
    tmp_path_factory, geometry, seed, random
):
    geometry = right_handed(geometry)
    made = dicom_series.slices(geometry, stored_values(geometry, seed))
    plain = series_of(dicom_series.write(tmp_path_factory.mktemp("plain"), made))
    random.shuffle(made)
    for dataset in made:
        dataset.InstanceNumber = random.randint(-5, 5)
        dataset.SliceLocation = random.random()
        dataset.SliceThickness = 1 + random.random()
    names = [f"{random.random()}.{n}" for n in range(len(made))]
    folder = tmp_path_factory.mktemp("mixed")
    dicom_series.write(folder / "one" / "ünder", made[::2], names.__getitem__)
    dicom_series.write(folder / "other", made[1::2], names.__getitem__)
    mixed = series_of(folder)
    one, other = read_voxels(plain)[0], read_voxels(mixed)[0]
    assert np.array_equal(one.data, other.data)
    assert np.array_equal(one.geometry.affine, other.geometry.affine)
    uids = [reference.sop_instance_uid for reference in plain.references]
    assert uids == [reference.sop_instance_uid for reference in mixed.references]


@given(geometries(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_an_enhanced_object_is_the_volume_of_its_frames(tmp_path_factory, geometry, seed, random):
    geometry = right_handed(geometry)
    stored = stored_values(geometry, seed)
    order = list(range(geometry.shape[2]))
    random.shuffle(order)
    made = dicom_series.enhanced(geometry, stored, order)
    folder = dicom_series.write(tmp_path_factory.mktemp("enhanced"), [made])
    volume: Volume = read_voxels(series_of(folder))[0]
    slopes = np.argsort(order) + 1
    assert np.allclose(volume.data, stored * slopes)
    assert volume.geometry.matches(
        Geometry(geometry.shape, geometry.affine, volume.geometry.frame_of_reference)
    )


@settings(max_examples=10)
@given(geometries(), st.integers(0, 99))
def test_the_digest_names_the_bytes_in_the_order_of_the_slices(tmp_path_factory, geometry, seed):
    geometry = right_handed(geometry)
    made = dicom_series.slices(geometry, stored_values(geometry, seed))
    first = read_voxels(series_of(dicom_series.write(tmp_path_factory.mktemp("one"), made)))[1]
    folder = dicom_series.write(tmp_path_factory.mktemp("other"), made[::-1])
    assert read_voxels(series_of(folder))[1] == first
    made[0].PixelData = bytes(len(made[0].PixelData))
    third = dicom_series.write(tmp_path_factory.mktemp("third"), made)
    assert read_voxels(series_of(third))[1] != first
