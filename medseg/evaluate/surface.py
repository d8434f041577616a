"""Surfaces of masks, and how far two of them lie apart, in mm.

The surface is that of DeepMind's `surface-distance` (Nikolov et al. 2018, arXiv 1809.04430), which
BraTS and MONAI (`use_subvoxels`) use too: a surface element lies between the eight voxels of every
2 × 2 × 2 neighbourhood that the mask fills in part, and its area is that of marching cubes there.
Positions are in the patient, so an oblique or sheared grid needs no spacing.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import KDTree
from skimage.measure import marching_cubes

from medseg.core.geometry import Geometry

CORNERS = tuple(product((0, 1), repeat=3))
"""The eight voxels around a surface element, as steps from the lowest; the n-th is bit 7 - n."""

ROUNDING_MM = 1e-6
"""Slack for distances that are the tolerance but for the last bit, as between whole voxels."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The surface elements of one mask.

    Attributes:
        points_mm: (N, 3) their middles, RAS+ mm.
        areas_mm2: (N,) their areas.
    """

    points_mm: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]

    def and_also(self, other: "Surface") -> "Surface":
        """Both surfaces, of masks that do not touch."""
        return Surface(
            np.concatenate([self.points_mm, other.points_mm]),
            np.concatenate([self.areas_mm2, other.areas_mm2]),
        )


@dataclass(frozen=True)
class SurfaceScores:
    """How well two surfaces agree.

    Attributes:
        dice: Share of both surfaces' area that lies within the tolerance of the other (surface
            Dice, Nikolov et al. 2018); not a number where both are empty.
        hd95_mm: The larger of the two distances within which 95 % of one surface's area lies of
            the other; infinite where one is empty, 0 where both are.
    """

    dice: float
    hd95_mm: float


class Surfaces:
    """The surface of every label of a map, made when it is first asked for.

    Args:
        labels: (I, J, K) labels; 0 is background.
        geometry: Where that grid lies.
    """

    def __init__(self, labels: NDArray[np.integer], geometry: Geometry) -> None:
        self._labels = labels
        self._geometry = geometry
        self._boxes = find_objects(labels)
        self._made: dict[int, Surface] = {}

    def of(self, label: int) -> Surface:
        """The surface of one label. Raises: KeyError if it does not occur."""
        if label not in self._made:
            box = self._boxes[label - 1] if 0 < label <= len(self._boxes) else None
            if box is None:
                raise KeyError(label)
            start = tuple(s.start for s in box)
            self._made[label] = surface_of(self._labels[box] == label, self._geometry, start)
        return self._made[label]

    def whole(self) -> Surface:
        """The surface of all labels together."""
        return surface_of(self._labels > 0, self._geometry)


def surface_of(
    mask: NDArray[np.bool_], geometry: Geometry, start: tuple[int, ...] = (0, 0, 0)
) -> Surface:
    """The surface of a mask. Beyond the array is outside.

    Args:
        mask: Boolean (I, J, K), a part of the grid.
        geometry: Of the whole grid.
        start: Index of the mask's first voxel in it.
    """
    padded = np.pad(mask, 1)
    sizes = [n + 1 for n in mask.shape]
    codes = np.zeros(sizes, np.uint8)
    for bit, corner in enumerate(CORNERS):
        there = tuple(slice(c, c + n) for c, n in zip(corner, sizes, strict=True))
        codes |= padded[there].astype(np.uint8) << (7 - bit)
    where = np.argwhere((codes > 0) & (codes < 255))
    areas = _areas_mm2(geometry.affine[:3, :3].tobytes())
    return Surface(geometry.to_world(where - 0.5 + np.array(start)), areas[codes[tuple(where.T)]])


@cache
def _areas_mm2(linear: bytes) -> NDArray[np.float64]:
    """(256,) area of the surface in each 2 × 2 × 2 neighbourhood, by the part of it that is filled.

    Marching cubes of Lorensen and Cline 1987 on the side with fewer voxels, so that a mask and its
    complement have one surface.

    Args:
        linear: The linear part of the grid's affine.
    """
    matrix = np.frombuffer(linear).reshape(3, 3)
    areas = np.zeros(256)
    for code in range(1, 255):
        filled = code if code.bit_count() <= 4 else 255 - code
        cube = np.array([filled >> (7 - bit) & 1 for bit in range(8)], np.float32).reshape(2, 2, 2)
        points, triangles, _, _ = marching_cubes(cube, 0.5, method="lorensen")
        a, b, c = (points @ matrix.T)[triangles].swapaxes(0, 1).astype(np.float64)
        areas[code] = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return areas


def compare(one: Surface, other: Surface, tolerance_mm: float) -> SurfaceScores:
    """How well two surfaces agree."""
    if not len(one.points_mm) and not len(other.points_mm):
        return SurfaceScores(float("nan"), 0.0)
    if not len(one.points_mm) or not len(other.points_mm):
        return SurfaceScores(0.0, float("inf"))
    away = [KDTree(to.points_mm).query(of.points_mm)[0] for of, to in ((one, other), (other, one))]
    areas = (one.areas_mm2, other.areas_mm2)
    within = sum(
        float(area[distance <= tolerance_mm + ROUNDING_MM].sum())
        for distance, area in zip(away, areas, strict=True)
    )
    hd95 = max(_percentile(d, area, 0.95) for d, area in zip(away, areas, strict=True))
    return SurfaceScores(within / float(areas[0].sum() + areas[1].sum()), hd95)


def _percentile(distances: NDArray[np.float64], areas: NDArray[np.float64], share: float) -> float:
    """The least distance within which at least that share of the area lies."""
    order = np.argsort(distances, kind="stable")
    reached = np.cumsum(areas[order]) / areas.sum()
    row = min(int(np.searchsorted(reached, share)), len(distances) - 1)
    return float(distances[order][row])
