"""A network of the user's through the whole line: card, protocol, run folder, worklist, bench."""

import hashlib
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
import yaml
from torch import nn

from medseg import config, stages
from medseg.bench.compete import compete
from medseg.config import ModelCard
from medseg.errors import MedsegError, ModelError, ResourceError, SettingsError
from medseg.formats import tables
from medseg.model.load import check_model, load_model
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study
from medseg.worklist.fingerprint import ListedStudy, fingerprint
from medseg.worklist.outcome import Outcome
from medseg.worklist.work import do_study, run_name
from tests import exports

SHAPE = (40, 44, 52)
SPACING_MM = np.array((4.0, 3.0, 2.5))
BALLS = (((-30.0, -20.0, 40.0), 11.0), ((34.0, 15.0, 60.0), 8.0), ((10.0, 40.0, 25.0), 14.0))
"""Centres in RAS mm and radii in mm."""


@dataclass(frozen=True)
class Known:
    """A PET as NIfTI, and the lesions in it as one file each reader knows."""

    image: Path
    lesions: Path
    volumes_mm3: tuple[float, ...]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Balls of SUV 8 in a body of SUV 1, stored from left to right and from front to back."""
    folder = tmp_path_factory.mktemp("cases")
    affine = np.diag((*(SPACING_MM * (-1, -1, 1)), 1.0))
    affine[:3, 3] = (78, 64, 0)
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    mm = places @ affine[:3, :3].T + affine[:3, 3]
    labels = np.zeros(SHAPE, np.uint8)
    for n, (centre, radius) in enumerate(BALLS, start=1):
        labels[np.linalg.norm(mm - centre, axis=-1) <= radius] = n
    image = np.where(labels > 0, 8, 1).astype(np.float32)
    nib.save(nib.Nifti1Image(image, affine), folder / "one_pet.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / "one_lesions.nii.gz")
    voxel_mm3 = float(SPACING_MM.prod())
    volumes = tuple(np.count_nonzero(labels == n) * voxel_mm3 for n in (1, 2, 3))
    return Known(folder / "one_pet.nii.gz", folder / "one_lesions.nii.gz", volumes)


def tile(channels: int = 1) -> torch.Tensor:
    return torch.ones((1, channels, 16, 24, 20))


def content(name: str) -> bytes:
    export = exports.onnx if name.endswith(".onnx") else exports.torchscript
    return export(exports.Hot(), tile())


def medseg(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from medseg.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.mark.parametrize("name", ["hot.ts", "hot.onnx"])
def test_the_lesions_that_are_there_are_found_and_the_network_is_recorded(
    tmp_path: Path, known: Known, name: str
) -> None:
    protocol = exports.write(tmp_path / "home of a user", content(name), name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = tmp_path / "run"
    relative = Path("..", *protocol.parts[-2:])
    done = medseg("delineate", known.image, run, "--protocol", relative, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    rows = tables.read_json(run / "instances.json")
    assert len(rows) == len(BALLS)
    places = [(row.centroid_r_mm, row.centroid_a_mm, row.centroid_s_mm) for row in rows]
    for (centre, _), volume_mm3 in zip(BALLS, known.volumes_mm3, strict=True):
        distances = [np.linalg.norm(np.subtract(place, centre)) for place in places]
        row = rows[int(np.argmin(distances))]
        assert min(distances) < 1.5
        assert row.volume_mm3 == pytest.approx(volume_mm3)
        assert (row.kind, row.structure, row.intensity_mean) == ("lesion", "lesion", 8)
    record = json.loads((run / "run.json").read_text())
    card = config.load_card(str(protocol.parent / "card.yaml"))
    assert record["models"] == {"hot-spots": card.sha256}
    assert config.parse(ModelCard, record["cards"]["hot-spots"]) == card
    assert record["settings"]["segment"]["model"] == "hot-spots"
    assert "openvino" in record["versions"]
    for path in run.rglob("*"):
        assert path.is_dir() or b"home of a user" not in path.read_bytes()


def test_objects_for_a_pacs_name_the_model_and_not_its_place(tmp_path: Path) -> None:
    phantom = small_phantom()
    write_study(tmp_path / "study", phantom)
    protocol = exports.write(tmp_path / "model", content("hot.ts"), "hot.ts")
    run = tmp_path / "run"
    stages.delineate(tmp_path / "study", run, config.load_protocol(str(protocol)))
    found = pydicom.dcmread(run / "dicom" / "segmentation.dcm")
    assert {one.SegmentAlgorithmName for one in found.SegmentSequence} == {"hot-spots"}
    labels = np.asarray(nib.load(run / "lesions.nii.gz").dataobj) > 0
    hot = phantom.pet.data >= 4
    dice = 2 * np.count_nonzero(labels & hot) / (np.count_nonzero(labels) + np.count_nonzero(hot))
    assert dice > 0.95


def test_a_card_that_lies_elsewhere_gives_the_same_labels_another_card_another_identity(
    tmp_path: Path, known: Known
) -> None:
    """For a worklist too: what was moved is done already, what was changed is not."""
    identities, fingerprints = [], []
    network = content("hot.pt")
    for folder, card in (
        ("one", exports.CARD),
        ("other", exports.CARD),
        ("changed", exports.sections(input={"clip": [[0, 19]]})),
    ):
        path = exports.write(tmp_path / folder, network, "hot.pt", card)
        protocol = config.load_protocol(str(path))
        run = tmp_path / f"run-{folder}"
        stages.delineate(known.image, run, protocol)
        identities.append(json.loads((run / "run.json").read_text())["identity"])
        fingerprints.append(fingerprint(ListedStudy(1, known.image, protocol)))
    for first, moved, changed in (identities, fingerprints):
        assert first == moved
        assert first != changed
    exports.write(tmp_path / "one", network, "hot.pt", exports.sections(input={"clip": [[0, 19]]}))
    again = config.load_protocol(str(tmp_path / "one" / "protocol.yaml"))
    assert fingerprint(ListedStudy(1, known.image, again)) == fingerprints[2]


@pytest.mark.parametrize("at", [("ingest", 1), ("measure", 0)])
def test_a_card_that_is_edited_during_a_run_is_recorded_as_it_was_used(
    tmp_path: Path, known: Known, at: tuple[str, float]
) -> None:
    protocol = exports.write(tmp_path / "model", content("hot.ts"), "hot.ts")
    card = protocol.parent / "card.yaml"
    used, text = config.load_card(str(card)), card.read_text()
    chosen = config.load_protocol(str(protocol))
    identities = set()
    other = text.replace(used.sha256, "f" * 64).replace("hot-spots", "other")
    assert config.parse(ModelCard, yaml.safe_load(other)).name == "other"
    for n, edited in enumerate((text, other, "name: [")):
        card.write_text(text)

        def edit(stage: str, share: float, edited: str = edited) -> None:
            if (stage, share) == at:
                card.write_text(edited)

        run = tmp_path / f"run-{n}"
        stages.delineate(known.image, run, chosen, progress=edit)
        assert card.read_text() == edited
        record = json.loads((run / "run.json").read_text())
        assert record["models"] == {"hot-spots": used.sha256}
        assert config.parse(ModelCard, record["cards"]["hot-spots"]) == used
        assert record["settings"]["segment"]["model"] == "hot-spots"
        identities.add(record["identity"])
    assert len(identities) == 1


@dataclass
class Editing:
    """It does a study here, with the card that is there before and at a moment of the run."""

    card: Path
    before: str
    meanwhile: str
    after: str

    def delineate(self, study: ListedStudy, run: Path, digest: str, _seconds: float) -> None:
        self.card.write_text(self.before)

        def edit(stage: str, _share: float) -> None:
            if stage == "measure":
                self.card.write_text(self.meanwhile)

        stages.delineate(study.source, run, study.protocol, progress=edit, fingerprint=digest)
        self.card.write_text(self.after)


def test_a_worklist_files_a_run_under_the_card_that_it_was_made_with(
    tmp_path: Path, known: Known
) -> None:
    """Whatever the card is by then: one that came and went, or one that cannot be read."""
    protocol = exports.write(tmp_path / "model", content("hot.ts"), "hot.ts")
    card = protocol.parent / "card.yaml"
    text = card.read_text()
    study = ListedStudy(1, known.image, config.load_protocol(str(protocol)))
    digest, runs = fingerprint(study), tmp_path / "runs"
    other = text.replace("- - 0", "- - 1")
    assert other != text
    with pytest.raises(ResourceError, match="card of its model came or changed"):
        do_study(study, runs, Editing(card, other, other, text))  # type: ignore[arg-type]
    assert not (runs / run_name(digest)).exists()
    row = do_study(study, runs, Editing(card, text, other, "name: ["))  # type: ignore[arg-type]
    assert (row.outcome, row.fingerprint) == (Outcome.DONE, digest)
    card.write_text(other)
    assert fingerprint(study) != digest


def test_what_does_not_fit_ends_in_two_sentences_and_leaves_nothing(
    tmp_path: Path, known: Known
) -> None:
    wrong = exports.torchscript(nn.Conv3d(2, 1, 1), tile(2))
    protocol = exports.write(tmp_path / "model", wrong, "w.pt")
    before = sorted(tmp_path.rglob("*"))
    done = medseg("delineate", known.image, "run", "--protocol", protocol, cwd=tmp_path)
    assert done.returncode == ModelError.exit_code
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if not line.endswith("%")]
    assert len(said) == 2
    assert all(sentence.endswith(".") for sentence in said)
    assert "expected input[1, 1, 16, 24, 20] to have 2 channels, but got 1" in said[0]
    assert str(tmp_path) not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "hot.pt").unlink(), "missing"),
        (lambda folder: (folder / "hot.pt").write_bytes(b"other"), "not those that its card names"),
    ],
)
def test_a_file_that_is_missing_or_another_is_refused(
    tmp_path: Path, known: Known, change: Callable[[Path], object], message: str
) -> None:
    protocol = exports.write(tmp_path / "model", content("hot.pt"), "hot.pt")
    change(protocol.parent)
    with pytest.raises(ModelError, match=message) as refused:
        stages.delineate(known.image, tmp_path / "run", config.load_protocol(str(protocol)))
    assert "sha256sum" in refused.value.remedy
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "../secret.pt"}, "without a folder"),
        ({"weights": "/etc/secret.pt"}, "without a folder"),
        ({"weights": "a/b.pt"}, "without a folder"),
        ({"weights": "a\\b.pt"}, "without a folder"),
        ({"weights": ".."}, "end in .pt or .ts or .onnx"),
        ({"weights": "w.safetensors"}, "end in .pt or .ts or .onnx"),
        ({"weights": "w.pkl"}, "end in .pt or .ts or .onnx"),
        ({"name": "../../evil"}, "name"),
        ({"sha256": "12"}, "sha256"),
        (exports.sections(input={"clip": [[0, float("inf")]]}), r"input\.clip.* finite"),
        (exports.sections(input={"clip": [[20, 20]]}), "from a lower to a higher"),
        (exports.sections(input={"spacing_mm": [float("nan"), 3, 3]}), r"input\.spacing_mm\.0"),
        (exports.sections(input={"spacing_mm": [4, 0, 3]}), r"input\.spacing_mm\.1: .*than 0"),
        ({"scores": {"ours": {"dice": float("nan")}}}, r"scores\.ours\.dice: .*finite"),
        (exports.sections(input={"whole_tiles": False}), "whole_tiles"),
        (exports.sections(input={"tile": [16, 24, 21]}), "multiple of network.tile_step"),
        (exports.sections(network={"channels": [3, 4]}), "network.exported.channels"),
        (exports.sections(network={"activation": "none"}), "network.exported.activation"),
        (exports.sections(network={"tile_step": [0, 2, 2]}), "network.exported.tile_step"),
        (exports.sections(network={"offsets": True}), "centre_heatmap"),
        (
            exports.sections(
                input={"context": {"factor": 2, "tile": [8, 8, 8], "channels": [2, 2, 2]}}
            ),
            "no context",
        ),
    ],
)
def test_a_card_that_is_hostile_or_contradicts_itself_is_refused(
    changes: dict[str, object], message: str
) -> None:
    card = {"weights": "w.pt", "sha256": "0" * 64} | exports.CARD
    assert config.parse(ModelCard, card).weights == "w.pt"
    with pytest.raises(SettingsError, match=message):
        config.parse(ModelCard, card | changes)


def test_a_network_of_ours_is_safetensors() -> None:
    card = dict(config.plain(config.load_card("pet-lesions")))
    with pytest.raises(SettingsError, match=r"end in \.safetensors"):
        config.parse(ModelCard, card | {"weights": "pet-lesions.pt"})


def test_a_card_that_is_not_there_is_said_before_the_study_is_read(
    tmp_path: Path, known: Known
) -> None:
    protocol = exports.write(tmp_path / "model", content("hot.pt"), "hot.pt")
    (protocol.parent / "card.yaml").unlink()
    with pytest.raises(MedsegError, match="cannot be read as YAML"):
        stages.delineate(
            tmp_path / "nothing", tmp_path / "run", config.load_protocol(str(protocol))
        )


def test_models_lists_a_card_of_ones_own_and_says_what_does_not_fit(tmp_path: Path) -> None:
    protocol = exports.write(tmp_path / "model", content("hot.onnx"), "hot.onnx")
    card = protocol.parent / "card.yaml"
    done = medseg("models", card, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hot-spots: What has an SUV of 4 and more")
    listed = json.loads(medseg("models", card, "--json", cwd=tmp_path).stdout)
    assert [one["name"] for one in listed["models"]] == ["hot-spots"]
    card.write_text(
        card.read_text().replace("- pet", "- pet\n  - ct").replace("- - 0", "- [0, 1]\n  - - 0")
    )
    done = medseg("models", card, cwd=tmp_path)
    assert done.returncode == ModelError.exit_code
    assert "takes [1,1,16,24,20], and its card gives tiles of 1 x 2 x 16 x 24 x 20" in done.stderr


def test_bench_takes_the_weights_beside_a_card_of_ones_own(tmp_path: Path, known: Known) -> None:
    protocol = exports.write(tmp_path / "model", content("hot.onnx"), "hot.onnx")
    cases, entries = compete(known.image.parent, [str(protocol.parent / "card.yaml")])
    assert [case.name for case in cases] == ["one"]
    assert {entry.model for entry in entries} == {"hot-spots"}
    for entry in entries:
        found = entry.scores[0].under("labels-any-overlap")
        assert (found.found_lesions, found.false_lesions) == (3, 0)


def test_a_protocol_names_its_card_from_its_own_folder_on(tmp_path: Path) -> None:
    """Or absolutely; a name stays a name."""
    (tmp_path / "sub").mkdir()
    path = tmp_path / "mine.yaml"
    for model, meant in (
        ("sub/card.yaml", str(tmp_path / "sub/card.yaml")),
        (str(tmp_path / "card.yml"), str(tmp_path / "card.yml")),
        ("pet-lesions", "pet-lesions"),
    ):
        path.write_text(yaml.safe_dump(exports.PROTOCOL | {"segment": {"model": model}}))
        assert config.load_protocol(str(path)).segment.model == meant
    path.write_text(yaml.safe_dump(exports.PROTOCOL | {"segment": {"model": "sub/card.txt"}}))
    with pytest.raises(SettingsError, match=r"segment\.model"):
        config.load_protocol(str(path))


class Ramps(nn.Module):
    """The place of a voxel along the three axes of its input, and what is in it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lines = [torch.arange(float(n)) for n in x.shape[2:]]
        return torch.stack(torch.meshgrid(*lines, indexing="ij"))[None] + x


@pytest.mark.slow
def test_the_example_of_the_documentation_runs_and_turns_the_axes_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "own-models.md").read_text()
    card, protocol = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"network": Ramps()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(program, names)  # noqa: S102  it is our own, and what users copy
    for weights in ("liver-net.onnx", "liver-net.ts"):
        sha256 = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        written = card.replace("0" * 64, sha256).replace("liver-net.onnx", weights)
        Path("card.yaml").write_text(written)
        Path("protocol.yaml").write_text(protocol)
        chosen = config.load_protocol("protocol.yaml")
        found = config.load_card(chosen.segment.model)
        check_model(found, config.card_folder(chosen.segment.model))
        model = load_model(found, 0, tmp_path)
        seen = np.random.default_rng(3).random(found.input.tile, np.float32)
        said = model.network.ask(torch.from_numpy(seen)[None, None])[0].numpy()
        r, a, s = np.indices(found.input.tile)
        expected = np.stack([s, a.max() - a, r.max() - r]) + (seen * 400 - 160 - 90) / 40
        np.testing.assert_allclose(said, expected, atol=1e-4)
