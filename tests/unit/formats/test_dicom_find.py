"""What an archive is asked: a real one, and one that is not there."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import _config

from medseg.errors import PacsUnreachableError
from medseg.formats.dicom_association import SILENT, Caller, Node
from medseg.formats.dicom_find import find_series, images_of_study
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study
from medseg.sending import parse_node
from tests import orthanc

US = Caller("MEDSEG", 5)

NOWHERE = Node("PACS", "no-such-host.invalid", 104)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orthanc.Orthanc]:
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as one:
        yield one


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    study = tmp_path_factory.mktemp("study")
    write_study(study, small_phantom())
    return sorted(path for path in study.rglob("*") if path.is_file())[:5]


def test_an_archive_says_how_many_images_a_study_has(
    pacs: orthanc.Orthanc,
    slices: list[Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    archive = parse_node(pacs.node)
    before = {name: getattr(_config, name) for name in SILENT}
    pacs.clear()
    assert images_of_study(slices[0], archive, US) is None
    for path in slices:
        pacs.put(path.read_bytes())
    patient = str(dcmread(slices[0]).PatientID)
    with caplog.at_level(logging.DEBUG):
        assert images_of_study(slices[0], archive, US) == len(slices)
        (found,) = find_series(archive, US, {"PatientID": patient})
    assert found.images == len(slices)
    told = caplog.text + "".join(capfd.readouterr())
    assert patient not in told
    assert found.study not in told
    assert {name: getattr(_config, name) for name in SILENT} == before
    (tmp_path / "note.txt").write_text("no DICOM")
    assert images_of_study(tmp_path / "note.txt", archive, US) is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of pynetdicom
@pytest.mark.parametrize("archive", [NOWHERE, Node("PACS", "127.0.0.1", 9)])
def test_an_archive_that_is_not_there_says_nothing(slices: list[Path], archive: Node) -> None:
    assert images_of_study(slices[0], archive, US) is None
    with pytest.raises(PacsUnreachableError):
        find_series(archive, US, {"PatientID": "*"})
