"""The key images of a lesion: axial, coronal and sagittal, each a picture that stands alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.core.measurements import Measurement
from medseg.core.report import Picture
from medseg.report import drawing, planes, sampling
from medseg.report.scene import Extent, Scene

TINY_VIEW_MM, LEAST_VIEW_MM = 80.0, 120.0
"""Width of the pictures of tiny lesions, which need magnification, and least width for others:
enough of the surroundings to know the place."""

TINY_VIEW_SHARE, VIEW_SHARE = 8.0, 1.4
"""How much wider than a tiny and than a large lesion its pictures are."""

WIDTH = 300.0
"""Width of a picture in units of its drawing."""

LEAST_PIXELS, MOST_PIXELS = 200, 400
"""Of the image across a picture: what a printed page shows, and what a large CT lesion needs."""

PIXELS_A_VOXEL = 8
"""Fineness at which masks are sampled for their outlines, along the shortest side of a voxel."""

MOST_MASK_PIXELS = 400
"""Of a mask across what is sampled of it, so that a step is below what a reader can see."""

FULL_LINES, LEAST_LINES = 70.0, 0.5
"""Size of a lesion in the drawing from which on lines have their full width, and the least share
of it."""

Shapes = list[sampling.Outline]


def lesion_pictures(shown: Scene) -> list[tuple[Picture, ...]]:
    """The three key images of each lesion, in the order of the rows."""
    return [
        _pictures(shown, row, reach) for row, reach in zip(shown.rows, shown.extents, strict=True)
    ]


def _pictures(shown: Scene, row: Measurement, reach: Extent) -> tuple[Picture, ...]:
    """Axial in the slice of the diameters, the others through the middle of the lesion."""
    side_mm = _view_mm(row.max_diameter_3d_mm)
    view_mm = (side_mm, side_mm)
    in_slice = np.mean(row.longest_axial_diameter_ends_mm, axis=0)
    three = (
        planes.slice_plane(shown.volume.geometry, in_slice, view_mm),
        planes.plane("coronal", reach.centre_mm, view_mm).through(reach.inside_mm),
        planes.plane("sagittal", reach.centre_mm, view_mm).through(reach.inside_mm),
    )
    return tuple(_picture(shown, row, plane, reach) for plane in three)


def _view_mm(size_mm: float) -> float:
    """Width of the pictures of a lesion of that size, in whole cm."""
    tiny = float(np.clip(size_mm * TINY_VIEW_SHARE, TINY_VIEW_MM, LEAST_VIEW_MM))
    return float(np.ceil(max(tiny, size_mm * VIEW_SHARE) / 10) * 10)


def _picture(shown: Scene, row: Measurement, plane: planes.Plane, reach: Extent) -> Picture:
    """One key image, with its outline, neighbours, diameters, letters and scale bar."""
    art = drawing.canvas(plane, WIDTH / plane.size_mm[0], margins=(22, 26, 0))
    beside = _neighbours(shown, row, plane)
    description = _description(row, plane, tuple(beside))
    drawing.describe(art, f"Lesion {row.instance}, {plane.name}", description)
    drawing.write(art, f"Lesion {row.instance} · {plane.name}", (0, 15), bold=True)
    drawing.write(art, _where(row, plane), (WIDTH, 15), anchor="end")
    drawing.image(art, sampling.png(_intensities(shown, plane), shown.scale))
    for label, shapes in beside.items():
        drawing.outline(art, shapes, drawing.NEIGHBOUR_PEN, "neighbour", label)
    own = _own(shown, row, plane, reach)
    fineness = _fineness(art, reach)
    pen = drawing.finer(drawing.LESION_PEN, fineness)
    drawing.outline(art, own, pen, "lesion", row.instance)
    if plane.name == "axial":
        _diameters(art, row, fineness)
    for label, shapes in beside.items():
        _number_neighbour(art, label, shapes)
    drawing.letters(art, drawing.ink(shown.scale))
    drawing.scale_bar(art, art.top + art.height + 13)
    return Picture(plane.name, drawing.text_of(art), description)


def _intensities(shown: Scene, plane: planes.Plane) -> NDArray[np.float32]:
    """(columns, rows) of the plane, as fine as the voxels but within what a page can show."""
    finest = min(shown.volume.geometry.spacing_mm)
    pixels = int(np.clip(np.ceil(plane.size_mm[0] / finest), LEAST_PIXELS, MOST_PIXELS))
    return sampling.sample(
        shown.volume.data,
        shown.volume.geometry,
        plane.grid(plane.size_mm[0] / pixels),
        interpolation="linear",
        outside=float("nan"),
    )[:, :, 0]


def _own(shown: Scene, row: Measurement, plane: planes.Plane, reach: Extent) -> Shapes:
    """The lesion's outlines in mm from the corner of the plane, sampled around it alone."""
    diagonal_mm = float(np.linalg.norm(reach.size_mm))
    # Nothing of a slice is further from the middle of its longest diameter than 0.87 of it.
    side_mm = min(plane.size_mm[0], 1.75 * diagonal_mm + 2 * min(shown.lesions.geometry.spacing_mm))
    around = replace(plane, size_mm=(side_mm, side_mm))
    labels, pixel_mm = _labels(shown, around)
    offset = plane.to_picture(around.corner_mm)
    return [shape + offset for shape in sampling.outlines(labels == row.instance, pixel_mm)]


def _neighbours(shown: Scene, row: Measurement, plane: planes.Plane) -> Mapping[int, Shapes]:
    """Label of each other lesion in the plane to its outlines, in mm from the plane's corner."""
    labels, pixel_mm = _labels(shown, plane)
    others = [int(n) for n in np.flatnonzero(np.bincount(labels.ravel())) if n != row.instance]
    return {label: sampling.outlines(labels == label, pixel_mm) for label in others if label}


def _labels(shown: Scene, plane: planes.Plane) -> tuple[NDArray[np.uint16], float]:
    """(columns, rows) labels of a square plane, and the size of their pixels."""
    finest = min(shown.lesions.geometry.spacing_mm)
    side_mm = plane.size_mm[0]
    pixel_mm = side_mm / min(int(np.ceil(side_mm / finest * PIXELS_A_VOXEL)), MOST_MASK_PIXELS)
    labels = sampling.sample(
        shown.lesions.labels,
        shown.lesions.geometry,
        plane.grid(pixel_mm),
        interpolation="nearest",
        outside=0,
    )
    return labels[:, :, 0].astype(np.uint16), pixel_mm


def _fineness(art: drawing.Canvas, reach: Extent) -> float:
    """Share of a pen's width for a lesion so small that full lines would hide it."""
    share: float = np.clip(reach.size_mm.max() * art.units_per_mm / FULL_LINES, LEAST_LINES, 1)
    return float(share)


def _diameters(art: drawing.Canvas, row: Measurement, fineness: float) -> None:
    longest = np.array(row.longest_axial_diameter_ends_mm)
    short = np.array(row.short_axis_ends_mm)
    drawing.line(art, short, drawing.finer(drawing.SHORT_PEN, fineness), "short-axis")
    drawing.line(art, longest, drawing.finer(drawing.LONGEST_PEN, fineness), "longest-diameter")
    sizes = f"{row.longest_axial_diameter_mm:.1f} × {row.short_axis_mm:.1f} mm"
    drawing.write(art, sizes, (art.left + art.width, art.top + art.height + 17.5), anchor="end")


def _number_neighbour(art: drawing.Canvas, label: int, shapes: Shapes) -> None:
    """Write a neighbour's number above its outline, inside the picture."""
    points = art.units(np.concatenate(shapes))
    x, y = points[np.argmin(points[:, 1])]
    x = float(np.clip(x, art.left + 12, art.left + art.width - 12))
    y = float(np.clip(y - 4, art.top + 14, art.top + art.height - 4))
    drawing.over_image(art, str(label), (x, y), colour=drawing.NEIGHBOUR, name="number")


def _where(row: Measurement, plane: planes.Plane) -> str:
    """Position of the plane and, in the slice of the diameters, the number that a PACS shows."""
    if plane.name == "axial" and row.slice_instance_number is not None:
        return f"image {row.slice_instance_number} · {plane.position}"
    return plane.position


def _description(row: Measurement, plane: planes.Plane, neighbours: Sequence[int]) -> str:
    left, right, top, bottom = plane.letters
    parts = [
        f"{plane.name.capitalize()} picture of lesion {row.instance} at {_where(row, plane)}, "
        f"{plane.size_mm[0]:.0f} mm wide; {left} is on the left, {right} on the right, "
        f"{top} on top, {bottom} at the bottom."
    ]
    if plane.name == "axial":
        parts.append(
            f"The longest axial diameter of {row.longest_axial_diameter_mm:.1f} mm is a solid "
            f"line, the short axis of {row.short_axis_mm:.1f} mm a dashed one."
        )
    if neighbours:
        parts.append(f"Also in it: lesion {', '.join(str(n) for n in neighbours)}.")
    return " ".join(parts)
