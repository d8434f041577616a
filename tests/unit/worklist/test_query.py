"""A worklist from a real archive: found by C-FIND, retrieved by C-GET."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from medseg import sending
from medseg.errors import PacsUnreachableError, SettingsError
from medseg.formats.dicom_association import Caller, Node
from medseg.formats.dicom_attributes import derived_uid
from medseg.formats.dicom_find import images_of_study
from medseg.formats.dicom_receive import file_beginning
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


def test_a_picture_of_the_dose_does_not_keep_a_study_in_the_archive(
    pacs: orthanc.Orthanc, tmp_path: Path
) -> None:
    """Scanners send one as a series of CT that is a secondary capture."""
    write_study(tmp_path / "source", small_phantom())
    one = next(path for path in sorted((tmp_path / "source").rglob("*")) if path.is_file())
    pacs.clear()
    pacs.put(one.read_bytes())
    picture = dcmread(one)
    picture.SOPClassUID = picture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    picture.SOPInstanceUID = picture.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    picture.SeriesInstanceUID = "1.2.3"
    picture.Modality = "CT"
    picture.save_as(tmp_path / "picture")
    pacs.put((tmp_path / "picture").read_bytes())
    (study,) = listing.studies(query(tmp_path, pacs.node))
    assert len(list(study.source.iterdir())) == 2


def test_our_results_are_no_images_that_an_archive_has_more(
    pacs: orthanc.Orthanc, tmp_path: Path
) -> None:
    write_study(tmp_path / "source", small_phantom())
    one = next(path for path in sorted((tmp_path / "source").rglob("*")) if path.is_file())
    node, caller = sending.parse_node(pacs.node), Caller("MEDSEG", 10)
    pacs.clear()
    pacs.put(one.read_bytes())
    assert images_of_study(one, node, caller) == 1
    for modality, series in (("SEG", derived_uid("ours")), ("SR", "1.2.3")):
        made = dcmread(one)
        made.Modality, made.SeriesInstanceUID = modality, series
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{series}.1"
        made.save_as(tmp_path / modality)
        pacs.put((tmp_path / modality).read_bytes())
    assert images_of_study(one, node, caller) == 2  # the scanner's own report counts


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_file_that_says_nothing_or_is_a_bomb_is_asked_nothing_about(
    syntax: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zlib.decompress", lambda *_: pytest.fail("unpacked"))
    file = tmp_path / "file"
    file.write_bytes(file_beginning("1.2", "1.2.3", syntax) + b"\x08\x00\x05\x00CS\xff\xff" * 9)
    assert images_of_study(file, Node("PACS", "127.0.0.1", 9), Caller("MEDSEG", 1)) is None


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_query_that_cannot_be_asked_lists_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no keyword"):
        listing.studies(query(tmp_path, "PACS@127.0.0.1:9", "NoSuchKey: x"))
    with pytest.raises(PacsUnreachableError):
        listing.studies(query(tmp_path, "PACS@127.0.0.1:9"))
