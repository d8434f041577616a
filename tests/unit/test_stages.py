"""What the stages add to the verbs: settings that agree, identities, and faults of the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from medseg import config, run_folder, stages
from medseg.config import Protocol
from medseg.core.study import Series, Study
from medseg.errors import ExportMismatchError, ResourceError, SettingsError
from medseg.formats import handover, tables
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.dicom_source import write_source
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study
from tests import pacs


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages") / "study"
    write_study(folder, small_phantom())
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / run_folder.STAGES).mkdir()
    return tmp_path


def changed(**values: object) -> Protocol:
    plain = dict(config.plain(config.load_protocol("pet-lesions")))
    return config.parse(Protocol, plain | values)


def test_a_disk_that_fills_up_in_a_stage_is_an_error_of_the_machine(
    study: Path, work: Path
) -> None:
    (work / run_folder.STAGES / "series-pet.npy").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="disk is full"):
        stages.ingest(study, work, None, {})


def test_a_protocol_without_the_roles_of_its_model_is_refused_before_reading(
    study: Path, work: Path
) -> None:
    pet = {"modality": "PT", "unit": "SUV"}
    optional = {"ct": {"modality": "CT", "unit": "HU"}, "pet": pet | {"required": False}}
    for roles in ({"tumour": pet}, optional):
        with pytest.raises(SettingsError, match="needs the roles pet"):
            stages.ingest(study, work, changed(roles=roles), {})
    assert list((work / run_folder.STAGES).iterdir()) == []


def test_an_export_that_says_something_else_is_named_and_nothing_is_published(
    tmp_path: Path,
) -> None:
    with (
        pytest.raises(ExportMismatchError, match=r"instances\.csv"),
        run_folder.staged(tmp_path / "run") as work,
    ):
        one = pacs.run_folder_with_all(work, pacs.series(pacs.axial()))
        volume, digest = read_voxels(one.stack)
        series = Series(4, "CT", volume, digest, one.stack.references)
        folder = work / run_folder.STAGES
        handover.write_study(folder, Study({"pet": series}, {}))
        handover.write_instances(folder / "lesions", one.lesions)
        handover.write_instances(folder / "organs", one.organs)
        tables.write_json(folder / "rows.json", one.rows)
        write_source(folder, "pet", one.run.source)
        card = config.load_card("pet-lesions")
        (folder / stages.CARD_RECORD).write_text(card.model_dump_json())
        tables.write_csv(work / run_folder.TABLE_CSV, [*one.rows, one.rows[0]])
        stages.verify(work, changed())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "Pet", "", "a b"])
def test_a_role_is_a_plain_name(name: str) -> None:
    with pytest.raises(SettingsError):
        changed(roles={name: {"modality": "PT", "unit": "SUV"}})


def test_what_determines_the_labels_determines_the_identity() -> None:
    card = config.load_card("pet-lesions")
    protocol = changed()
    inputs = {"pet": "ab"}
    same = stages._identity(inputs, card, protocol)
    segment = protocol.segment.model_copy(update={"foreground_threshold": 0.4})
    grid = card.input.model_copy(update={"spacing_mm": (4.0, 4.0, 4.0)})
    window = protocol.report.model_copy(update={"window": (0.0, 5.0)})
    assert stages._identity(inputs, card, changed(title="Other")) == same
    assert stages._identity(inputs, card, protocol.model_copy(update={"report": window})) == same
    given = {"sha256": "ef", "labels": [], "instances": "auto", "kind": "nifti"}
    others = {
        stages._identity(inputs, given, protocol),
        stages._identity(inputs, given | {"labels": [2]}, protocol),
        stages._identity({"pet": "cd"}, card, protocol),
        stages._identity(inputs, card.model_copy(update={"sha256": "0" * 64}), protocol),
        stages._identity(inputs, card.model_copy(update={"input": grid}), protocol),
        stages._identity(inputs, card, protocol.model_copy(update={"segment": segment})),
        stages._identity(inputs, card, changed(roles={"pet": {"modality": "PT", "unit": "Bq/mL"}})),
    }
    assert len(others | {same}) == 8


def test_the_memory_of_who_started_a_run_is_not_the_runs_own():
    inner = "from medseg.memory import own_peak_kib; print(own_peak_kib())"
    outer = (
        "import subprocess, sys; large = b'1' * (900 << 20); "
        f"subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    )
    done = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, check=True)
    assert 10 < int(done.stdout) / 1024 < 700
