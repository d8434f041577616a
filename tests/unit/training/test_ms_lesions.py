"""Brains of one tissue with bright lesions: where a crop is bright, its mask has to be."""

from pathlib import Path

import cc3d
import nibabel
import numpy as np
import pytest

from medseg.config import InputSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput, Progress, VoxelPrediction, silent
from medseg.formats import nifti
from medseg.training import ms_lesions
from medseg.training.augment import Pose
from medseg.training.datasets import TrainingDataError
from medseg.training.fit import begin
from medseg.training.ms_lesions import draw_place, measure, snapped, summary
from medseg.training.settings import PaintedLesionsTask
from tests.unit.training.conftest import ball

TISSUE = 80.0
BRIGHT = 160.0


@pytest.fixture
def grid() -> Geometry:
    """Left-handed and anisotropic; R = 0 is its midline."""
    affine = np.diag((-2.0, 2.5, 3.0, 1.0))
    affine[:3, 3] = (49, -60, -40)
    return Geometry((50, 46, 36), affine)


@pytest.fixture
def folder(grid, tmp_path) -> Path:
    """Two patients with image, each with a small and a larger lesion, and one with a mask alone."""
    middle = grid.to_world((np.array(grid.shape) - 1) / 2)
    for part in ("cases", "masks_only"):
        (tmp_path / part).mkdir()
    for name, side in (("a", 1), ("b", -1)):
        small = ball(grid, middle + np.array([12 * side, 10, 5]), 4)
        lesion = small | ball(grid, middle + np.array([-14, 0, 0]), 6)
        brain = ball(grid, middle, 45)
        image = np.where(lesion, BRIGHT, np.where(brain, TISSUE, 0)).astype(np.float32)
        path = tmp_path / "cases" / f"{name}_flair.nii.gz"
        nibabel.save(nibabel.Nifti1Image(image, grid.affine), path)
        write_mask(tmp_path / "cases", name, lesion, grid)
    other = ball(grid, middle + np.array([0, -18, 0]), 5)
    other |= ball(grid, middle + np.array([15, -5, -10]), 4)
    write_mask(tmp_path / "masks_only", "c", other, grid)
    return tmp_path


def write_mask(folder: Path, name: str, mask, grid: Geometry) -> None:
    nifti.write_labels(folder / f"{name}_lesion_mask.nii.gz", mask.astype(np.uint16), grid)


@pytest.fixture
def run_of(settings, folder):
    """Settings of a run on these brains, without what a scanner adds."""

    def made(prior=None, **task):
        still = {"blur_share": 0, "thick_share": 0, "noise_share": 0, "gain": 0, "offset": 0}
        return settings.model_copy(
            update={
                "data": folder,
                "task": PaintedLesionsTask(**task),
                "input": InputSettings(
                    roles=("flair",),
                    spacing_mm=(2, 2.5, 3),
                    clip=((0, 4),),
                    tile=(16, 20, 24),
                    brain_only=True,
                ),
                "network": NetworkSettings(
                    channels=(3, 4, 5),
                    structures=("lesion",),
                    centre_heatmap=False,
                    offsets=False,
                    prior=prior,
                ),
                "augment": settings.augment.model_copy(
                    update={**still, "cut_share": 0, "moved_share": 0}
                ),
            }
        )

    return made


def test_the_patient_that_is_held_out_is_never_learnt_from(run_of):
    for fold, name, other in ((0, "a", "b"), (1, "b", "a")):
        task = ms_lesions.read(run_of(fold=fold))
        assert [brain.case.name for brain in task.brains] == [other]
        assert [case.name for case in task.scored] == [name]
        assert [mask.name for mask in task.masks] == ["c"]
    everything = ms_lesions.read(run_of())
    assert [brain.case.name for brain in everything.brains] == ["a", "b"]


def test_a_fold_that_does_not_exist_is_refused(run_of):
    with pytest.raises(TrainingDataError, match="Fold 2"):
        ms_lesions.read(run_of(fold=2))


def test_without_painting_the_mask_is_where_the_crop_is_bright(run_of):
    task = ms_lesions.read(run_of(painted_share=0, fold=0))
    seen = 0
    for seed in range(20):
        sample = task.sample(np.random.default_rng(seed))
        np.testing.assert_array_equal(sample.mask[0] > 0, sample.data[0] > 0.3)
        seen += sample.mask.any()
    assert seen > 10


def test_painted_lesions_are_brighter_than_the_tissue_and_never_outside_the_brain(run_of):
    task = ms_lesions.read(run_of(painted_share=1, lesion_share=1))
    painted = 0
    for seed in range(20):
        sample = task.sample(np.random.default_rng(seed))
        mask, image = sample.mask[0] > 0, sample.data[0]
        assert image[mask].min(initial=1) > 0.25  # of four times the tissue
        parts = cc3d.connected_components(mask, connectivity=26)
        assert sample.labels.max() == parts.max()
        painted += int(np.count_nonzero(mask & (image < 0.49)) > 20)
    assert painted > 2


def test_the_network_is_told_where_the_masks_without_image_have_their_lesions(run_of, grid):
    task = ms_lesions.read(run_of(prior=(15, 17, 13), fold=0))
    (brain,), (mask,) = task.brains, task.masks
    assert task.computed()["prior"].shape == (15, 17, 13)
    np.testing.assert_allclose(task.prior, task.prior[::-1], atol=1e-6)
    told = [
        brain.prior[tuple(np.rint(brain.case.geometry.to_index(lesion.centre_mm)).astype(int))]
        for lesion in mask.lesions
    ]
    mirrored = [
        brain.prior[
            tuple(np.rint(brain.case.geometry.to_index(lesion.centre_mm * (-1, 1, 1))).astype(int))
        ]
        for lesion in mask.lesions
    ]
    assert min(told + mirrored) > 2 * brain.prior[brain.case.image > 0].mean()
    begun = begin(task.settings, None, task.computed())
    for state in (begun.network.state_dict(), begun.average):
        np.testing.assert_array_equal(state["prior"].numpy(), task.prior)
    sample = task.sample(np.random.default_rng(3))
    assert len(sample.data) == 2
    assert 0 <= sample.data[1].min() <= sample.data[1].max() <= 1


def test_cortex_is_brightened_and_the_truth_stays_as_it_was(run_of):
    plain, brighter = (
        ms_lesions.read(run_of(fold=0, painted_share=0, cortex_gain=gain)) for gain in (0, 0.5)
    )
    gained = 0.0
    for seed in range(8):
        one, other = (task.sample(np.random.default_rng(seed)) for task in (plain, brighter))
        np.testing.assert_array_equal(one.mask, other.mask)
        change = other.data[0] - one.data[0]
        assert change.min() > -1e-6
        assert change[one.mask[0] > 0].max(initial=0) < 1e-6
        gained = max(gained, float(change.max()))
    assert gained > 0.02


def test_the_same_chance_draws_the_same_crop(run_of):
    task = ms_lesions.read(run_of())
    one, same = (task.sample(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.data, same.data)
    np.testing.assert_array_equal(one.mask, same.mask)


def test_a_place_moves_lesions_no_further_than_the_settings_say(run_of):
    run = run_of(place_mm=3, place_degrees=0, place_scale=1)
    case = ms_lesions.read(run).brains[0].case
    sides = set()
    for seed in range(30):
        place = draw_place(case, run.task, np.random.default_rng(seed))
        point = place @ (10, 20, 30, 1)
        sides.add(float(np.sign(point[0])))
        assert np.abs(np.abs(point[:3]) - (10, 20, 30)).max() <= 3
    assert sides == {-1, 1}


def test_a_pose_that_only_shifts_reads_voxels_as_they_are(run_of, grid):
    case = ms_lesions.read(run_of()).brains[0].case
    to_source = np.diag((-1.0, 1, 1, 1))
    to_source[:3, 3] = grid.to_world(np.array([7.3, 8.4, 9.2]))
    index = grid.to_index(snapped(Pose(to_source, mirrored=True), case).to_source[:3, 3])
    np.testing.assert_allclose(index, (7, 8, 9), atol=1e-9)
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    assert snapped(Pose(turned), case).to_source is turned


class Brighter:
    """Calls lesion what is brighter than tissue."""

    roles = ("flair",)
    spacing_mm = (2.0, 2.5, 3.0)

    def __init__(self, least: float) -> None:
        self.least = least

    def predict(self, study: ModelInput, progress: Progress = silent) -> VoxelPrediction:
        progress("predict", 1)
        said = (study.data > self.least).astype(np.float32)
        return VoxelPrediction(said, ("lesion",), study.geometry)


def test_scores_are_of_the_whole_line(run_of):
    (case,) = ms_lesions.read(run_of(fold=0)).scored
    right = summary(measure(Brighter(120), case))
    assert {right[name] for name in ("dice", "lesion_f1", "recall_5_to_10_mm")} == {1}
    assert (right["lesions"], right["predicted_lesions"]) == (2, 2)
    everything = summary(measure(Brighter(40), case))
    assert everything["dice"] < 0.1
    assert "recall_below_3_mm" not in everything
    assert everything["precision_from_20_mm"] == 1
    nothing = summary(measure(Brighter(200), case))
    assert (nothing["dice"], nothing["lesion_f1"]) == (0, 0)


def test_scores_of_patients_that_were_learnt_from_say_so(run_of):
    held_out = ms_lesions.read(run_of(fold=1)).scores(Brighter(120))
    assert set(held_out) == {"ms_flair b (cc26-any-overlap)"}
    known = ms_lesions.read(run_of()).scores(Brighter(120))
    assert len(known) == 2
    assert all("in training" in name for name in known)


def test_a_validation_is_a_mean_over_the_cases_that_are_scored(run_of):
    told = ms_lesions.read(run_of()).validate(Brighter(120))
    assert next(iter(told)) == "val_lesion_f1"
    assert set(told.values()) == {1}
    assert set(ms_lesions.read(run_of()).validate(Brighter(200)).values()) == {0}
