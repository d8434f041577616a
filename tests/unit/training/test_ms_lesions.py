"""Brains of one tissue with bright lesions: voxels that are bright are of lesions."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medseg.config import InputSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput, Progress, VoxelPrediction, silent
from medseg.formats import nifti
from medseg.model.networks.features import NAMES
from medseg.model.networks.prior import prior_channel
from medseg.training import ms_lesions
from medseg.training.brains import (
    Voxels,
    along_ras,
    brain_of,
    draw_place,
    lesion_voxels,
    painted,
    seen,
)
from medseg.training.datasets import TrainingDataError, make_case
from medseg.training.export import held_out_scores
from medseg.training.fit import begin, run
from medseg.training.ms_lesions import measure, summary
from medseg.training.settings import PaintedLesionsTask, TrainingSettings
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


def seen_of(task, name: str) -> np.ndarray:
    """A feature of all voxels."""
    number = NAMES.index(name)
    return np.concatenate([g[:, number] for one in task.pictures for g in one.groups])


def write_mask(folder: Path, name: str, mask, grid: Geometry) -> None:
    nifti.write_labels(folder / f"{name}_lesion_mask.nii.gz", mask.astype(np.uint16), grid)


@pytest.fixture
def run_of(settings, folder):
    """Settings of a run on these brains, without what a scanner adds."""

    def made(**task):
        still = {"blur_share": 0, "thick_share": 0, "noise_share": 0, "gain": 0, "offset": 0}
        return settings.model_copy(
            update={
                "data": folder,
                "task": PaintedLesionsTask(**{"pictures": 3, "blur": 0, **task}),
                "input": InputSettings(
                    roles=("flair",),
                    spacing_mm=(2, 2.5, 3),
                    clip=((0, 4),),
                    tile=(16, 20, 24),
                    brain_only=True,
                ),
                "network": NetworkSettings(
                    family="voxel-features",
                    channels=(16, 16),
                    structures=("lesion",),
                    centre_heatmap=False,
                    offsets=False,
                    prior=(15, 17, 13),
                ),
                "crop": (64, 1, 1),
                "batch": 1,
                "augment": settings.augment.model_copy(update=still),
            }
        )

    return made


def test_each_perceptron_needs_a_voxel_to_learn_from(run_of):
    given = run_of().model_dump() | {"crop": (12, 1, 1)}
    assert TrainingSettings(**given | {"network": given["network"] | {"members": 12}})
    with pytest.raises(ValidationError, match="13 members want as many voxels"):
        TrainingSettings(**given | {"network": given["network"] | {"members": 13}})
    with pytest.raises(ValidationError, match="centre-offset have no members"):
        NetworkSettings(channels=(8, 16), structures=("lesion",), members=2)


def test_the_patient_that_is_held_out_is_never_learnt_from(run_of):
    for fold, name, other in ((0, "a", "b"), (1, "b", "a")):
        task = ms_lesions.read(run_of(fold=fold))
        assert [case.name for case in task.learnt] == [other]
        assert [case.name for case in task.scored] == [name]
        assert [mask.name for mask in task.masks] == ["c"]
    everything = ms_lesions.read(run_of())
    assert [case.name for case in everything.learnt] == ["a", "b"]


def test_nothing_that_is_learnt_hangs_on_the_patient_that_is_held_out(run_of, folder):
    before = ms_lesions.read(run_of(fold=0))
    path = folder / "cases" / "a_flair.nii.gz"
    image = nibabel.load(path)
    changed = np.where(image.get_fdata() > 100, 900, image.get_fdata()).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(changed, image.affine), path)
    after = ms_lesions.read(run_of(fold=0))
    np.testing.assert_array_equal(before.prior, after.prior)
    for one, same in zip(before.pictures, after.pictures, strict=True):
        for group, other in zip(one.groups, same.groups, strict=True):
            np.testing.assert_array_equal(group, other)
    assert not np.array_equal(ms_lesions.read(run_of(fold=1)).middles, before.middles)


def test_what_would_make_scores_too_good_or_cannot_be_painted_is_refused(run_of, folder, grid):
    masks = folder / "masks_only"
    known = folder / "cases" / "a_lesion_mask.nii.gz"
    (masks / known.name).write_bytes(known.read_bytes())
    with pytest.raises(TrainingDataError, match="a would be painted and scored"):
        ms_lesions.read(run_of(fold=0))
    for path in masks.iterdir():
        path.unlink()
    with pytest.raises(TrainingDataError, match="no masks of further patients"):
        ms_lesions.read(run_of())
    write_mask(masks, "c", np.ones(grid.shape, bool), grid)
    write_mask(folder / "cases", "a", np.zeros(grid.shape, bool), grid)
    with pytest.raises(TrainingDataError, match="has no lesion"):
        ms_lesions.read(run_of())


def test_voxels_of_another_size_are_refused(run_of):
    run = run_of(fold=0)
    other = run.model_copy(update={"input": run.input.model_copy(update={"spacing_mm": (1, 1, 1)})})
    with pytest.raises(TrainingDataError, match="not of"):
        ms_lesions.read(other)


def test_a_fold_that_does_not_exist_is_refused(run_of):
    with pytest.raises(TrainingDataError, match="Fold 2"):
        ms_lesions.read(run_of(fold=2))


def test_without_painting_voxels_of_lesions_are_the_bright_ones(run_of):
    task = ms_lesions.read(run_of(pictures=1, fold=0))
    bright = seen_of(task, "intensity") > 1.5
    sample = task.sample(np.random.default_rng(1))
    np.testing.assert_array_equal(sample.mask[0, :, 0, 0] > 0, sample.data[0, :, 0, 0] > 1.5)
    assert 0 < sample.mask.sum() < sample.mask.size
    assert bright.any()


def test_the_shares_of_the_voxels_are_those_of_the_settings(run_of):
    task = ms_lesions.read(run_of(fold=0, lesion_share=0.25, hard_share=0.5))
    drawn = [task.sample(np.random.default_rng(seed)) for seed in range(40)]
    assert np.mean([sample.mask.mean() for sample in drawn]) == pytest.approx(0.25, abs=0.03)
    lesions, hard, rest = (np.full((2, 1), n, np.float32) for n in range(3))
    rng = np.random.default_rng(3)
    told = [Voxels((lesions, hard, rest)).draw(0.25, 0.5, rng) for _ in range(2000)]
    for number, share in enumerate((0.25, 0.5, 0.25)):
        got = np.mean([features[0] == number for features, _ in told])
        assert got == pytest.approx(share, abs=0.04)
    assert all(lesion == (features[0] == 0) for features, lesion in told)


def test_small_lesions_have_more_than_their_share_of_the_voxels():
    lesion = np.zeros((40, 30, 20), bool)
    lesion[2:4, 2:4, 2:4] = True  # 8 voxels
    lesion[10:30, 5:25, 5:15] = True  # 4,000
    places = np.flatnonzero(lesion)
    chosen = lesion_voxels(places, lesion, np.random.default_rng(1))
    small = np.isin(chosen, np.flatnonzero(lesion[:8])).mean()
    by_root = 8**0.5 / (8**0.5 + 4000**0.5)
    assert small == pytest.approx((8 / 4008 + by_root) / 2, rel=0.15)


def test_features_are_blurred_in_their_own_units(run_of):
    plain, noisy = (ms_lesions.read(run_of(fold=0, blur=blur)) for blur in (0, 0.5))
    off = [
        noisy.sample(np.random.default_rng(seed)).data
        - plain.sample(np.random.default_rng(seed)).data
        for seed in range(20)
    ]
    spread = np.concatenate(off, axis=1)[:, :, 0, 0].std(axis=1)
    np.testing.assert_allclose(spread, 0.5 * plain.widths, rtol=0.1)


def test_painted_lesions_are_brighter_than_the_tissue_around_them(run_of):
    settings = run_of(fold=0, healed_share=1)
    task = ms_lesions.read(settings)
    brain = brain_of(task.learnt[0], settings.input)
    sizes = set()
    for seed in range(6):
        image, lesion = painted(brain, task.masks, settings.task, np.random.default_rng(seed))
        assert image[lesion].min(initial=9) > 1.05
        assert not (lesion & (brain.case.image == 0)).any()
        own = (brain.case.labels > 0) & ~lesion
        assert np.abs(image[own] - 1).max() < 0.6  # healed: they were at 2
        assert np.median(np.abs(image[own] - 1)) < 0.2
        sizes.add(int(lesion.sum()))
    assert len(sizes) > 2


def test_the_network_is_told_where_the_masks_without_image_have_their_lesions(run_of):
    settings = run_of(fold=0)
    task = ms_lesions.read(settings)
    (mask,) = task.masks
    np.testing.assert_allclose(task.prior, task.prior[::-1], atol=1e-6)
    geometry = along_ras(task.learnt[0]).geometry
    told = prior_channel(torch.from_numpy(task.prior), along_ras(task.learnt[0]).image)
    places = [
        tuple(np.rint(geometry.to_index(lesion.centre_mm * (side, 1, 1))).astype(int))
        for lesion in mask.lesions
        for side in (1, -1)
    ]
    assert min(told[place] for place in places) > 2 * told[told > 0].mean()
    begun = begin(settings, None, task.computed())
    for state in (begun.network.state_dict(), begun.average):
        np.testing.assert_array_equal(state["prior"].numpy(), task.prior)
        np.testing.assert_array_equal(state["middle"].numpy(), task.middles)


def test_cortex_is_brightened_and_nothing_else(run_of):
    settings = run_of(fold=0)
    brain = brain_of(ms_lesions.read(settings).learnt[0], settings.input)
    plain, brighter = (
        seen(brain.case.image, brain, settings.augment, gain, np.random.default_rng(2))
        for gain in (0, 0.5)
    )
    change = brighter / np.maximum(plain, 1e-6)
    quiet = (brain.cortex < 0.01) & (brain.case.image > 0)
    np.testing.assert_allclose(plain, brain.case.image, atol=0.02)
    assert change[brain.cortex > brain.cortex.max() / 2].mean() > change[quiet].mean() + 0.02
    assert change[quiet].std() < 0.01


def test_axes_are_turned_along_r_a_and_s_and_every_voxel_stays_where_it_was(grid):
    rng = np.random.default_rng(4)
    labels = (rng.random(grid.shape) < 0.001).astype(np.uint16)
    case = make_case("one", rng.random(grid.shape, np.float32), labels, grid)
    turned = along_ras(case)
    assert (np.diag(turned.geometry.affine)[:3] > 0).all()
    index = np.array((3, 7, 11))
    there = tuple(np.rint(turned.geometry.to_index(grid.to_world(index))).astype(int))
    assert turned.image[there] == case.image[tuple(index)]
    assert {tuple(lesion.centre_mm) for lesion in turned.lesions} == {
        tuple(lesion.centre_mm) for lesion in case.lesions
    }
    oblique = grid.affine.copy()
    oblique[0, 1] = 1
    with pytest.raises(TrainingDataError, match="do not run along"):
        along_ras(make_case("one", case.image, labels, Geometry(grid.shape, oblique)))


def test_the_same_chance_draws_the_same_voxels(run_of):
    one, same = (ms_lesions.read(run_of()) for _ in range(2))
    drawn = [task.sample(np.random.default_rng(5)) for task in (one, same)]
    np.testing.assert_array_equal(drawn[0].data, drawn[1].data)
    np.testing.assert_array_equal(drawn[0].mask, drawn[1].mask)


def test_a_run_learns_to_find_the_bright_lesions_of_a_patient_it_never_saw(run_of, tmp_path):
    settings = run_of(fold=0).model_copy(
        update={"steps": 150, "checkpoint_steps": 150, "learning_rate": 1e-2, "ema": 0.9}
    )
    state = run(settings, ms_lesions.read(settings), tmp_path / "run")
    assert state.history[-1].scores["val_lesion_f1"] == 1
    assert state.history[-1].scores["val_dice"] > 0.8


def test_a_place_moves_lesions_no_further_than_the_settings_say(run_of):
    run = run_of(place_mm=3, place_degrees=0, place_scale=1)
    case = ms_lesions.read(run).learnt[0]
    sides = set()
    for seed in range(30):
        place = draw_place(case, run.task, np.random.default_rng(seed))
        point = place @ (10, 20, 30, 1)
        sides.add(float(np.sign(point[0])))
        assert np.abs(np.abs(point[:3]) - (10, 20, 30)).max() <= 3
    assert sides == {-1, 1}


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


def test_each_patient_is_scored_by_a_network_that_learnt_from_the_other(run_of, monkeypatch):
    settings = run_of().model_copy(
        update={"steps": 150, "checkpoint_steps": 150, "learning_rate": 1e-2, "ema": 0.9}
    )
    read, learnt = ms_lesions.read, []

    def noted(one):
        task = read(one)
        learnt.append([case.name for case in task.learnt])
        return task

    monkeypatch.setattr(ms_lesions, "read", noted)
    scores = held_out_scores(settings)
    assert learnt == [["b"], ["a"]]
    assert list(scores) == [f"held out: ms_flair {name} (cc26-any-overlap)" for name in "ab"]
    assert all(row["lesion_f1"] == 1 for row in scores.values())
    assert held_out_scores(run_of(fold=0)) == {}
