"""The key images: right side, right place, right scale."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from medseg.core.geometry import Geometry
from medseg.core.measurements import Measurement
from medseg.core.report import Picture
from medseg.core.volume import IntensityUnit
from medseg.report.figures import lesion_pictures
from tests.strategies import affines
from tests.unit.report.report_cases import (
    OBLIQUE,
    SVG,
    Drawn,
    ball,
    centre,
    drawn,
    lesion_map,
    measured,
    the_scene,
)

SIDE_MM, LEAST_SPACING_MM = 80.0, 2.2

few = settings(max_examples=15)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Geometry, NDArray[np.float64]]:
    """A grid some 80 mm across, oblique, of any handedness and storage order; and its middle."""
    affine = draw(affines())
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    affine[:3, :3] *= np.maximum(spacing, LEAST_SPACING_MM) / spacing
    sizes = np.ceil(SIDE_MM / np.maximum(spacing, LEAST_SPACING_MM)).astype(int) + np.array(
        [0, 3, 7]
    )
    geometry = Geometry((int(sizes[0]), int(sizes[1]), int(sizes[2])), affine)
    return geometry, geometry.to_world((sizes - 1) / 2)


def in_slice(geometry: Geometry, direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction in the acquired axial slices that is nearest to one of the world."""
    steps = np.delete(geometry.affine[:3, :3], geometry.axial_axis, axis=1)
    nearest: NDArray[np.float64] = steps @ np.linalg.lstsq(steps, direction, rcond=None)[0]
    return nearest / np.linalg.norm(nearest)


def pictures_of(
    geometry: Geometry, masks: list[NDArray[np.bool_]], unit: IntensityUnit = IntensityUnit.SUV
) -> tuple[list[dict[str, Drawn]], list[Measurement]]:
    """The pictures of each lesion by plane, and the rows."""
    lesions = lesion_map(geometry, masks)
    made = lesion_pictures(the_scene(lesions, unit))
    return [{p.plane: drawn(p.svg) for p in three} for three in made], measured(lesions)


def edge_towards(picture: Drawn, step: NDArray[np.float64]) -> str:
    """The letters at the edge that a step in the picture points to."""
    left, right, top, bottom = picture.letters()
    if abs(step[0]) > abs(step[1]):
        return right if step[0] > 0 else left
    return bottom if step[1] > 0 else top


@few
@given(bodies(), st.sampled_from("RLAP"))
def test_a_neighbour_in_the_slice_is_on_the_side_that_the_letters_say(
    body: tuple[Geometry, NDArray[np.float64]], side: str
) -> None:
    geometry, middle = body
    normal = np.cross(*np.delete(geometry.affine[:3, :3], geometry.axial_axis, axis=1).T)
    assume(abs(normal[2]) > 0.75 * np.linalg.norm(normal))
    world = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0)}[side]
    step = in_slice(geometry, np.array(world, float)) * 26
    both = [ball(geometry, middle - step / 2, 8), ball(geometry, middle + step / 2, 8)]
    (first, _), _ = pictures_of(geometry, both)
    axial = first["axial"]
    shift = centre(axial.paths("neighbour", 2)) - centre(axial.paths("lesion", 1))
    assert edge_towards(axial, shift)[0] == side
    letters = axial.letters()
    assert (letters[0][0], letters[1][0], letters[2][0], letters[3][0]) == ("R", "L", "A", "P")
    if side == "R":
        assert shift[0] < 0
    if side == "A":
        assert shift[1] < 0


def test_a_lesion_on_the_patients_right_is_left_of_one_on_the_left() -> None:
    geometry = Geometry(
        (30, 34, 38), np.array([[3.0, 0, 0, -45], [0, 2.5, 0, -40], [0, 0, 2, -38], [0, 0, 0, 1]])
    )
    right, left = ball(geometry, (20, 0, 0), 7), ball(geometry, (-12, 0, 0), 7)
    (of_right, of_left), _ = pictures_of(geometry, [right, left])
    for plane in ("axial", "coronal"):
        own, other = of_right[plane].paths("lesion"), of_right[plane].paths("neighbour")
        assert centre(own)[0] + 30 < centre(other)[0]
        assert of_right[plane].letters()[:2] == ("R", "L")
    assert of_left["sagittal"].letters() == ("A", "P", "S", "I")


@few
@given(bodies(), st.sampled_from((IntensityUnit.SUV, IntensityUnit.HU)))
def test_the_outlines_lie_on_what_the_image_shows(
    body: tuple[Geometry, NDArray[np.float64]], unit: IntensityUnit
) -> None:
    geometry, middle = body
    masks = [
        ball(geometry, middle, 9),
        ball(geometry, middle + 22 * in_slice(geometry, np.array([0.6, 0.8, 0.0])), 7),
        ball(geometry, middle + np.array([4.0, 6.0, 24.0]), 7),
    ]
    first, _ = pictures_of(geometry, masks, unit)
    for picture in first[0].values():
        image = picture.image()
        pixels_a_mm = image.shape[0] / picture.image_size_mm()[1]
        lesion = image[:, :, 0] < 128 if unit is IntensityUnit.SUV else image[:, :, 0] >= 128
        if image.shape[2] == 2:
            lesion &= image[:, :, 1] > 0
        inside = np.zeros(lesion.shape, bool)
        for ring in picture.paths("lesion") + picture.paths("neighbour"):
            inside |= polygon2mask(lesion.shape, ring[:, ::-1] * pixels_a_mm - 0.5)
        dice = 2 * (inside & lesion).sum() / (inside.sum() + lesion.sum())
        assert dice > 0.8
        assert np.linalg.norm(centroid(inside) - centroid(lesion)) / pixels_a_mm < 4


def centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = np.argwhere(mask).mean(axis=0)
    return middle


@few
@given(bodies())
def test_the_outline_encloses_the_area_of_the_voxels_in_the_slice(
    body: tuple[Geometry, NDArray[np.float64]],
) -> None:
    geometry, middle = body
    mask = ball(geometry, middle, 12) & ~ball(geometry, middle + np.array([0.0, 3.0, 0.0]), 4)
    ((pictures,), (row,)) = (lambda made: (made[0], made[1]))(pictures_of(geometry, [mask]))
    axis = geometry.axial_axis
    index = round(float(geometry.to_index(np.array(row.longest_axial_diameter_ends_mm[0]))[axis]))
    steps = np.delete(geometry.affine[:3, :3], axis, axis=1)
    voxel_mm2 = float(np.linalg.norm(np.cross(steps[:, 0], steps[:, 1])))
    expected = mask.take(index, axis=axis).sum() * voxel_mm2
    assert pictures["axial"].area_mm2("lesion") == pytest.approx(expected, rel=0.02)


@few
@given(bodies())
def test_the_diameter_is_drawn_with_its_length_and_inside_the_outline(
    body: tuple[Geometry, NDArray[np.float64]],
) -> None:
    geometry, middle = body
    (pictures, _), (row, _) = pictures_of(
        geometry,
        [ball(geometry, middle, 11), ball(geometry, middle + np.array([0.0, 0.0, 25.0]), 4)],
    )
    axial = pictures["axial"]
    (line,) = axial.paths("longest-diameter")
    assert np.linalg.norm(line[1] - line[0]) == pytest.approx(
        row.longest_axial_diameter_mm, abs=0.02
    )
    points = np.concatenate(axial.paths("lesion"))
    assert (line > points.min(axis=0)).all()
    assert (line < points.max(axis=0)).all()
    assert f"{row.longest_axial_diameter_mm:.1f} × 3.2 mm" in axial.texts()
    assert not pictures["coronal"].paths("longest-diameter")


@pytest.mark.parametrize("radius_mm", [6, 14, 45])
def test_the_scale_bar_has_the_length_that_it_says(radius_mm: float) -> None:
    geometry = Geometry((50, 44, 40), OBLIQUE.affine)
    middle = geometry.to_world((np.array(geometry.shape) - 1) / 2)
    (pictures,), _ = pictures_of(geometry, [ball(geometry, middle, radius_mm)])
    for picture in pictures.values():
        bar = next(p for p in picture.root.iter(f"{SVG}path") if p.get("class") == "scale-bar")
        start = float(bar.attrib["d"].split("M")[2].split()[0])
        end = float(bar.attrib["d"].split("H")[1].split("m")[0])
        length_mm = float(bar.attrib["data-mm"])
        assert (end - start) / picture.units_per_mm == pytest.approx(length_mm, abs=0.02)
        assert f"{length_mm:g} mm" in picture.texts()
        assert 0.1 < length_mm / picture.image_size_mm()[0] <= 1 / 3
        assert picture.image_size_mm()[0] == pytest.approx(picture.image_size_mm()[1])


def test_a_lesion_whose_centroid_lies_outside_is_outlined_in_every_plane() -> None:
    middle = OBLIQUE.to_world((np.array(OBLIQUE.shape) - 1) / 2)
    apart = np.array([14.0, 14.0, 6.0])
    both = ball(OBLIQUE, middle - apart, 9) | ball(OBLIQUE, middle + apart, 9)
    (pictures,), _ = pictures_of(OBLIQUE, [both])
    for picture in pictures.values():
        assert picture.area_mm2("lesion") > 100


def test_a_picture_says_lesion_plane_position_and_image_number() -> None:
    middle = OBLIQUE.to_world((np.array(OBLIQUE.shape) - 1) / 2)
    (pictures,), (row,) = pictures_of(OBLIQUE, [ball(OBLIQUE, middle, 12)])
    texts = pictures["axial"].texts()
    assert "Lesion 1 · axial" in texts
    assert any(
        text.startswith(f"image {row.slice_instance_number} · ") and text.endswith(" mm")
        for text in texts
    )
    assert not any("image" in text for text in pictures["coronal"].texts())


def test_what_was_not_acquired_is_no_grey_and_the_outline_closes_there() -> None:
    corner = OBLIQUE.to_world(np.array([3.0, 25.0, 18.0]))
    mask = ball(OBLIQUE, corner, 20)
    (pictures,), (row,) = pictures_of(OBLIQUE, [mask])
    image = pictures["axial"].image()
    assert image.shape[2] == 2
    assert 0 < (image[:, :, 1] == 0).mean() < 0.9
    index = row.slice_instance_number - 100 if row.slice_instance_number else 0
    steps = np.delete(OBLIQUE.affine[:3, :3], OBLIQUE.axial_axis, axis=1)
    voxel_mm2 = float(np.linalg.norm(np.cross(steps[:, 0], steps[:, 1])))
    expected = mask.take(index, axis=OBLIQUE.axial_axis).sum() * voxel_mm2
    assert pictures["axial"].area_mm2("lesion") == pytest.approx(expected, rel=0.02)


def test_a_neighbour_carries_its_number_and_another_colour_and_dashes() -> None:
    middle = OBLIQUE.to_world((np.array(OBLIQUE.shape) - 1) / 2)
    step = in_slice(OBLIQUE, np.array([1.0, 0, 0])) * 24
    (first, _), _ = pictures_of(
        OBLIQUE, [ball(OBLIQUE, middle, 9), ball(OBLIQUE, middle + step, 9)]
    )
    axial = first["axial"].root
    paths = {p.get("class"): p for p in axial.iter(f"{SVG}path")}
    assert paths["neighbour"].attrib["stroke"] != paths["lesion"].attrib["stroke"]
    assert "stroke-dasharray" in paths["neighbour"].attrib
    assert "stroke-dasharray" not in paths["lesion"].attrib
    numbers = [t.text for t in axial.iter(f"{SVG}text") if t.get("class") == "number"]
    assert set(numbers) == {"2"}


def every_picture() -> list[Picture]:
    middle = OBLIQUE.to_world((np.array(OBLIQUE.shape) - 1) / 2)
    return list(lesion_pictures(the_scene(lesion_map(OBLIQUE, [ball(OBLIQUE, middle, 9)])))[0])


def test_a_picture_describes_itself_and_needs_nothing_else() -> None:
    for picture in every_picture():
        root = drawn(picture.svg).root
        assert root.attrib["role"] == "img"
        assert root[0].tag == f"{SVG}title"
        assert root[1].text == picture.description
        assert "is on the left" in picture.description
        assert not any("style" in e.attrib or "id" in e.attrib for e in root.iter())
        assert picture.svg.count("http") == 1


def test_the_same_picture_is_drawn_twice() -> None:
    assert every_picture() == every_picture()
