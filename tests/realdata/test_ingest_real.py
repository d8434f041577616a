"""The doors on real data: a whole-body PET, and label maps and volumes of every set in shared."""

import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.core.volume import IntensityUnit
from medseg.formats import nifti
from medseg.formats.dicom import group, read_file
from medseg.formats.dicom_stack import stack
from medseg.ingest.inspect import inspect

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def whole_body(shared_data: Path, tmp_path_factory) -> Path:
    """The DICOM of patient STS_001: a PET in Bq/mL and its RTSTRUCT."""
    folder = tmp_path_factory.mktemp("sts")
    with tarfile.open(shared_data / "dicom" / "sts_001_whole_body.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def itk_image(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    (uid,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    return reader.Execute()


def test_the_whole_body_is_in_suv_and_lies_where_simpleitk_says(whole_body):
    (row,) = inspect(whole_body).series
    assert (row.outcome, row.unit, row.modality) == ("ok", "SUV", "PT")
    (series,) = group(
        file
        for path in whole_body.rglob("*")
        if path.is_file() and (file := read_file(path)) is not None and file.has_pixels
    )
    found = stack(series)
    assert found.scale.factor == pytest.approx(2.4290e-4, rel=1e-4)
    folder = series[0].path.parent
    theirs = itk_image(folder)
    assert row.shape == theirs.GetSize()
    affine = np.eye(4)
    affine[:3, :3] = np.array(theirs.GetDirection()).reshape(3, 3) * theirs.GetSpacing()
    affine[:3, 3] = theirs.GetOrigin()
    assert np.allclose(row.affine_ras, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-4)
    values = sitk.GetArrayFromImage(theirs)
    assert row.maximum == pytest.approx(values.max() * found.scale.factor, rel=1e-6)
    assert row.mean == pytest.approx(values.mean(dtype=float) * found.scale.factor, rel=1e-6)
    assert [flag.code for flag in row.flags] == ["uneven-spacing"]


def test_every_nifti_file_is_read_as_nibabel_reads_it(shared_data):
    paths = [*sorted(shared_data.glob("pet_lesions/val/**/*.nii.gz"))[:6]]
    paths += sorted(shared_data.glob("head_neck_organs/val/**/*.nii.gz"))[:2]
    paths += sorted(shared_data.glob("ms_longitudinal/**/*.nii.gz"))[:2]
    assert len(paths) >= 6
    for path in paths:
        ours, theirs = nifti.read(path), nib.load(path)
        assert np.allclose(ours.geometry.affine, theirs.affine, atol=1e-5)
        assert np.allclose(ours.data, np.asarray(theirs.dataobj), rtol=1e-6)
        assert ours.unit is IntensityUnit.ARBITRARY


def test_every_label_map_is_read_as_labels(shared_data):
    path = sorted(shared_data.glob("pet_lesions/val/**/*lesion*.nii.gz"))
    for one in path[:3]:
        labels, geometry = nifti.read_labels(one)
        assert labels.max() >= 1
        assert geometry.shape == labels.shape
