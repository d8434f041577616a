"""The shared check of ingest, on the readers themselves: `test_guard` shows that the child process
that `medseg inspect` starts answers as they do."""

import importlib.util
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from medseg.core.volume import IntensityUnit
from medseg.errors import MedsegError
from medseg.formats.dicom import group, read_file
from medseg.formats.dicom_stack import stack
from medseg.ingest.inspect import inspect
from medseg.terminal import as_json

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def check(shared_data: Path) -> Iterator[ModuleType]:
    """The script, its command run in this process."""
    path = shared_data.parent / "acceptance" / "check_ingest.py"
    specification = importlib.util.spec_from_file_location("check_ingest", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    def run(command: list[str], **_: object) -> SimpleNamespace:
        try:
            found = inspect(Path(command[-2]))
            refusal, said = found.refusal, as_json(found.plain())
        except MedsegError as error:
            refusal, said = error, ""
        code = 0 if refusal is None else refusal.exit_code
        return SimpleNamespace(returncode=code, stdout=said, stderr="")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.subprocess, "run", run)
        yield module


@pytest.fixture(scope="module")
def cases(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    with tarfile.open(shared_data.parent / "acceptance" / "ingest_cases.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_every_shared_case_comes_out_as_its_manifest_says(check: ModuleType, cases: Path) -> None:
    manifest = json.loads((cases / "manifest.json").read_text())
    asked = [case for case in manifest if case["expect"]["outcome"] in ("ok", "refuse")]
    verdicts = {case["id"]: check.judge(case, cases, []) for case in asked}
    assert len(asked) == 101
    assert {name: verdict for name, verdict in verdicts.items() if verdict} == {}


def test_a_pet_that_is_in_suv_already_is_not_scaled_again(cases: Path) -> None:
    """48 slopes, one a slice; its tags would allow a factor, and the wrong one (a cropped copy)."""
    files = [read_file(path) for path in sorted((cases / "pet_sts2_slope_per_slice").iterdir())]
    (series,) = group(file for file in files if file is not None)
    found = stack(series)
    assert (found.scale.factor, found.scale.unit) == (1.0, IntensityUnit.SUV)
    assert len({one.frame.slope for one in found.slices}) == len(found.slices) == 48
    expected = next(
        case["expect"]
        for case in json.loads((cases / "manifest.json").read_text())
        if case["id"] == "pet_sts2_slope_per_slice"
    )
    (row,) = inspect(cases / "pet_sts2_slope_per_slice").series
    assert np.allclose(
        (row.minimum, row.mean, row.maximum),
        [expected[n] for n in ("min", "mean", "max")],
        rtol=1e-5,
    )
