"""A run folder is whole only as long as every file is as it was published."""

import json
from pathlib import Path

import pytest

from medseg import manifest, run_folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with run_folder.staged(tmp_path / "run", "f" * 64) as work:
        (work / "dicom").mkdir()
        (work / "dicom" / "a.dcm").write_bytes(b"abc")
        (work / "report.html").write_bytes(b"page")
    return tmp_path / "run"


def test_a_published_run_folder_is_whole_for_its_own_fingerprint_alone(run: Path) -> None:
    assert manifest.is_whole(run, "f" * 64)
    assert not manifest.is_whole(run, "e" * 64)


def test_every_file_but_the_manifest_is_listed_and_no_file_of_the_stages(run: Path) -> None:
    files = json.loads((run / manifest.FILE).read_bytes())["files"]
    assert set(files) == {"dicom/a.dcm", "report.html"}
    # of coreutils' sha256sum
    assert files["dicom/a.dcm"] == {
        "bytes": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "dicom" / "a.dcm").write_bytes(b"abd"),
        lambda run: (run / "dicom" / "a.dcm").unlink(),
        lambda run: (run / "report.html").write_bytes(b"pag"),
        lambda run: (run / manifest.FILE).unlink(),
        lambda run: (run / manifest.FILE).write_bytes(b'{"fingerprint": '),
        lambda run: (run / manifest.FILE).write_bytes(b"[]"),
    ],
)
def test_one_changed_missing_or_cut_file_makes_it_not_whole(run: Path, damage) -> None:  # type: ignore[no-untyped-def]
    damage(run)
    assert not manifest.is_whole(run, "f" * 64)
