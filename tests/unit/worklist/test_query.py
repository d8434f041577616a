"""A worklist from a real archive: found by C-FIND, retrieved by C-GET."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from medseg.errors import PacsUnreachableError, SettingsError
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study
from medseg.worklist import listing
from tests import orthanc


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orthanc.Orthanc]:
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as one:
        yield one


def query(folder: Path, node: str, key: str = "PatientName: '*'") -> Path:
    path = folder / "query.yaml"
    path.write_text(f"archive: {node}\nkeys:\n  {key}\nfolder: studies\n")
    return path


def pixels(folder: Path) -> dict[str, bytes]:
    found = [dcmread(path) for path in folder.rglob("*") if path.is_file()]
    return {str(one.SOPInstanceUID): one.PixelData for one in found if one.Modality != "SR"}


def test_a_query_is_retrieved_whole_and_again_only_when_the_archive_has_more(
    pacs: orthanc.Orthanc, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    write_study(source, small_phantom())
    slices = sorted(path for path in source.rglob("*") if path.is_file())
    for path in slices[8:]:
        path.unlink()
    slices = slices[:8]
    pacs.clear()
    for path in slices[:-1]:
        pacs.put(path.read_bytes())
    asked = query(tmp_path, pacs.node)
    (first,) = listing.studies(asked)
    written = {path: path.stat().st_ino for path in first.source.iterdir()}
    assert len(written) == len(slices) - 1
    (again,) = listing.studies(asked)
    assert {path: path.stat().st_ino for path in again.source.iterdir()} == written
    pacs.put(slices[-1].read_bytes())
    (late,) = listing.studies(asked)
    assert late.source == first.source
    assert pixels(late.source) == pixels(source)
    assert [path.name for path in (tmp_path / "studies").iterdir()] == [late.source.name]


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_query_that_cannot_be_asked_lists_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no keyword"):
        listing.studies(query(tmp_path, "PACS@127.0.0.1:9", "NoSuchKey: x"))
    with pytest.raises(PacsUnreachableError):
        listing.studies(query(tmp_path, "PACS@127.0.0.1:9"))
