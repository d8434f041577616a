"""Analytic shapes in RAS+ mm, and how one is laid on a voxel grid."""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry

Box = tuple[slice, slice, slice]
Points = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""R, A and S in mm: three arrays that broadcast to one another."""

EDGE_MM = 4.0
"""How far beyond a shape it is still evaluated, so that its soft edge is whole."""


class Shape(Protocol):
    """A solid in the patient."""

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of a box around it, each (3,) RAS+ mm."""

    def distance_mm(self, points: Points) -> NDArray[np.float32]:
        """Distance to its surface, negative inside; its sign is exact, its size a good estimate."""


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid.

    Attributes:
        centre_mm: (3,) RAS+ mm.
        semi_axes_mm: (3,) half lengths.
        rotation: (3, 3); its columns are the directions of the axes.
    """

    centre_mm: NDArray[np.float64]
    semi_axes_mm: NDArray[np.float64]
    rotation: NDArray[np.float64]

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of a box around it, each (3,) RAS+ mm."""
        reach = np.sqrt(((self.rotation * self.semi_axes_mm) ** 2).sum(axis=1))
        return self.centre_mm - reach, self.centre_mm + reach

    def distance_mm(self, points: Points) -> NDArray[np.float32]:
        """Distance by the first-order estimate f (f - 1) / |grad|, with f the scaled radius."""
        shifted = [p - np.float32(c) for p, c in zip(points, self.centre_mm, strict=True)]
        radius = np.zeros((1, 1, 1), np.float32)
        slope = np.zeros((1, 1, 1), np.float32)
        for axis, semi in zip(self.rotation.T, self.semi_axes_mm, strict=True):
            along = combine(axis, shifted) / np.float32(semi)
            radius = radius + along**2
            slope = slope + (along / np.float32(semi)) ** 2
        radius, slope = np.sqrt(radius), np.sqrt(slope)
        reach = np.full_like(radius, self.semi_axes_mm.min())
        np.divide(radius, slope, out=reach, where=slope > 0)
        distance: NDArray[np.float32] = reach * (radius - 1)
        return distance


@dataclass(frozen=True, eq=False)
class Capsule:
    """A straight piece of a tube with round ends, tapered from one radius to the other.

    Attributes:
        start_mm: (3,) RAS+ mm.
        end_mm: (3,) RAS+ mm, another point.
        start_radius_mm: Radius at the start.
        end_radius_mm: Radius at the end.
    """

    start_mm: NDArray[np.float64]
    end_mm: NDArray[np.float64]
    start_radius_mm: float
    end_radius_mm: float

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of a box around it, each (3,) RAS+ mm."""
        low = np.minimum(self.start_mm - self.start_radius_mm, self.end_mm - self.end_radius_mm)
        high = np.maximum(self.start_mm + self.start_radius_mm, self.end_mm + self.end_radius_mm)
        return low, high

    def distance_mm(self, points: Points) -> NDArray[np.float32]:
        """Distance to the nearest point of the axis, less the radius there."""
        step = self.end_mm - self.start_mm
        shifted = [p - np.float32(c) for p, c in zip(points, self.start_mm, strict=True)]
        share = np.clip(combine(step / (step @ step), shifted), 0, 1)
        squared = np.zeros((1, 1, 1), np.float32)
        for offset, length in zip(shifted, step, strict=True):
            squared = squared + (offset - share * np.float32(length)) ** 2
        taper = np.float32(self.end_radius_mm - self.start_radius_mm)
        distance: NDArray[np.float32] = (
            np.sqrt(squared) - np.float32(self.start_radius_mm) - share * taper
        )
        return distance


@dataclass(frozen=True, eq=False)
class Column:
    """An upright body part: in each axial plane an ellipse, which changes from plane to plane.

    Attributes:
        knots: (N, 5), ascending in the first column: S, centre R, centre A, half width along R,
            half width along A, all in mm; linear in between, flat ends at the first and last S.
    """

    knots: NDArray[np.float64]

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of a box around it, each (3,) RAS+ mm."""
        s, r, a, half_r, half_a = self.knots.T
        low = np.array([(r - half_r).min(), (a - half_a).min(), s[0]])
        high = np.array([(r + half_r).max(), (a + half_a).max(), s[-1]])
        return low, high

    def distance_mm(self, points: Points) -> NDArray[np.float32]:
        """Distance within the axial plane by the scaled radius, or to the nearer flat end."""
        r, a, s = points
        at = self.knots[:, 0]
        r0, a0, half_r, half_a = (
            np.interp(s, at, self.knots[:, n]).astype(np.float32) for n in (1, 2, 3, 4)
        )
        radius = np.sqrt(((r - r0) / half_r) ** 2 + ((a - a0) / half_a) ** 2)
        sides = (radius - 1) * np.minimum(half_r, half_a)
        ends = np.maximum(np.float32(at[0]) - s, s - np.float32(at[-1]))
        distance: NDArray[np.float32] = np.maximum(sides, ends)
        return distance


@dataclass(frozen=True, eq=False)
class Union:
    """Everything that lies in at least one of its parts.

    Attributes:
        parts: One shape or more.
    """

    parts: tuple[Shape, ...]

    @property
    def bounds_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of a box around it, each (3,) RAS+ mm."""
        bounds = [part.bounds_mm for part in self.parts]
        low = np.min([low for low, _ in bounds], axis=0)
        high = np.max([high for _, high in bounds], axis=0)
        return low, high

    def distance_mm(self, points: Points) -> NDArray[np.float32]:
        """Distance to the nearest part."""
        distance = self.parts[0].distance_mm(points)
        for part in self.parts[1:]:
            distance = np.minimum(distance, part.distance_mm(points))
        return distance


def tube(points_mm: NDArray[np.float64], radii_mm: NDArray[np.float64]) -> tuple[Capsule, ...]:
    """The pieces of a bent tube through (N, 3) points with (N,) radii."""
    knots = list(zip(points_mm, radii_mm, strict=True))
    return tuple(Capsule(p, q, float(a), float(b)) for (p, a), (q, b) in pairwise(knots))


def combine(weights: NDArray[np.float64], arrays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Weighted sum that leaves zero weights out: on an axis-aligned grid arrays stay thin."""
    total = np.zeros((1, 1, 1), np.float32)
    for weight, array in zip(weights, arrays, strict=True):
        if weight:
            total = total + np.float32(weight) * array
    return total


def box_around(shape: Shape, geometry: Geometry) -> Box | None:
    """The part of a grid that holds a shape with its soft edge, or None where it is elsewhere."""
    low, high = shape.bounds_mm
    corners = np.array(list(product(*zip(low - EDGE_MM, high + EDGE_MM, strict=True))))
    indices = geometry.to_index(corners)
    start = np.maximum(np.ceil(indices.min(axis=0)).astype(int), 0)
    stop = np.minimum(np.floor(indices.max(axis=0)).astype(int) + 1, geometry.shape)
    if (stop <= start).any():
        return None
    return (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))


def points_in(geometry: Geometry, box: Box) -> Points:
    """Positions of the voxel centres in a box of the grid."""
    ranges = [np.arange(s.start, s.stop, dtype=np.float32) for s in box]
    indices = [
        ranges[0][:, None, None],
        ranges[1][None, :, None],
        ranges[2][None, None, :],
    ]
    r, a, s = (
        combine(geometry.affine[axis, :3], indices) + np.float32(geometry.affine[axis, 3])
        for axis in range(3)
    )
    return (r, a, s)


def distance_on_grid(shape: Shape, geometry: Geometry) -> tuple[Box, NDArray[np.float32]] | None:
    """Signed distance of a shape in mm on its box of the grid; None where it lies outside."""
    box = box_around(shape, geometry)
    if box is None:
        return None
    distance = shape.distance_mm(points_in(geometry, box))
    size = tuple(s.stop - s.start for s in box)
    return box, np.broadcast_to(distance, size)


def coverage(distance_mm: NDArray[np.float32], width_mm: float) -> NDArray[np.float32]:
    """Share of a voxel of that width which is covered, 0 to 1: half where the surface cuts it."""
    share: NDArray[np.float32] = np.clip(0.5 - distance_mm / np.float32(width_mm), 0, 1)
    return share
