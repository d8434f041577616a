"""The overview: every lesion in its place, with its number."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit
from medseg.report.callouts import LEAST_STEP, STEP, spread
from medseg.report.overview import overview
from tests.unit.report.report_cases import (
    OBLIQUE,
    SVG,
    Drawn,
    ball,
    centre,
    drawn,
    lesion_map,
    the_scene,
)
from tests.unit.report.test_report_figures import bodies, edge_towards, few

WORLD = {
    "R": (1, 0, 0),
    "L": (-1, 0, 0),
    "A": (0, 1, 0),
    "P": (0, -1, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}


def overview_of(
    geometry: Geometry,
    masks: list[NDArray[np.bool_]],
    unit: IntensityUnit = IntensityUnit.SUV,
    below: tuple[int, ...] = (),
) -> dict[str, Drawn]:
    made = overview(the_scene(lesion_map(geometry, masks), unit), below)
    return {picture.plane: drawn(picture.svg) for picture in made}


@few
@given(
    bodies(),
    st.sampled_from(
        (
            "coronal R",
            "coronal L",
            "coronal S",
            "coronal I",
            "sagittal A",
            "sagittal P",
            "sagittal S",
            "sagittal I",
        )
    ),
)
def test_a_lesion_is_on_the_side_of_the_patient_that_the_letters_say(
    body: tuple[Geometry, NDArray[np.float64]], case: str
) -> None:
    geometry, middle = body
    plane, side = case.split()
    step = np.array(WORLD[side]) * 22.0
    pictures = overview_of(
        geometry, [ball(geometry, middle - step, 8), ball(geometry, middle + step, 8)]
    )
    picture = pictures[plane]
    shift = centre(picture.paths("lesion", 2)) - centre(picture.paths("lesion", 1))
    assert edge_towards(picture, shift) == side
    expected = ("R", "L", "S", "I") if plane == "coronal" else ("A", "P", "S", "I")
    assert picture.letters() == expected
    middle_x = picture.image_size_mm()[0] / 2
    if side == "R":
        assert (
            centre(picture.paths("lesion", 2))[0] < middle_x < centre(picture.paths("lesion", 1))[0]
        )


@few
@given(bodies())
def test_the_silhouettes_lie_on_the_projected_image(
    body: tuple[Geometry, NDArray[np.float64]],
) -> None:
    geometry, middle = body
    masks = [
        ball(geometry, middle + np.array([14.0, 5.0, 20.0]), 9),
        ball(geometry, middle - np.array([3.0, 9.0, 17.0]), 6),
    ]
    for picture in overview_of(geometry, masks).values():
        image = picture.image()[:, :, 0]
        pixels_a_mm = image.shape[0] / picture.image_size_mm()[1]
        hot = (np.argwhere(image < 128)[:, ::-1] + 0.5) / pixels_a_mm
        middles = np.array([centre(picture.paths("lesion", label)) for label in (1, 2)])
        nearest = np.linalg.norm(hot[:, None] - middles, axis=2).argmin(axis=1)
        shifts = [hot[nearest == n].mean(axis=0) - middles[n] for n in (0, 1)]
        assert np.linalg.norm(shifts, axis=1).max() < max(geometry.spacing_mm) / 2


def test_a_silhouette_has_the_size_of_the_lesion() -> None:
    middle = OBLIQUE.to_world((np.array(OBLIQUE.shape) - 1) / 2)
    for picture in overview_of(OBLIQUE, [ball(OBLIQUE, middle, 25)]).values():
        # The union of voxel boxes reaches up to half a voxel's diagonal, 3.2 mm, beyond the ball.
        assert np.pi * 25**2 < picture.area_mm2("lesion") * 1.02 < np.pi * 28.2**2 * 1.02


def test_both_pictures_have_one_scale_so_that_heights_compare() -> None:
    middle = OBLIQUE.to_world((np.array(OBLIQUE.shape) - 1) / 2)
    pictures = overview_of(OBLIQUE, [ball(OBLIQUE, middle, 9)])
    assert pictures["coronal"].units_per_mm == pictures["sagittal"].units_per_mm
    heights = [centre(p.paths("lesion"))[1] for p in pictures.values()]
    assert heights[0] == pytest.approx(heights[1], abs=0.5)


def test_a_single_voxel_is_not_lost() -> None:
    mask = np.zeros(OBLIQUE.shape, bool)
    mask[20, 30, 11] = True
    for picture in overview_of(OBLIQUE, [mask]).values():
        assert picture.area_mm2("lesion") > 5


def test_every_lesion_has_its_number_beside_the_picture() -> None:
    masks = [
        ball(OBLIQUE, OBLIQUE.to_world(np.array(c)), 5)
        for c in ((9, 9, 9), (30, 40, 28), (9, 40, 20))
    ]
    for picture in overview_of(OBLIQUE, masks).values():
        assert {"1", "2", "3"} <= set(picture.texts())
        assert len(picture.paths("leader")) == 3


def test_lesions_below_the_limit_are_dashed() -> None:
    masks = [ball(OBLIQUE, OBLIQUE.to_world(np.array(c)), 5) for c in ((9, 9, 9), (30, 40, 28))]
    for picture in overview_of(OBLIQUE, masks, below=(2,)).values():
        dashed = {
            path.attrib["data-lesion"]: "stroke-dasharray" in path.attrib
            for path in picture.root.iter(f"{SVG}path")
            if path.get("class") == "lesion"
        }
        assert dashed == {"1": False, "2": True}


def test_ct_is_projected_by_its_mean_and_without_lesions_there_is_still_an_overview() -> None:
    pictures = overview(the_scene(lesion_map(OBLIQUE, []), IntensityUnit.HU))
    assert ["mean intensity projection" in p.description for p in pictures] == [True, True]
    assert ["0 lesions" in p.description for p in pictures] == [True, True]
    pet = overview(the_scene(lesion_map(OBLIQUE, [])))
    assert all("maximum intensity projection" in p.description for p in pet)


def test_air_beside_the_patient_is_cut_and_a_lesion_in_it_is_kept() -> None:
    geometry = Geometry((60, 40, 30), np.diag([4.0, 3.0, 2.0, 1.0]))
    lesions = lesion_map(geometry, [ball(geometry, (40, 60, 30), 8)])
    shown = the_scene(lesions)
    data = np.zeros(geometry.shape, np.float32)
    data[30:50] = 2
    object.__setattr__(shown.volume, "data", data)
    coronal, _ = (drawn(p.svg) for p in overview(shown))
    assert 150 < coronal.image_size_mm()[0] < 200
    points = np.concatenate(coronal.paths("lesion"))
    assert points.min() > 0
    assert points[:, 0].max() < coronal.image_size_mm()[0]


@given(st.lists(st.floats(0, 500), max_size=60))
def test_numbers_keep_their_order_their_distance_and_the_page(wanted: list[float]) -> None:
    heights = spread(sorted(wanted), 20, 540)
    step = min(STEP, 520 / max(1, len(wanted)))
    assert heights == sorted(heights)
    assert all(b - a >= step - 1e-6 for a, b in pairwise(heights))
    assert all(20 <= height <= 540 for height in heights)
    assert step > LEAST_STEP - 1
