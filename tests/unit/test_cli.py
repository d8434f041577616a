"""The command as a user meets it: a process with an exit code, and two sentences on an error."""

import gzip
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


def medseg(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from medseg.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def nothing(folder: Path) -> None:
    folder.mkdir()


def text(folder: Path) -> None:
    folder.write_text("This is no image.\n" * 50)


def truncated_nifti(path: Path) -> None:
    whole = path.with_name("whole.nii.gz")
    data = np.random.default_rng(0).normal(size=(9, 14, 11)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([-2.0, 3, 4, 1])), whole)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()


def truncated_plain_nifti(path: Path) -> None:
    truncated_nifti(path.with_suffix(".nii.gz"))
    packed = path.with_suffix(".nii.gz")
    path.write_bytes(gzip.compress(packed.read_bytes())[:200])
    packed.unlink()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("missing", lambda _path: None),
        ("empty-folder", nothing),
        ("notes.txt", text),
        ("notes", text),
        ("truncated.nii.gz", truncated_nifti),
        ("truncated.nii", truncated_plain_nifti),
    ],
)
def test_a_study_that_is_none_is_refused_in_two_sentences(
    tmp_path: Path, name: str, make: object
) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / name)  # type: ignore[operator]
    before = sorted(tmp_path.rglob("*"))
    done = medseg("delineate", tmp_path / "in" / name, tmp_path / "run")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    sentences = done.stderr.strip().splitlines()
    assert len(sentences) == 2
    assert all(sentence.endswith(".") for sentence in sentences)
    assert str(tmp_path) not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_run_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    done = medseg("delineate", tmp_path, tmp_path / "run")
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 2
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("delineate",),
        ("no-such-command",),
        ("delineate", "study", "run", "--protocol", "no-such-protocol"),
        ("delineate", "study", "run", "--series", "pet"),
        ("delineate", "study", "run", "--series", "pet=a", "--series", "pet=b"),
    ],
)
def test_a_wrong_command_line_is_an_error_of_settings(arguments: tuple[str, ...]) -> None:
    done = medseg(*arguments)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


def test_an_empty_folder_is_inspected_in_two_sentences(tmp_path: Path) -> None:
    import json

    done = medseg("inspect", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.strip().splitlines()) == 2
    done = medseg("inspect", tmp_path, "--json")
    assert json.loads(done.stdout) == {"series": [], "ignored": []}


def test_a_path_that_no_file_system_holds_is_refused(tmp_path: Path) -> None:
    done = medseg("delineate", tmp_path, tmp_path / ("a" * 300))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_a_level_of_detail_that_is_none_is_an_error_of_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDSEG_LOG", "foo")
    done = medseg("protocols")
    assert done.returncode == 4
    assert len(done.stderr.strip().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_asked_to_end_leaves_nothing_behind(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    from medseg.phantom.body import small_phantom
    from medseg.phantom.study import write_study

    write_study(tmp_path / "study", small_phantom())
    # A shell starts what runs in its background deaf to Ctrl-C; this one is to hear it.
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{hears}; from medseg.cli import main; main()", "delineate"]
    with subprocess.Popen(
        [*command, tmp_path / "study", tmp_path / "made" / "run"], stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not any(tmp_path.glob("made/.medseg-*")):
            time.sleep(0.01)
        process.send_signal(sent)
        said = process.communicate()[1]
    assert process.returncode == code
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from medseg.cli import app\n"
            "app('--help', exit_on_error=False)\n"
            "print([n for n in ('numpy', 'torch', 'pydicom', 'prefect') if n in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "delineate" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_protocols_and_models_are_listed_for_people_and_machines() -> None:
    import json

    for command in ("protocols", "models"):
        shown = medseg(command).stdout
        listed = json.loads(medseg(command, "--json").stdout)
        names = [row["name"] for row in listed[command]]
        assert {"head-neck-organs", "pet-lesions"} <= set(names)
        assert names == sorted(names)
        assert all(name in shown for name in names)


def test_the_doctor_finds_nothing_wrong_with_a_whole_installation() -> None:
    done = medseg("doctor")
    assert done.returncode == 0, done.stdout
    assert "FAULT" not in done.stdout


def test_the_doctor_says_what_the_machine_lacks_for_a_pdf_and_that_it_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "fonts.conf"
    settings.write_text("<fontconfig><dir>/nowhere</dir></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_FILE", str(settings))
    done = medseg("doctor")
    assert done.returncode == 0, done.stdout
    (note,) = [line for line in done.stdout.splitlines() if line.startswith("note")]
    assert note.startswith("note  report.pdf: No PDF of this report was made")
    assert "fonts-dejavu-core" in note


def test_measure_and_evaluate_take_a_peers_label_map(tmp_path: Path) -> None:
    import csv
    import io
    import json

    affine = np.array([[0, -2.0, 0, 9], [3, 0, 0, -4], [0, 0, 4, 50], [0, 0, 0, 1]])
    labels = np.zeros((9, 14, 11), np.uint8)
    labels[2:5, 3:7, 4:6] = 7
    image = np.random.default_rng(0).normal(5, 1, labels.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "labels.nii.gz")
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "image.nii.gz")
    arguments = ("measure", tmp_path / "labels.nii.gz", tmp_path / "image.nii.gz")
    (row,) = csv.DictReader(io.StringIO(medseg(*arguments).stdout))
    assert (row["instance"], row["voxel_count"]) == ("7", "24")
    assert float(row["volume_mm3"]) == pytest.approx(24 * 2 * 3 * 4)
    assert float(row["intensity_mean"]) == pytest.approx(image[labels == 7].mean(), rel=1e-5)
    (again,) = json.loads(medseg(*arguments, "--json").stdout)["instances"]
    assert again["volume_mm3"] == float(row["volume_mm3"])
    assert medseg(*arguments, "--out", tmp_path / "table.csv").returncode == 0
    assert (tmp_path / "table.csv").read_text() == medseg(*arguments).stdout
    scores = json.loads(
        medseg("evaluate", tmp_path / "labels.nii.gz", tmp_path / "labels.nii.gz", "--json").stdout
    )
    assert scores["dice"] == 1
