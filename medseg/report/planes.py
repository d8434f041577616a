"""Where a picture lies in the patient, in radiological convention.

The patient's right is on the left of axial and coronal pictures, anterior is on the left of
sagittal ones and on top of axial ones, superior is on top of the others.

Pictures follow the slices that were acquired: the axial picture lies in such a slice, so that the
diameters measured there lie in it with their true lengths, as a PACS shows them. In that slice it
is turned as upright as the slice allows. For slices that are not tilted these are the world's axes;
for tilted ones the letters say so.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import AXIS_CODES, Geometry
from medseg.core.measurements import Point

PlaneName = Literal["axial", "coronal", "sagittal"]

Direction = NDArray[np.float64]
"""(3,) unit vector in RAS+."""

LETTER_SHARE = math.sin(math.radians(10))
"""A second letter names a tilt from 10 degrees on, less than which a PACS's user would overlook."""


@dataclass(frozen=True, eq=False)
class Axes:
    """The three directions that pictures of one volume are spanned by, at right angles.

    Attributes:
        to_left: Nearest to the patient's left.
        to_back: Nearest to posterior.
        to_feet: Nearest to inferior; normal to the acquired axial slices.
    """

    to_left: Direction
    to_back: Direction
    to_feet: Direction

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) the directions as rows: `matrix @ v` is how far v goes left, back and feet."""
        return np.stack([self.to_left, self.to_back, self.to_feet])


@dataclass(frozen=True, eq=False)
class Plane:
    """One picture's rectangle in the patient.

    Attributes:
        name: axial, coronal or sagittal.
        centre_mm: (3,) RAS+ position of the picture's centre.
        across: From the left to the right of the picture.
        down: From its top to its bottom.
        normal: Away from the viewer.
        size_mm: Width and height.
    """

    name: PlaneName
    centre_mm: NDArray[np.float64]
    across: Direction
    down: Direction
    normal: Direction
    size_mm: tuple[float, float]

    def grid(self, pixel_mm: float, depth_mm: float = 0) -> Geometry:
        """Square pixels that cover the rectangle, with layers over a depth around it.

        Args:
            pixel_mm: Distance of two pixels, and of two layers.
            depth_mm: Extent of the layers along the normal; 0 is one layer in the plane.

        Returns:
            A grid of (columns, rows, layers) whose first voxel is the top left one.
        """
        counts = [max(1, round(size / pixel_mm)) for size in (*self.size_mm, depth_mm)]
        affine = np.eye(4)
        affine[:3, :3] = np.stack([self.across, self.down, self.normal], axis=1) * pixel_mm
        middle = (np.array(counts) - 1) / 2
        affine[:3, 3] = self.centre_mm - affine[:3, :3] @ middle
        return Geometry((counts[0], counts[1], counts[2]), affine)

    def to_picture(self, points_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map (..., 3) RAS+ mm to (..., 2) mm right of and below the picture's top left corner."""
        relative = points_mm - self.centre_mm
        half = np.array(self.size_mm) / 2
        return np.stack([relative @ self.across, relative @ self.down], axis=-1) + half

    @property
    def corner_mm(self) -> NDArray[np.float64]:
        """(3,) RAS+ position of the top left corner."""
        width, height = self.size_mm
        return self.centre_mm - self.across * width / 2 - self.down * height / 2

    def through(self, point_mm: NDArray[np.float64]) -> "Plane":
        """The same rectangle, moved along its normal until it passes through a point."""
        step = (point_mm - self.centre_mm) @ self.normal
        return replace(self, centre_mm=self.centre_mm + step * self.normal)

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Orientation letters at the left, right, top and bottom edge."""
        return (
            letters(-self.across),
            letters(self.across),
            letters(-self.down),
            letters(self.down),
        )

    @property
    def position(self) -> str:
        """Where the plane lies along the world axis nearest to its normal, such as `I 12.5 mm`."""
        axis = int(np.argmax(np.abs(self.normal)))
        return f"{coordinate(axis, float(self.centre_mm[axis]))} mm"


def axes(geometry: Geometry) -> Axes:
    """The directions of the pictures of a volume.

    Args:
        geometry: Its grid; oblique, left-handed, permuted or sheared.

    Returns:
        Axes whose axial plane is that of the grid's axial slices.
    """
    columns = geometry.affine[:3, :3]
    first, second = (columns[:, axis] for axis in range(3) if axis != geometry.axial_axis)
    normal = np.cross(first, second)
    # A slice that is nearer to the vertical than to the horizontal still gets a side to look from.
    to_feet = normal / np.linalg.norm(normal) * (-1 if normal[2] > 0 else 1)
    left = np.array([-1.0, 0.0, 0.0])
    to_left = left - to_feet * (left @ to_feet)
    to_left /= np.linalg.norm(to_left)
    return Axes(to_left=to_left, to_back=np.cross(to_left, to_feet), to_feet=to_feet)


def plane(
    name: PlaneName, directions: Axes, centre_mm: NDArray[np.float64], size_mm: tuple[float, float]
) -> Plane:
    """The rectangle of a size around a point, seen in radiological convention."""
    left, back, feet = directions.to_left, directions.to_back, directions.to_feet
    across, down, normal = {
        "axial": (left, back, -feet),
        "coronal": (left, feet, back),
        "sagittal": (back, feet, -left),
    }[name]
    return Plane(name, centre_mm, across, down, normal, size_mm)


def letters(direction: Direction) -> str:
    """The patient's directions that a vector points to, the nearest first, such as `LP`."""
    order = np.argsort(-np.abs(direction), kind="stable")
    named = [AXIS_CODES[axis][int(direction[axis] > 0)] for axis in order]
    shares = np.abs(direction[order])
    return "".join(
        name
        for rank, (name, share) in enumerate(zip(named, shares, strict=True))
        if rank == 0 or share >= LETTER_SHARE
    )


def coordinate(axis: int, value_mm: float) -> str:
    """A RAS+ coordinate as its reader says it, without its unit: `L 45.2` for R = -45.2."""
    shown = f"{abs(value_mm):.1f}"
    return f"{AXIS_CODES[axis][int(value_mm >= 0 or shown == '0.0')]} {shown}"


def place(point_mm: Point) -> str:
    """A RAS+ position as its reader says it, without its unit: `L 45.2 · A 3.0 · S 120.5`."""
    return " · ".join(coordinate(axis, value) for axis, value in enumerate(point_mm))
