"""Two glands and a cord of known place in a head that no scanner saw, one of them not outlined."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medseg.config import InputSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput, Progress, VoxelPrediction, silent
from medseg.formats import nifti
from medseg.training import organs
from medseg.training.datasets import TrainingDataError
from medseg.training.organs import OrganCase, Organs, dice_of_organs, summary
from medseg.training.settings import OrgansTask
from tests.unit.training.conftest import ball

NAMES = ("parotid_right", "parotid_left", "spinal_cord")
TO_RIGHT, TO_FRONT = np.array([30.0, 0, 0]), np.array([0, 25.0, 0])
HU = {1: 300.0, 2: 500.0, 3: 700.0}


@pytest.fixture
def heads(oblique, tmp_path) -> Path:
    """Three cases; the cord of the second was not outlined. Each organ has an intensity."""
    middle = oblique.to_world(np.array([15, 13, 20]))
    for part, names in (("train", ("a", "b")), ("val", ("c",))):
        folder = tmp_path / part
        folder.mkdir()
        for name in names:
            labels = np.zeros(oblique.shape, np.uint16)
            labels[ball(oblique, middle + TO_RIGHT, 14)] = 1
            labels[ball(oblique, middle - TO_RIGHT, 14)] = 2
            labels[ball(oblique, middle - TO_FRONT, 12)] = 3
            image = np.full(oblique.shape, 40, np.float32)
            for label, intensity in HU.items():
                image[labels == label] = intensity
            if name == "b":
                labels[labels == 3] = 0
            nifti.write_labels(folder / f"{name}_organs.nii.gz", labels, oblique)
            write_image(folder / f"{name}_ct.nii.gz", image, oblique)
    return tmp_path


def write_image(path: Path, image, geometry: Geometry) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(image, geometry.affine), path)


@pytest.fixture
def run(settings, heads):
    """Settings of a run on these heads, without what a scanner adds, so intensities tell organs."""
    still = settings.augment.model_copy(
        update={
            "blur_share": 0,
            "thick_share": 0,
            "noise_share": 0,
            "gain": 0,
            "offset": 0,
            "cut_share": 0,
        }
    )
    return settings.model_copy(
        update={
            "data": heads,
            "task": OrgansTask(),
            "input": InputSettings(
                roles=("ct",), spacing_mm=(6, 5, 4), clip=((0, 1000),), tile=(16, 20, 24)
            ),
            "network": NetworkSettings(
                channels=(3, 4, 5), structures=NAMES, centre_heatmap=False, offsets=False
            ),
            "augment": still,
        }
    )


def test_crops_name_each_gland_by_its_side_also_where_they_are_mirrored(run):
    """In every crop the right gland lies to the right of the left one, which is what its name
    says; the patient's own right gland is darker, so a mirrored crop shows the darker one left."""
    task = organs.read(run)
    seen = {True: 0, False: 0}
    for seed in range(60):
        sample = task.sample(np.random.default_rng(seed))
        right, left, _ = sample.mask > 0.5
        if right.sum() < 40 or left.sum() < 40:
            continue
        assert np.argwhere(right)[:, 0].mean() > np.argwhere(left)[:, 0].mean()
        mirrored = sample.data[0][right].mean() > sample.data[0][left].mean()
        seen[bool(mirrored)] += 1
        darker, brighter = (left, right) if mirrored else (right, left)
        assert sample.data[0][darker].mean() == pytest.approx(0.3, abs=0.09)
        assert sample.data[0][brighter].mean() == pytest.approx(0.5, abs=0.09)
    assert min(seen.values()) > 3


def test_an_organ_that_was_not_outlined_is_unknown_and_stays_so_when_mirrored(run):
    task = organs.read(run)
    known = [task.sample(np.random.default_rng(seed)).known.tolist() for seed in range(30)]
    assert [True, True, True] in known
    assert [True, True, False] in known
    nothing = np.empty((0, 3), int)
    (first, *_) = task.train
    right = OrganCase("r", first.volume, first.labels, (first.places[0], nothing, nothing))
    only_right = Organs(run, (right,), task.val, task.swapped)
    drawn = [only_right.sample(np.random.default_rng(seed)).known.tolist() for seed in range(30)]
    assert [True, False, False] in drawn
    assert [False, True, False] in drawn
    assert len(set(map(tuple, drawn))) == 2


def test_masks_keep_the_volume_of_an_organ_to_a_part_of_a_voxel(run):
    """A share of each voxel, so nothing is lost by rounding on the coarser grid."""
    straight = run.augment.model_copy(update={"scale": 1, "stretch": 1, "mirrored_share": 0})
    task = organs.read(run.model_copy(update={"augment": straight, "crop": (20, 24, 32)}))
    cord = task.train[0].places[2]
    whole_mm3 = len(cord) * task.train[0].volume.geometry.voxel_volume_mm3
    volumes = [
        task.sample(np.random.default_rng(seed)).mask[2].sum() * 6 * 5 * 4 for seed in range(40)
    ]
    assert max(volumes) == pytest.approx(whole_mm3, rel=0.03)


def test_where_a_crop_lacks_a_side_its_organs_are_gone_or_left_with_a_rim(run):
    cut = run.augment.model_copy(update={"cut_share": 1, "cut_mm": 60})

    def task(islands: float) -> Organs:
        section = OrgansTask(islands_share=islands)
        return organs.read(run.model_copy(update={"augment": cut, "task": section}))

    gone, left = task(0), task(1)
    alone, rims = 0, set()
    for seed in range(12):
        without, with_organs = (one.sample(np.random.default_rng(seed)) for one in (gone, left))
        differs = without.data[0] != with_organs.data[0]
        alone += int(differs.sum())
        depth = ndimage.distance_transform_cdt(with_organs.mask.max(axis=0) < 0.5, "taxicab")
        assert depth[differs].max(initial=0) <= organs.RIM_VOXELS
        rims.add(int(depth[differs].max(initial=0)))
        assert (without.mask[:, differs] == 0).all()
        assert (without.data[0][differs] == 0).all()
        np.testing.assert_array_equal(without.mask[:, ~differs], with_organs.mask[:, ~differs])
    assert alone > 100
    assert {0, organs.RIM_VOXELS} <= rims


def test_the_same_state_of_chance_gives_the_same_sample(run):
    task = organs.read(run)
    one, same, other = (task.sample(np.random.default_rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.data, same.data)
    np.testing.assert_array_equal(one.mask, same.mask)
    assert not np.array_equal(one.data, other.data)


class Window:
    """A model that tells organs by their intensity."""

    roles = ("ct",)
    spacing_mm = (4.0, 4.0, 3.0)

    def predict(self, study: ModelInput, progress: Progress = silent) -> VoxelPrediction:
        progress("predict", 1)
        near = [np.abs(study.data[0] - HU[label]) < 60 for label in (1, 2, 3)]
        return VoxelPrediction(np.stack(near).astype(np.float32), NAMES, study.geometry)


def test_scores_count_only_what_was_outlined_and_miss_nothing_that_was(run):
    task = organs.read(run)
    found = dice_of_organs(Window(), (*task.train, *task.val), NAMES)
    assert [len(found[name]) for name in NAMES] == [3, 3, 2]
    assert all(min(values) > 0.8 for values in found.values())

    class Blind(Window):
        def predict(self, study: ModelInput, progress: Progress = silent) -> VoxelPrediction:
            progress("predict", 1)
            nothing = np.zeros((3, *study.geometry.shape), np.float32)
            return VoxelPrediction(nothing, NAMES, study.geometry)

    assert dice_of_organs(Blind(), task.val, NAMES) == {name: [0.0] for name in NAMES}
    rows = task.scores(Window())
    assert len(rows) == 3
    assert all("dice-voxels" in name for name in rows)
    assert task.validate(Window())["val_dice"] == pytest.approx(
        np.mean([row["mean_dice"] for row in rows.values()]), abs=1e-4
    )


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = list(np.random.default_rng(1).normal(0.8, 0.05, 200))
    row = summary(values)
    error = np.std(values) / np.sqrt(len(values))
    assert row["from"] == pytest.approx(np.mean(values) - 1.96 * error, abs=0.1 * 0.05)
    assert row["to"] == pytest.approx(np.mean(values) + 1.96 * error, abs=0.1 * 0.05)
    assert summary([0.5])["from"] == summary([0.5])["to"] == 0.5


def test_a_case_in_both_parts_another_grid_and_a_strange_label_are_refused(run, heads, oblique):
    image, mask = heads / "val" / "c_ct.nii.gz", heads / "val" / "c_organs.nii.gz"
    kept = mask.read_bytes()
    moved = oblique.affine.copy()
    moved[0, 3] += 3
    labels, _ = nifti.read_labels(mask)
    nifti.write_labels(mask, labels, Geometry(oblique.shape, moved))
    with pytest.raises(TrainingDataError, match="grids"):
        organs.read(run)
    nifti.write_labels(mask, np.where(labels == 3, 4, labels).astype(np.uint16), oblique)
    with pytest.raises(TrainingDataError, match="labels up to 4"):
        organs.read(run)
    mask.write_bytes(kept)
    (heads / "val" / "a_ct.nii.gz").write_bytes(image.read_bytes())
    (heads / "val" / "a_organs.nii.gz").write_bytes(kept)
    with pytest.raises(TrainingDataError, match="both"):
        organs.read(run)
    with pytest.raises(TrainingDataError, match="no CT"):
        organs.read_cases(heads, 3)
