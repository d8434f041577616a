import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.core.study import QualityFlag
from medseg.segment.clean import clean, cold_on, fill_cores, sides_enclosed

SPACING_MM = (5.0, 4.0, 3.0)
SHAPE = (24, 30, 37)


def distance(centre: tuple[float, float, float]) -> NDArray[np.float64]:
    grids = np.ogrid[tuple(slice(n) for n in SHAPE)]
    square = sum(
        ((grid - c) * mm) ** 2 for grid, c, mm in zip(grids, centre, SPACING_MM, strict=True)
    )
    return np.sqrt(square)


def filled(mask: NDArray[np.bool_], core_sides: int = 5) -> NDArray[np.bool_]:
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    prediction = VoxelPrediction(mask[None].astype(np.float32) * 0.9, ("lesion",), geometry)
    settings = SegmentSettings(model="none", core_sides=core_sides)
    return fill_cores(prediction, settings).probabilities[0] >= 0.5


def shell() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    far = distance((11, 14, 18))
    return (far < 40) & (far > 28), far < 40


def test_a_shell_becomes_the_ball_that_it_surrounds() -> None:
    rim, ball = shell()
    assert rim.sum() < 0.7 * ball.sum()
    assert np.array_equal(filled(rim), ball)


def test_a_shell_open_to_one_side_is_filled_up_to_its_opening() -> None:
    rim, ball = shell()
    rim[8:15, 10:19, 24:] = False
    assert not filled(rim, core_sides=6)[11, 14, 18]
    core = filled(rim)
    assert core[11, 14, 18]
    assert not (core & ~ball).any()


def test_seven_sides_fill_nothing() -> None:
    rim, _ = shell()
    assert np.array_equal(filled(rim, core_sides=7), rim)


@pytest.mark.parametrize("offset", [(4, 0, 0), (3, 4, 0), (2, 3, 5), (0, 0, 8)])
def test_the_notch_between_touching_balls_stays_open(offset: tuple[int, int, int]) -> None:
    """But for the crevice right at the neck, which is hidden if the two lie oblique to the grid."""
    pair = np.zeros(SHAPE, bool)
    for sign in (-1, 1):
        centre = tuple(c + sign * o for c, o in zip((11, 14, 18), offset, strict=True))
        pair |= distance(centre) < 1.02 * float(np.linalg.norm(np.multiply(offset, SPACING_MM)))
    assert (filled(pair) & ~pair).sum() < 0.015 * pair.sum()


def test_lesions_that_stand_around_something_are_not_made_one() -> None:
    ring = np.zeros(SHAPE, bool)
    for centre in ((4, 14, 18), (18, 14, 18), (11, 6, 18), (11, 22, 18), (11, 14, 8), (11, 14, 28)):
        ring |= distance(centre) < 9
    assert sides_enclosed(ring)[11, 14, 18] == 6
    assert np.array_equal(filled(ring), ring)


def test_what_is_likely_already_keeps_its_probability() -> None:
    rim, ball = shell()
    probabilities = np.where(rim, 0.93, 0.1).astype(np.float32)
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    given = VoxelPrediction(probabilities[None], ("lesion",), geometry)
    raised = fill_cores(given, SegmentSettings(model="none")).probabilities[0]
    assert np.array_equal(raised[rim], probabilities[rim])
    assert raised[ball & ~rim] == pytest.approx(0.75)
    assert np.array_equal(raised[~ball], probabilities[~ball])
    assert given.probabilities[0][11, 14, 18] == pytest.approx(0.1)


def test_a_neighbour_inside_a_lesions_box_closes_no_side_of_it() -> None:
    trough = np.zeros(SHAPE, bool)
    trough[4:16, 6:22, 6:30] = True
    trough[6:16, 8:20, 6:30] = False
    neighbours = np.zeros(SHAPE, bool)
    neighbours[8:16, 10:18, [8, 27]] = True
    together = trough | neighbours
    assert sides_enclosed(together)[12, 14, 18] == 5
    assert np.array_equal(filled(together), together)


GRID = (7, 8, 9)


def drop(
    probability: NDArray[np.float32],
    settings: SegmentSettings,
    cold: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], tuple[QualityFlag, ...]]:
    """Where foreground is left of one structure, and what is said of the rest."""
    geometry = Geometry(GRID, np.diag((*SPACING_MM, 1.0)))
    given = probability.copy()
    prediction = VoxelPrediction(probability[None], ("lesion",), geometry)
    left, flags = clean(prediction, settings, cold)
    assert np.array_equal(probability, given), "the prediction is not ours to change"
    return left.probabilities[0] >= 0.5, flags


@pytest.mark.parametrize(("share", "kept"), [(0.0, 2), (0.125, 2), (0.126, 1), (0.5, 1), (0.51, 0)])
def test_a_component_of_which_the_model_is_sure_of_too_little_is_dropped(
    share: float, kept: int
) -> None:
    probability = np.full(GRID, 0.1, np.float32)
    probability[1:3, 1:3, 1:3] = 0.75
    probability[1, 1, 1] = 0.9  # one of 8 voxels
    probability[5, 4:6, 3:6] = 0.75
    probability[5, 4, 3:6] = 0.85  # three of 6
    there, flags = drop(probability, SegmentSettings(model="none", min_certain_share=share))
    assert there[1:3, 1:3, 1:3].all() == (kept == 2)
    assert there[5, 4:6, 3:6].all() == (kept >= 1)
    assert there.sum() == {2: 14, 1: 6, 0: 0}[kept]
    assert [flag.code for flag in flags] == ["places-left-out"] * (kept < 2)


def test_a_component_that_nowhere_reaches_the_peak_is_dropped() -> None:
    probability = np.full(GRID, 0.1, np.float32)
    probability[1:3, 1:3, 1] = 0.6
    probability[5, 4:7, 3:6] = 0.6
    probability[5, 5, 5] = 0.75
    settings = SegmentSettings(model="none", min_peak=0.7)
    there, _ = drop(probability, settings)
    assert there[5, 4:7, 3:6].all()
    assert there.sum() == 9
    geometry = Geometry(GRID, np.diag((*SPACING_MM, 1.0)))
    left, _ = clean(VoxelPrediction(probability[None], ("lesion",), geometry), settings, None)
    assert left.probabilities[0, 1:3, 1:3, 1].max() == 0
    assert left.probabilities[0, 0, 0, 0] == pytest.approx(0.1)


def test_voxels_that_meet_at_a_corner_are_judged_together() -> None:
    probability = np.full(GRID, 0.1, np.float32)
    probability[1, 1, 1], probability[2, 2, 2] = 0.9, 0.6
    there, flags = drop(probability, SegmentSettings(model="none", min_certain_share=0.5))
    assert there.sum() == 2
    assert flags == ()


@pytest.mark.parametrize(("cold_voxels", "kept"), [(3, True), (4, False)])
def test_a_component_of_which_more_than_half_is_cold_is_dropped(
    cold_voxels: int, kept: bool
) -> None:
    probability = np.full(GRID, 0.1, np.float32)
    probability[2:5, 3:5, 4] = 0.95  # six voxels
    image = np.ones(GRID, np.float32)
    image[tuple(np.argwhere(probability > 0.5)[:cold_voxels].T)] = 0.29
    image[0] = 0.3  # not below it
    settings = SegmentSettings(model="none", cold_below=0.3)
    there, flags = drop(probability, settings, cold_on(image, settings))
    assert there.sum() == (6 if kept else 0)
    assert (flags == ()) == kept
    assert cold_on(image, SegmentSettings(model="none")) is None


def test_a_hot_spot_in_cold_fat_or_in_lung_is_no_cold_place() -> None:
    """Whatever lies around it, and however wide its margin: only what is sure is asked."""
    probability = np.zeros(GRID, np.float32)
    probability[1:6, 1:6, 1:6] = 0.6
    probability[2:5, 2:5, 2:5] = 0.95
    image = np.where(probability > 0.9, 4.0, 0.05).astype(np.float32)
    settings = SegmentSettings(model="none", cold_below=0.3)
    there, flags = drop(probability, settings, cold_on(image, settings))
    assert there.sum() == 125
    assert flags == ()


def test_what_was_left_out_is_said_in_number_and_volume() -> None:
    probability = np.zeros(GRID, np.float32)
    probability[0:2, 0:2, 0:2] = 0.6  # 8 voxels, unsure
    settings = SegmentSettings(model="none", cold_below=0.3, min_peak=0.7)
    _, (one,) = drop(probability, settings)
    assert one.message.startswith("1 possible lesion (0.5 mL) is left out and not measured")
    probability[0, 7, 8] = 0.6  # 1 voxel, unsure
    probability[4:6, 4:6, 4:7] = 0.95  # 12 voxels, cold
    image = np.ones(GRID, np.float32)
    image[4:6] = 0.0
    _, (three,) = drop(probability, settings, cold_on(image, settings))
    assert three.code == "places-left-out"
    assert three.message == (
        "3 possible lesions (1.3 mL together) are left out and not measured: the model was too "
        "unsure of them, or they lie mostly where there is no signal. Look for lesions that were "
        "missed."
    )
    probability[:] = 0
    probability[3, 3, 3] = 0.6
    finer = Geometry(GRID, np.eye(4))
    speck = VoxelPrediction(probability[None], ("lesion",), finer)
    assert "(less than 0.1 mL)" in clean(speck, settings, None)[1][0].message


def test_of_two_structures_at_one_place_the_likelier_is_judged_and_neither_is_left() -> None:
    probability = np.zeros((2, *GRID), np.float32)
    probability[0, 1:3, 1:3, 1:3] = 0.79
    probability[1, 1:3, 1:3, 1:3] = 0.6
    probability[0, 5, 5:7, 5:7] = 0.95
    probability[1, 5, 5:7, 5:7] = 0.6
    geometry = Geometry(GRID, np.diag((*SPACING_MM, 1.0)))
    settings = SegmentSettings(model="none", min_certain_share=0.1)
    two = VoxelPrediction(probability, ("lesion", "bone_lesion"), geometry)
    left, (flag,) = clean(two, settings, None)
    assert not left.probabilities[:, 1:3, 1:3, 1:3].any()
    assert np.array_equal(left.probabilities[:, 5], probability[:, 5])
    assert flag.message.startswith("1 possible lesion (0.5 mL)")


def shell_of(likely: float) -> VoxelPrediction:
    rim, _ = shell()
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    return VoxelPrediction(rim[None].astype(np.float32) * likely, ("lesion",), geometry)


def test_a_cold_core_speaks_neither_against_the_rim_nor_makes_the_model_less_sure_of_it() -> None:
    far = distance((11, 14, 18))
    rim, ball = (far < 40) & (far > 34), far < 40
    assert rim.sum() < 0.45 * ball.sum()
    image = np.where(ball & ~rim, 0.0, 0.8).astype(np.float32)
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    prediction = VoxelPrediction(rim[None].astype(np.float32) * 0.9, ("lesion",), geometry)
    for asked in ({"cold_below": 0.3}, {"min_certain_share": 0.9}):
        settings = SegmentSettings(model="none", **asked)
        whole, flags = clean(prediction, settings, cold_on(image, settings))
        assert np.array_equal(whole.probabilities[0] >= 0.5, ball)
        assert flags == ()


def test_what_is_left_out_within_a_core_and_comes_back_with_it_is_not_said() -> None:
    rim, ball = shell()
    speck = distance((11, 14, 18)) < 8
    said = np.where(rim, 0.9, np.where(speck, 0.6, 0.0)).astype(np.float32)
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    prediction = VoxelPrediction(said[None], ("lesion",), geometry)
    whole, flags = clean(prediction, SegmentSettings(model="none", min_certain_share=0.5), None)
    assert np.array_equal(whole.probabilities[0] >= 0.5, ball)
    assert flags == ()


def test_what_is_unsure_gets_no_core() -> None:
    left, _ = clean(shell_of(0.7), SegmentSettings(model="none", min_certain_share=0.1), None)
    assert (left.probabilities < 0.5).all()


def test_a_foreground_as_high_as_certain_is_all_certain() -> None:
    left, flags = clean(
        shell_of(0.85),
        SegmentSettings(model="none", foreground_threshold=0.8, min_certain_share=1),
        None,
    )
    assert (left.probabilities >= 0.8).any()
    assert flags == ()
