"""Diameters of a region of voxel boxes, in mm, with their ends.

A voxel is a box (docs/decisions/0003), so the ends of a diameter are corners of voxels, and corners
of the region's convex hull. An affine map keeps lines and hulls: which corners may be ends is found
on whole numbers, in index space, and only those are taken to mm. That is right on oblique and on
sheared grids alike.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from medseg.core.geometry import Geometry
from medseg.core.measurements import Point, Segment

DISTANCES_AT_ONCE = 4_000_000
"""Bounds the memory of the search for the farthest pair to 32 MB."""

TIE = 1 - 1e-9
"""Lengths this near to the longest tie with it: congruent pixels differ in their last bits."""


@dataclass(frozen=True)
class Diameter:
    """One diameter.

    Attributes:
        length_mm: Its length.
        ends_mm: Its two ends, RAS+.
    """

    length_mm: float
    ends_mm: Segment


@dataclass(frozen=True)
class AxialDiameters:
    """The longest diameter in an axial slice, and the one across it.

    Attributes:
        longest: Longest diameter in any axial slice.
        short: Longest diameter perpendicular to it in the same slice.
        axial: Which slice of the grid that was measured; the lowest of those that tie.
    """

    longest: Diameter
    short: Diameter
    axial: int


def axial_diameters(mask: NDArray[np.bool_], geometry: Geometry) -> AxialDiameters:
    """Measure the longest axial diameter and its short axis.

    RECIST 1.1 (Eisenhauer et al., Eur J Cancer 45:228, 2009) takes the longest diameter in the
    axial plane; the short axis is the longest diameter perpendicular to it, as WHO and RECIST (for
    lymph nodes) do. Here the diameter is that of the union of the slice's pixels,

        max |p - q| over p, q in the union,

    and the short axis the longest perpendicular chord of the union's convex hull. By the
    isodiametric inequality the longest diameter is at least that of the disc of equal area, and
    never above the diagonal of the slice's bounding box.

    Args:
        mask: (A, B, C) boolean, not empty; the last axis steps through the axial slices.
        geometry: Where the mask lies.

    Returns:
        Both diameters; their ends lie in the plane through the slice's voxel centres.
    """
    plane = geometry.affine[:3, :2]
    first, after = _corner_lines(mask.transpose(2, 0, 1), across=(1,))
    bounds = _diagonals(first, after, plane) / TIE
    lengths = np.zeros(len(bounds))
    for axial in np.argsort(-bounds, kind="stable"):
        if bounds[axial] < lengths.max():
            break
        lengths[axial] = _farthest(_corners(first[axial], after[axial]) @ plane.T)[1]
    best = int(np.argmax(lengths >= lengths.max() * TIE))
    corners = _corners(first[best], after[best])
    ends = (corners @ plane.T)[_farthest(corners @ plane.T)[0]]
    across = _longest_chord_across(_hull(corners) @ plane.T, ends)
    origin = geometry.to_world(np.array((0, 0, best)))
    longest, short = _diameter(ends, origin), _diameter(across, origin)
    # A square's diagonals are equally long, up to the last bit; the short axis is never the longer.
    short = replace(short, length_mm=min(short.length_mm, longest.length_mm))
    return AxialDiameters(longest, short, best)


def max_diameter_3d(mask: NDArray[np.bool_], geometry: Geometry) -> Diameter:
    """The largest distance between two points of the region.

    Args:
        mask: (A, B, C) boolean, not empty.
        geometry: Where the mask lies.

    Returns:
        The diameter max |p - q| over p, q in the union of the voxels' boxes ("maximum 3D diameter",
        IBSI L0JK, there between vertices of a mesh); its ends are corners of voxels.
    """
    first, after = _corner_lines(mask, across=(0, 1))
    corners = _hull(_corners(first, after)) @ geometry.affine[:3, :3].T
    pair, _ = _farthest(corners)
    return _diameter(corners[pair], geometry.affine[:3, 3])


def _corner_lines(
    mask: NDArray[np.bool_], across: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and the last corner of the region on each line of corners along the last axis.

    Any corner between the two is no corner of the hull. A line of corners runs between voxels along
    the axes `across`, which therefore grow by one.

    Returns:
        Two arrays: first and last corner, counted from the outer face of the first voxel; first is
        above last where the line touches no voxel.
    """
    size = mask.shape[-1]
    occupied = mask.any(axis=-1)
    first = np.where(occupied, mask.argmax(axis=-1), size + 1)
    after = np.where(occupied, size - mask[..., ::-1].argmax(axis=-1), -1)
    for axis in across:
        ends = [(int(n == axis), int(n == axis)) for n in range(occupied.ndim)]
        low = np.pad(first, ends, constant_values=size + 1)
        high = np.pad(after, ends, constant_values=-1)
        one, other = [slice(None)] * low.ndim, [slice(None)] * low.ndim
        one[axis], other[axis] = slice(None, -1), slice(1, None)
        first = np.minimum(low[tuple(one)], low[tuple(other)])
        after = np.maximum(high[tuple(one)], high[tuple(other)])
    return first, after


def _corners(first: NDArray[np.intp], after: NDArray[np.intp]) -> NDArray[np.float64]:
    """(N, d) corners in index space, where voxel 0 reaches from -0.5 to 0.5."""
    touched = first < after
    lines = np.argwhere(touched)
    low = np.column_stack([lines, first[touched]])
    high = np.column_stack([lines, after[touched]])
    corners: NDArray[np.float64] = np.concatenate([low, high]) - 0.5
    return corners


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points that are corners of their convex hull. Voxels are solid, so there is one."""
    corners: NDArray[np.float64] = points[np.sort(ConvexHull(points).vertices)]
    return corners


def _diagonals(
    first: NDArray[np.intp], after: NDArray[np.intp], plane: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(C,) upper bounds in mm of each slice's diameter: the diagonal of its bounding box."""
    touched = first < after
    lines = touched.shape[1]
    rows = lines - 1 - touched[:, ::-1].argmax(axis=1) - touched.argmax(axis=1)
    columns = after.max(axis=1) - first.min(axis=1)
    diagonals = [
        np.linalg.norm(np.column_stack([rows, sign * columns]) @ plane.T, axis=1)
        for sign in (1, -1)
    ]
    bounds: NDArray[np.float64] = np.where(touched.any(axis=1), np.maximum(*diagonals), -1)
    return bounds


def _farthest(points_mm: NDArray[np.float64]) -> tuple[NDArray[np.intp], float]:
    """Which two of (N, 3) points are farthest apart, and how far; of ties the first."""
    best, pair = -1.0, (0, 0)
    step = max(1, DISTANCES_AT_ONCE // len(points_mm))
    for start in range(0, len(points_mm), step):
        distances = cdist(points_mm[start : start + step], points_mm)
        longest = float(distances.max())
        if longest * TIE > best:
            row, column = divmod(int(np.argmax(distances >= longest * TIE)), len(points_mm))
            best, pair = float(distances[row, column]), (start + row, column)
    return np.array(pair), best


def _longest_chord_across(
    hull_mm: NDArray[np.float64], ends_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The longest chord of a flat convex hull perpendicular to its diameter.

    The width of a convex polygon across a line is concave and piecewise linear along it, with its
    bends at the corners: one of them has the widest chord.

    Args:
        hull_mm: (N, 3) corners of the hull, in one plane.
        ends_mm: (2, 3) ends of its diameter. No corner lies beyond either.

    Returns:
        (2, 3) ends of the chord; where several are equally wide, of the one nearest to the middle.
    """
    offsets = hull_mm - ends_mm[0]
    length = np.linalg.norm(ends_mm[1] - ends_mm[0])
    along = (ends_mm[1] - ends_mm[0]) / length
    position = offsets @ along
    sideways = offsets - position[:, None] * along
    widest = sideways[np.argmax(np.linalg.norm(sideways, axis=1))]
    across = widest / np.linalg.norm(widest)
    height = sideways @ across
    on_the_line = 1e-9 * length
    upper = _chain(position, np.maximum(height, 0), height >= -on_the_line)
    lower = _chain(position, np.minimum(height, 0), height <= on_the_line)
    width = upper - lower
    candidates = np.flatnonzero(width >= width.max() * TIE)
    best = candidates[np.argmin(np.abs(position[candidates] - length / 2))]
    foot = ends_mm[0] + position[best] * along
    chord: NDArray[np.float64] = np.stack(
        [foot + lower[best] * across, foot + upper[best] * across]
    )
    return chord


def _chain(
    position: NDArray[np.float64], height: NDArray[np.float64], of_chain: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Height of the upper or the lower side of a hull at every corner's position."""
    corners = np.flatnonzero(of_chain)
    corners = corners[np.argsort(position[corners], kind="stable")]
    heights: NDArray[np.float64] = np.interp(position, position[corners], height[corners])
    return heights


def _diameter(ends_mm: NDArray[np.float64], origin_mm: NDArray[np.float64]) -> Diameter:
    """A diameter from its two ends relative to an origin."""
    length = float(np.linalg.norm(ends_mm[1] - ends_mm[0]))
    return Diameter(length, (_point(ends_mm[0] + origin_mm), _point(ends_mm[1] + origin_mm)))


def _point(position_mm: NDArray[np.float64]) -> Point:
    r, a, s = position_mm.tolist()
    return (r, a, s)
