"""`inspect` judges everything that is there and raises for none of it."""

import json

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import NoImageError, SourceNotFoundError
from medseg.ingest.inspect import inspect
from tests import dicom_series
from tests.dicom_series import GRID, STORED, example

KEYS = {
    "number", "modality", "outcome", "error", "problem", "remedy", "shape", "spacing_mm",
    "affine_ras", "minimum", "maximum", "mean", "unit", "slices", "flags",
}  # fmt: skip


def test_an_accepted_series_has_its_geometry_and_statistics(tmp_path):
    dicom_series.write(tmp_path, example("CT", RescaleIntercept="-24"))
    inspection = inspect(tmp_path)
    answer = json.loads(json.dumps(inspection.plain()))
    (row,) = answer["series"]
    assert set(row) == KEYS
    assert (row["number"], row["modality"], row["outcome"]) == (1, "CT", "ok")
    assert (row["error"], row["problem"], row["remedy"]) == (None, None, None)
    assert row["shape"] == list(GRID.shape)
    assert row["spacing_mm"] == pytest.approx(GRID.spacing_mm)
    assert np.allclose(row["affine_ras"], GRID.affine)
    values = STORED - 24.0
    assert (row["minimum"], row["maximum"]) == (values.min(), values.max())
    assert row["mean"] == pytest.approx(values.mean())
    assert (row["unit"], row["slices"], row["flags"]) == ("HU", GRID.shape[2], [])
    assert inspection.refusal is None


def test_a_refused_series_says_why_and_does_not_hide_the_others(tmp_path):
    dicom_series.write(tmp_path / "a", example("CT"))
    gap = example("MR", SeriesNumber=8)
    del gap[4]
    dicom_series.write(tmp_path / "b", gap)
    good, bad = inspect(tmp_path).plain()["series"]
    assert good["outcome"] == "ok"
    assert (bad["outcome"], bad["error"]) == ("refused", "InconsistentSeriesError")
    assert bad["problem"].endswith(".")
    assert bad["remedy"].endswith(".")
    assert bad["shape"] is None


def test_a_slice_that_cannot_be_decoded_refuses_its_series(tmp_path):
    dicom_series.write(tmp_path, example("CT"))
    content = (tmp_path / "file3").read_bytes()
    (tmp_path / "file3").write_bytes(content[:-9])
    inspection = inspect(tmp_path)
    assert [row.error for row in inspection.series] == ["UnreadableFileError"]
    assert isinstance(inspection.refusal, NoImageError)


def test_nothing_that_is_an_image_is_no_image(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    inspection = inspect(tmp_path)
    assert inspection.plain() == {
        "series": [],
        "ignored": [{"reason": "neither DICOM nor NIfTI", "files": 1}],
    }
    assert isinstance(inspection.refusal, NoImageError)
    with pytest.raises(SourceNotFoundError):
        inspect(tmp_path / "missing")


def test_a_nifti_file_has_no_modality_and_no_unit(tmp_path):
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(STORED, GRID.affine), path)
    (row,) = inspect(path).series
    assert (row.modality, row.unit, row.outcome) == (None, "arbitrary", "ok")
    path.write_bytes(path.read_bytes()[:-20])
    (row,) = inspect(path).series
    assert (row.error, row.outcome) == ("UnreadableFileError", "refused")


def test_no_identifier_is_in_the_answer(tmp_path):
    folder = tmp_path / "CANARY"
    dicom_series.write(folder, example("CT"), "CANARY{}".format)
    dicom_series.write(folder / "b", example("PT", PatientWeight="1e9", SeriesNumber=5)[:2])
    answer = json.dumps(inspect(folder).plain())
    assert "CANARY" not in answer
    assert "1.2.826" not in answer
