"""All lesions in one look: a coronal and a sagittal projection with outlines and numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.core.measurements import Measurement
from medseg.core.report import Picture
from medseg.report import callouts, drawing, planes, sampling
from medseg.report.projection import Projection, projections
from medseg.report.scene import Extent, Scene

SAMPLES_A_VOXEL, MOST_SAMPLES = 4, 128
"""Along the shortest side of a voxel, and along the longest side of the box around a lesion."""

HEIGHT, WIDTH = 600.0, 400.0
"""Largest picture area, in units of the drawing; both pictures have one scale."""


@dataclass(frozen=True, eq=False)
class Silhouette:
    """One lesion seen along the normal of a plane around it.

    Attributes:
        plane: Its rectangle.
        shapes: Outlines in mm from that rectangle's top left corner.
    """

    plane: planes.Plane
    shapes: list[sampling.Outline]


def overview(
    shown: Scene, below_limit: Collection[int] = (), organs: Scene | None = None
) -> tuple[Picture, ...]:
    """A coronal and a sagittal projection with the outlines and numbers of all lesions.

    Args:
        shown: Image and lesions.
        below_limit: Labels of those that are listed and not counted; their outlines are dashed.
        organs: Image and organs, which are outlined below the lesions and have no numbers.
    """
    both = projections(shown)
    units_per_mm = min(min(WIDTH / p.plane.size_mm[0], HEIGHT / p.plane.size_mm[1]) for p in both)
    lesions = sorted(
        zip(shown.rows, shown.extents, strict=True), key=lambda pair: -pair[0].volume_mm3
    )
    seen = {row.instance: _silhouettes(shown, row, reach) for row, reach in lesions}
    beside: list[tuple[Silhouette, Silhouette]] = []
    if organs is not None:
        around = zip(organs.rows, organs.extents, strict=True)
        beside = [_silhouettes(organs, row, reach) for row, reach in around]
    pictures = []
    for index, projection in enumerate(both):
        shapes = {label: silhouettes[index] for label, silhouettes in seen.items()}
        organ_shapes = [silhouettes[index] for silhouettes in beside]
        pictures.append(_picture(projection, units_per_mm, shapes, organ_shapes, below_limit))
    return tuple(pictures)


def _silhouettes(shown: Scene, row: Measurement, reach: Extent) -> tuple[Silhouette, Silhouette]:
    """Front and side of one lesion, sampled so finely that no voxel is missed."""
    finest = min(shown.lesions.geometry.spacing_mm) / SAMPLES_A_VOXEL
    pixel_mm = max(finest, float(reach.size_mm.max()) / MOST_SAMPLES)
    width, depth, height = (float(n) for n in (np.ceil(reach.size_mm / pixel_mm) + 2) * pixel_mm)
    front = planes.plane("coronal", reach.centre_mm, (width, height))
    side = planes.plane("sagittal", reach.centre_mm, (depth, height))
    labels = sampling.sample(
        shown.lesions.labels,
        shown.lesions.geometry,
        front.grid(pixel_mm, depth),
        interpolation="nearest",
        outside=0,
    )
    mask = labels == row.instance
    return (
        Silhouette(front, sampling.outlines(mask.any(axis=2), pixel_mm)),
        Silhouette(side, sampling.outlines(mask.any(axis=0).T, pixel_mm)),
    )


def _picture(
    projection: Projection,
    units_per_mm: float,
    silhouettes: Mapping[int, Silhouette],
    organs: Sequence[Silhouette],
    below_limit: Collection[int],
) -> Picture:
    """One projection; the lesions' silhouettes come the largest first."""
    plane = projection.plane
    art = drawing.canvas(plane, units_per_mm, margins=(22, 26, callouts.MARGIN))
    title = f"All lesions, {plane.name} {projection.method}"
    note = drawing.describe(art, title)
    drawing.write(art, f"{plane.name.capitalize()} {projection.short}", (art.left, 15), bold=True)
    drawing.image(art, sampling.png(projection.values, projection.scale))
    for label, silhouette in enumerate(organs, 1):
        drawing.outline(art, _placed(plane, silhouette), drawing.NEIGHBOUR_PEN, "organ", label)
    targets = []
    for label, silhouette in silhouettes.items():
        shapes = _placed(plane, silhouette)
        pen = drawing.SMALL_LESION_PEN if label in below_limit else drawing.OVERVIEW_PEN
        drawing.outline(art, shapes, pen, "lesion", label)
        points = art.units(np.concatenate(shapes))
        left, right = points[np.argmin(points[:, 0])], points[np.argmax(points[:, 0])]
        ends = ((float(left[0]), float(left[1])), (float(right[0]), float(right[1])))
        targets.append(callouts.Target(str(label), f"#lesion-{label}", *ends))
    numbered = callouts.callouts(art, targets, drawing.ink(projection.scale))
    drawing.letters(art, drawing.ink(projection.scale))
    drawing.scale_bar(art, art.top + art.height + 13)
    left_letter, right_letter, top, bottom = plane.letters
    description = (
        f"{title}: {left_letter} is on the left, {right_letter} on the right, {top} on top, "
        f"{bottom} at the bottom. {len(targets)} lesions are outlined, "
        f"{'all' if numbered == len(targets) else f'the largest {numbered}'} with their numbers."
        + (f" {len(organs)} organs have dashed blue outlines." if organs else "")
    )
    note.text = description
    return Picture(plane.name, drawing.text_of(art), description)


def _placed(plane: planes.Plane, silhouette: Silhouette) -> list[sampling.Outline]:
    """A silhouette's outlines in mm from the corner of a plane."""
    offset = plane.to_picture(silhouette.plane.corner_mm)
    return [shape + offset for shape in silhouette.shapes]
