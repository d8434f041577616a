"""Label maps on disk, one case and folders of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.core.instances import InstanceMap
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import GeometryMismatchError, UnreadableFileError
from medseg.evaluate.rules import CC26_ANY_OVERLAP, LABELS_ANY_OVERLAP
from medseg.formats import nifti
from medseg.score_text import case_text, cohort_text
from medseg.scoring import CaseMismatchError, Options, score, score_folders
from tests.regression.scenes import scene


def write(path: Path, instances: InstanceMap) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti.write_labels(path, instances.labels, instances.geometry)
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("case")
    prediction, reference = scene(1)
    return write(folder / "p.nii.gz", prediction), write(folder / "r.nii.gz", reference)


def test_a_mask_is_taken_apart_and_labels_are_not(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    _, reference = scene(1)
    mask = InstanceMap(
        (reference.labels > 0).astype(np.uint16),
        reference.geometry,
        (replace(reference.instances[0], label=1),),
    )
    of_mask = score(pair[0], write(tmp_path / "mask.nii.gz", mask))
    assert of_mask.instances == {"prediction": "labels", "reference": "components"}
    components = of_mask.scores.under(CC26_ANY_OVERLAP).reference_lesions
    assert components > 1
    assert of_mask.scores.under(LABELS_ANY_OVERLAP).reference_lesions == components
    as_one = score(pair[0], tmp_path / "mask.nii.gz", Options(instances="labels"))
    assert as_one.scores.under(LABELS_ANY_OVERLAP).reference_lesions == 1
    of_labels = score(*pair)
    assert of_labels.instances["reference"] == "labels"
    assert of_labels.scores.under(LABELS_ANY_OVERLAP).reference_lesions == 14


def test_confidences_come_from_a_table_of_the_users(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    table = tmp_path / "sure.csv"
    rows = "".join(f"{row.label},{row.label / 20}\n" for row in scene(1)[0].instances)
    table.write_text("instance,confidence\n" + rows)
    assert score(*pair).scores.candidates is None
    found = score(*pair, Options(confidences=table)).scores.candidates
    assert found is not None
    assert sorted(found.confidence) == [row.label / 20 for row in scene(1)[0].instances]
    table.write_text("instance,confidence\n1,1.2\n")
    with pytest.raises(UnreadableFileError):
        score(*pair, Options(confidences=table))


def test_confidences_of_a_run_folder_are_those_of_its_lesions(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    run = tmp_path / "run"
    write(run / "lesions.nii.gz", scene(1)[0])
    lesions = [f"{row.label},lesion,0.5" for row in scene(1)[0].instances]
    (run / "instances.csv").write_text(
        "\n".join(["instance,kind,confidence", *lesions, "1,organ,0.9"]) + "\n"
    )
    found = score(run, pair[1]).scores.candidates
    assert found is not None
    assert set(found.confidence) == {0.5}
    without = [line.replace("0.5", "") for line in lesions]
    (run / "instances.csv").write_text("\n".join(["instance,kind,confidence", *without]) + "\n")
    assert score(run, pair[1]).scores.candidates is None


def test_the_burden_of_an_image_is_that_of_its_voxels(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    _, reference = scene(1)
    rng = np.random.default_rng(4)
    data = rng.gamma(2, 2, reference.geometry.shape).astype(np.float32)
    nifti.write_volume(
        tmp_path / "i.nii.gz", Volume(data, reference.geometry, IntensityUnit.ARBITRARY)
    )
    found = score(*pair, Options(image=tmp_path / "i.nii.gz")).burden["reference"]
    inside = data[reference.labels > 0]
    voxel_ml = abs(np.linalg.det(reference.geometry.affine[:3, :3])) / 1000
    assert found["volume_mm3"] == pytest.approx(len(inside) * voxel_ml * 1000)
    assert found["intensity_max"] == inside.max()
    assert found["intensity_times_ml"] == pytest.approx(inside.sum(dtype=float) * voxel_ml)
    other = Volume(
        data[1:],
        reference.geometry.crop((slice(1, len(data)), *[slice(0, n) for n in data.shape[1:]])),
        IntensityUnit.ARBITRARY,
    )
    nifti.write_volume(tmp_path / "j.nii.gz", other)
    with pytest.raises(GeometryMismatchError):
        score(*pair, Options(image=tmp_path / "j.nii.gz"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cases")
    for seed in (1, 2):
        prediction, reference = scene(seed)
        write(folder / "p" / f"patient{seed}.nii.gz", prediction)
        write(folder / "r" / f"patient{seed}_lesions.nii.gz", reference)
    return folder / "p", folder / "r"


def test_cases_are_paired_by_name(folders: tuple[Path, Path]) -> None:
    found = score_folders(*folders)
    assert list(found.cases) == ["patient1", "patient2"]
    assert (
        found.cases["patient2"].scores.dice
        == score(folders[0] / "patient2.nii.gz", folders[1] / "patient2_lesions.nii.gz").scores.dice
    )


def test_a_reference_without_prediction_is_not_passed_over(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "patient1.nii.gz").symlink_to(folders[0] / "patient1.nii.gz")
    with pytest.raises(CaseMismatchError, match="1 of 2 references"):
        score_folders(tmp_path / "p", folders[1])
    with pytest.raises(CaseMismatchError):
        score_folders(tmp_path / "p", tmp_path)


def test_the_tables_say_what_the_objects_hold(
    pair: tuple[Path, Path], folders: tuple[Path, Path]
) -> None:
    plain = score(*pair).plain()
    (row,) = [line for line in case_text(plain).splitlines() if line.startswith("panoptica")]
    rule = plain["rules"]["panoptica-iou50"]  # type: ignore[index]
    assert row.split()[1:5] == [
        str(rule[key])
        for key in ("found_lesions", "reference_lesions", "false_lesions", "predicted_lesions")
    ]
    assert row.split()[8] == f"{rule['pq']:.3g}"
    text = cohort_text(score_folders(*folders).plain())
    assert [line.split()[0] for line in text.splitlines()[1:3]] == ["patient1", "patient2"]
