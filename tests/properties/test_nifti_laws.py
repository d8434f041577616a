"""Laws of the NIfTI door, held against nibabel."""

from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats import nifti
from tests.strategies import geometries, instance_maps


def drawn_values(geometry: Geometry, seed: int) -> np.ndarray:
    """Values that differ from voxel to voxel."""
    return np.random.default_rng(seed).integers(-900, 2000, geometry.shape).astype(np.int16)


@given(
    geometries(),
    st.integers(0, 99),
    st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    st.sampled_from(["<", ">"]),
    st.sampled_from(["a.nii", "a.nii.gz"]),
)
def test_a_file_written_by_nibabel_is_read_as_nibabel_reads_it(
    tmp_path_factory, geometry, seed, kind, order, name
):
    path = Path(tmp_path_factory.mktemp("nifti")) / name
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    made = kind(drawn_values(geometry, seed), geometry.affine, header)
    made.header.set_slope_inter(0.25, -7)
    nib.save(made, path)
    theirs = nib.load(path)
    ours = nifti.read(path)
    assert np.allclose(ours.geometry.affine, theirs.affine, atol=1e-6)
    assert np.allclose(ours.data, theirs.get_fdata())
    assert ours.unit == IntensityUnit.ARBITRARY


@given(geometries(), st.integers(0, 99))
def test_a_volume_that_we_write_lies_where_nibabel_and_its_qform_say(
    tmp_path_factory, geometry, seed
):
    path = Path(tmp_path_factory.mktemp("nifti")) / "a.nii.gz"
    data = drawn_values(geometry, seed).astype(np.float32)
    nifti.write_volume(path, Volume(data, geometry, IntensityUnit.HU))
    theirs = nib.load(path)
    assert np.array_equal(theirs.get_fdata(), data)
    assert np.allclose(theirs.get_sform(), geometry.affine, atol=1e-4)
    assert np.allclose(theirs.get_qform(), geometry.affine, atol=1e-3)
    assert nifti.read(path).geometry.matches(geometry)


@given(instance_maps())
def test_labels_come_back_as_they_were_written(tmp_path_factory, original):
    path = Path(tmp_path_factory.mktemp("nifti")) / "a.nii.gz"
    nifti.write_labels(path, original.labels, original.geometry)
    labels, geometry = nifti.read_labels(path)
    assert np.array_equal(labels, original.labels)
    assert geometry.matches(original.geometry)
