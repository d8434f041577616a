"""Many runs in one table, and runs in a BIDS dataset."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
from bidsschematools.rules import regexify_filename_rules
from bidsschematools.schema import load_schema

from medseg import batch_table, bids_export
from medseg.core.geometry import Geometry
from medseg.errors import RunFolderError, SettingsError
from medseg.formats import nifti, tables
from tests import pacs
from tests.unit.formats.test_tables import BARE, ROW

ORGAN = replace(ROW, instance=1, kind="organ", structure="brain", volume_mm3=1.2e6)
LABELS = np.zeros((9, 11, 7), np.uint16)
LABELS[2:4, 5, 6] = 1
LABELS[7, 1:3, 2] = 2
GEOMETRY = Geometry(LABELS.shape, pacs.oblique().affine)


def make_run(folder: Path, rows: list, modality: str = "MR") -> Path:
    """A run folder as far as tables are concerned, written by what writes the real ones."""
    folder.mkdir(parents=True)
    record = {
        "versions": {"medseg": "0.1"},
        "settings": {"name": "some-protocol", "roles": {"flair": {"modality": modality}}},
        "models": {"some-model": "0" * 64},
        "identity": "1" * 64,
        "counting_rule": "cc26-peaks",
        "flags": [{"code": "b", "message": ""}, {"code": "a", "message": ""}],
        "timings_seconds": {"ingest": 0.5, "segment": 1.25},
        "peak_memory_mib": 512.5,
        "study_key": "S-1",
        "patient_key": None,
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    tables.write_json(folder / "instances.json", rows)
    for name in ("lesions.nii.gz", "organs.nii.gz"):
        nifti.write_labels(folder / name, LABELS, GEOMETRY)
    return folder


def is_bids(name: str) -> bool:
    """Whether BIDS's own schema knows a derivative of that name."""
    schema = load_schema()
    rules = regexify_filename_rules(schema.rules.files.deriv.imaging, schema, level=1)
    return any(re.fullmatch(rule["regex"], name) for rule in rules)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_run(tmp_path / "runs" / "b", [ROW, BARE, ORGAN])
    make_run(tmp_path / "runs" / "deep" / "=cmd()", [])
    return tmp_path / "runs"


def test_a_study_is_a_row_with_its_lesions_counted_and_their_volumes_in_ml(runs: Path) -> None:
    first, second = batch_table.collect([runs], "studies")
    assert (first["run"], first["lesions"], first["organs"]) == ("b", 2, 1)
    assert first["lesion_volume_ml"] == pytest.approx(2 * 17 * 53.1 / 1000)
    assert first["largest_lesion_ml"] == pytest.approx(17 * 53.1 / 1000)
    assert (first["flags"], first["seconds"], first["peak_memory_mib"]) == ("a b", 1.75, 512.5)
    assert (second["lesions"], second["largest_lesion_ml"]) == (0, 0.0)


def test_csv_and_parquet_hold_the_same_rows_and_no_formula(runs: Path, tmp_path: Path) -> None:
    for rows in ("instances", "studies"):
        found = batch_table.collect([runs], rows)
        for name in ("table.csv", "table.parquet"):
            batch_table.write(tmp_path / name, rows, found)
        with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
            from_csv = list(csv.DictReader(file))
        from_parquet = pq.read_table(tmp_path / "table.parquet").to_pylist()
        assert from_parquet == found
        assert [row["identity"] for row in from_csv] == [row["identity"] for row in found]
        assert list(from_csv[0]) == list(found[0])
    assert [row["run"] for row in from_csv] == ["b", "'=cmd()"]


def test_no_lesions_make_a_table_with_columns(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [])
    batch_table.write(tmp_path / "t.parquet", "instances", batch_table.collect([run], "instances"))
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.names[:2] == ["run", "study_key"]
    assert "suv_peak" in schema.names


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        batch_table.collect([tmp_path], "studies")
    (tmp_path / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot be read"):
        batch_table.collect([tmp_path], "studies")


def test_a_run_in_a_dataset_is_bids(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [ROW, BARE, ORGAN])
    dataset = tmp_path / "derivatives"
    made = bids_export.export(run, dataset, "01", "2")
    bids_export.export(run, dataset, "02", None)
    stem = dataset / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_space-orig_desc-lesions_dseg"
    assert made[:3] == [stem.with_suffix(end) for end in (".nii.gz", ".json", ".tsv")]
    assert len(made) == 6
    files = sorted(str(path) for path in dataset.rglob("*") if path.is_file())
    assert len(files) == 14
    names = [path.relative_to(dataset).as_posix() for path in dataset.rglob("*dseg*")]
    assert len(names) == 12
    assert [
        name for name in (*names, "sub-01/anat/sub-01_lesions_dseg.tsv") if not is_bids(name)
    ] == ["sub-01/anat/sub-01_lesions_dseg.tsv"]
    image = nib.load(made[0])
    assert np.array_equal(np.asarray(image.dataobj), LABELS)
    with made[2].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["index"], row["name"]) for row in rows] == [("1", "lesion 1"), ("2", "lesion 2")]
    assert rows[1]["suv_peak"] == "n/a"
    assert json.loads(made[1].read_text(encoding="utf-8"))["volume_mm3"]["Units"] == "mm3"
    assert not list(dataset.glob(".part*"))


def test_what_has_no_place_in_a_dataset_changes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [ROW])
    dataset = tmp_path / "derivatives"
    with pytest.raises(SettingsError, match="letters and digits"):
        bids_export.export(run, dataset, "../01", None)
    for modality in ("CT", "PT"):
        with pytest.raises(RunFolderError, match=f"label maps of {modality}"):
            bids_export.export(make_run(tmp_path / modality, [ROW], modality), dataset, "01", None)
    with pytest.raises(RunFolderError, match="not a complete run folder"):
        bids_export.export(tmp_path, dataset, "01", None)
    assert not dataset.exists()
    bids_export.export(run, dataset, "01", None)
    with pytest.raises(RunFolderError, match="already"):
        bids_export.export(run, dataset, "01", None)
