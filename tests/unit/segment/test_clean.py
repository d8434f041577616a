import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.clean import clean, drop_doubtful, fill_cores, sides_enclosed, tissue

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


@pytest.mark.parametrize(("share", "kept"), [(0.0, 2), (0.125, 2), (0.126, 1), (0.5, 1), (0.51, 0)])
def test_a_component_of_which_the_model_is_sure_of_too_little_is_dropped(
    share: float, kept: int
) -> None:
    probability = np.full((1, 7, 8, 9), 0.1, np.float32)
    probability[0, 1:3, 1:3, 1:3] = 0.75
    probability[0, 1, 1, 1] = 0.9  # one of 8 voxels
    probability[0, 5, 4:6, 3:6] = 0.75
    probability[0, 5, 4, 3:6] = 0.85  # three of 6
    given = probability.copy()
    geometry = Geometry((7, 8, 9), np.diag((*SPACING_MM, 1.0)))
    settings = SegmentSettings(model="none", certain_from=0.8, min_certain_share=share)
    prediction = VoxelPrediction(probability, ("lesion",), geometry)
    left = drop_doubtful(prediction, settings, np.ones((7, 8, 9), np.float32))
    there = left.probabilities[0] >= 0.5
    assert there[1:3, 1:3, 1:3].all() == (kept == 2)
    assert there[5, 4:6, 3:6].all() == (kept >= 1)
    assert there.sum() == {2: 14, 1: 6, 0: 0}[kept]
    assert np.array_equal(probability, given), "the prediction is not ours to change"


def test_a_cold_core_makes_no_model_less_sure_of_its_rim() -> None:
    rim, ball = shell()
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    prediction = VoxelPrediction(rim[None].astype(np.float32) * 0.9, ("lesion",), geometry)
    settings = SegmentSettings(model="none", min_certain_share=0.9)
    whole = clean(prediction, settings, np.ones(SHAPE, np.float32))
    assert np.array_equal(whole.probabilities[0] >= 0.5, ball)


def test_what_is_unsure_gets_no_core() -> None:
    rim, _ = shell()
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    prediction = VoxelPrediction(rim[None].astype(np.float32) * 0.7, ("lesion",), geometry)
    settings = SegmentSettings(model="none", min_certain_share=0.1)
    left = clean(prediction, settings, np.ones(SHAPE, np.float32))
    assert (left.probabilities < 0.5).all()


def patient() -> NDArray[np.float32]:
    """A trunk, a leg apart from it, air, and a speck of noise in the air."""
    image = np.full((30, 26, 40), 0.1, np.float32)
    image[4:20, 4:20, 10:38] = 1.0
    image[6:10, 6:10, 0:6] = 1.0
    image[26:28, 22:24, 30:33] = 3.0
    return image


def predicted(*boxes: tuple[slice, slice, slice]) -> VoxelPrediction:
    probability = np.zeros((1, 30, 26, 40), np.float32)
    for box in boxes:
        probability[0][box] = 0.95
    geometry = Geometry((30, 26, 40), np.diag((*SPACING_MM, 1.0)))
    return VoxelPrediction(probability, ("lesion",), geometry)


def left_of(prediction: VoxelPrediction, **settings: float) -> NDArray[np.bool_]:
    chosen = SegmentSettings(model="none", **settings)
    return drop_doubtful(prediction, chosen, patient()).probabilities[0] >= 0.5


NOISE = np.s_[26:28, 22:24, 30:33]
IN_THE_AIR = np.s_[23:26, 2:6, 2:6]
ON_THE_SKIN = np.s_[18:21, 8:12, 20:24]  # two of its three layers are inside
HALF_OUTSIDE = np.s_[18:23, 14:18, 30:34]  # two of its five
IN_THE_LEG = np.s_[7:9, 7:9, 1:4]


def test_what_lies_in_air_or_on_noise_is_dropped_and_what_lies_in_the_patient_is_kept() -> None:
    prediction = predicted(NOISE, IN_THE_AIR, ON_THE_SKIN, HALF_OUTSIDE, IN_THE_LEG)
    left = left_of(prediction, air_below=0.3)
    assert left[ON_THE_SKIN].all()
    assert left[IN_THE_LEG].all()
    assert left.sum() == left[ON_THE_SKIN].sum() + left[IN_THE_LEG].sum()
    assert np.array_equal(left_of(prediction), prediction.probabilities[0] >= 0.5)


def test_a_core_as_cold_as_air_does_not_speak_against_its_rim() -> None:
    rim, ball = shell()
    image = np.full(SHAPE, 0.8, np.float32)
    image[ball & ~rim] = 0.0
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    prediction = VoxelPrediction(rim[None].astype(np.float32) * 0.9, ("lesion",), geometry)
    whole = clean(prediction, SegmentSettings(model="none", air_below=0.3), image)
    assert np.array_equal(whole.probabilities[0] >= 0.5, ball)


def test_spheres_in_cold_water_are_no_noise() -> None:
    """As in the image-quality phantom of NEMA NU 2 without background: 10 to 37 mm across."""
    image = np.zeros((60, 60, 40), np.float32)
    spots = np.zeros(image.shape, bool)
    grids = np.ogrid[0:60, 0:60, 0:40]
    for centre, radius in (((14, 14, 20), 18.5), ((44, 44, 20), 5.0)):
        square = sum(((g - c) * 2.0) ** 2 for g, c in zip(grids, centre, strict=True))
        spots |= square < radius**2
    image[spots] = 4.0
    assert np.array_equal(tissue(image, 0.3), spots)


def test_no_tissue_at_all_is_no_error() -> None:
    assert not tissue(np.zeros((5, 6, 7), np.float32), 0.3).any()
