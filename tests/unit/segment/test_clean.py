import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.clean import fill_cores, sides_enclosed

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
