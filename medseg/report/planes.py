"""Where a picture lies in the patient, in radiological convention.

The patient's right is on the left of axial and coronal pictures, anterior is on the left of
sagittal ones and on top of axial ones, superior is on top of the others.

Coronal and sagittal pictures lie along the world's axes, however the volume was acquired. Axial
ones lie in an acquired slice, so that the diameters measured there lie in it with their true
lengths, as a PACS shows them; in that slice they are turned as upright as it allows. For slices
that are not tilted that is along the world's axes too; for tilted ones the letters say so.
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


LEFT, BACK, FEET = np.array([-1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, -1.0])
"""Towards the patient's left, posterior and inferior."""

DIRECTIONS = np.stack([LEFT, BACK, FEET])
"""(3, 3) `DIRECTIONS @ v` is how far v goes to the left, the back and the feet."""


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


def plane(name: PlaneName, centre_mm: NDArray[np.float64], size_mm: tuple[float, float]) -> Plane:
    """The rectangle of a size around a point, along the world's axes."""
    across, down, normal = {
        "axial": (LEFT, BACK, -FEET),
        "coronal": (LEFT, FEET, BACK),
        "sagittal": (BACK, FEET, -LEFT),
    }[name]
    return Plane(name, centre_mm, across, down, normal, size_mm)


def slice_plane(
    geometry: Geometry, centre_mm: NDArray[np.float64], size_mm: tuple[float, float]
) -> Plane:
    """The rectangle of a size around a point, in the direction of the axial slices of a grid.

    Args:
        geometry: The grid; oblique, left-handed, permuted or sheared.
        centre_mm: A point of the slice.
        size_mm: Width and height.
    """
    steps = geometry.affine[:3, :3]
    first, second = (steps[:, axis] for axis in range(3) if axis != geometry.axial_axis)
    normal = np.cross(first, second)
    normal *= (1 if normal[2] >= 0 else -1) / np.linalg.norm(normal)
    across = LEFT - normal * (LEFT @ normal)
    across /= np.linalg.norm(across)
    return Plane("axial", centre_mm, across, np.cross(normal, across), normal, size_mm)


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
