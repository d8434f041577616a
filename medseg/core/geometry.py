"""Where a voxel grid lies in the patient."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

AXIS_CODES = ("LR", "PA", "IS")
"""Names of the negative and the positive end of the three RAS+ world axes."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """One voxel grid in the patient, in RAS+ mm.

    Attributes:
        shape: Number of voxels (I, J, K), each at least 1.
        affine: (4, 4) float64, read-only; maps the index of a voxel's centre to RAS+ mm. Any
            invertible one is allowed: oblique, left-handed, sheared.
        frame_of_reference: DICOM Frame of Reference UID, or None where the source has none.

    Raises:
        ValueError: The shape is not three positive numbers, or the affine is not an invertible,
            finite map with a last row of 0 0 0 1.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    frame_of_reference: str | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a grid needs three positive sizes, not {self.shape}")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("an affine is a finite 4x4 matrix")
        if not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise ValueError(f"the last row of an affine is 0 0 0 1, not {affine[3]}")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-6:
            raise ValueError("an affine must be invertible")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance in mm between neighbours along each array axis."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(i), float(j), float(k))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel: |det| of the affine's linear part, so shear is counted rightly."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """The anatomical direction that each array axis runs towards: R, L, A, P, S or I."""
        codes: list[str] = []
        for axis, world in enumerate(self.world_axes):
            forward = self.affine[world, axis] > 0
            codes.append(AXIS_CODES[world][int(forward)])
        return (codes[0], codes[1], codes[2])

    @property
    def world_axes(self) -> tuple[int, int, int]:
        """For each array axis the world axis (0 R, 1 A, 2 S) it lies nearest to, each once."""
        direction = np.abs(self.affine[:3, :3] / np.array(self.spacing_mm))
        return max(
            ((a, b, c) for a, b, c in product(range(3), repeat=3) if {a, b, c} == {0, 1, 2}),
            key=lambda order: sum(direction[world, axis] for axis, world in enumerate(order)),
        )

    @property
    def axial_axis(self) -> int:
        """The array axis that steps from one axial slice to the next (nearest to S)."""
        return self.world_axes.index(2)

    @property
    def corners_mm(self) -> NDArray[np.float64]:
        """(8, 3) RAS+ positions of the centres of the eight corner voxels."""
        return self.to_world(np.array(list(product(*[(0, n - 1) for n in self.shape])), float))

    def to_world(self, indices: NDArray[np.floating | np.integer]) -> NDArray[np.float64]:
        """Map (..., 3) voxel indices, fractions allowed, to (..., 3) RAS+ mm."""
        points: NDArray[np.float64] = indices @ self.affine[:3, :3].T + self.affine[:3, 3]
        return points

    def to_index(self, points_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map (..., 3) RAS+ mm to (..., 3) fractional voxel indices."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        indices: NDArray[np.float64] = (points_mm - self.affine[:3, 3]) @ inverse.T
        return indices

    def matches(self, other: "Geometry", tolerance_mm: float = 0.01) -> bool:
        """Whether both are the same grid: same shape, and corners no further apart than tolerated.

        Two frames of reference that are both known and differ never match: equal coordinates in
        different frames are different places.
        """
        frames = {self.frame_of_reference, other.frame_of_reference} - {None}
        if len(frames) > 1 or self.shape != other.shape:
            return False
        distance = np.linalg.norm(self.corners_mm - other.corners_mm, axis=1)
        return bool(distance.max() <= tolerance_mm)

    def crop(self, box: tuple[slice, slice, slice]) -> "Geometry":
        """The grid of `array[box]`; slices need a start and a stop within the grid, step 1."""
        start = np.array([s.start for s in box])
        shape = tuple(s.stop - s.start for s in box)
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(start)
        return Geometry((shape[0], shape[1], shape[2]), affine, self.frame_of_reference)
