"""The voxels of one instance, cut out of its volume and turned towards R, A and S."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap
from medseg.core.volume import Volume

Scalar = TypeVar("Scalar", bound=np.generic)
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Turn:
    """The order and the direction of array axes in which they run nearest to R, A and S.

    A tie between slices and the triangles of a mesh depend on the order of the axes in storage.
    The patient does not: everything is measured on turned arrays, whose last axis is the axial one
    and runs upwards. Turning is a view; no voxel is moved or resampled.

    Attributes:
        stored: The grid as it is stored.
        order: For R, A and S the stored axis that lies nearest.
        flipped: For R, A and S whether that axis is stored backwards.
    """

    stored: Geometry
    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @property
    def geometry(self) -> Geometry:
        """The turned grid: the same voxels in the same places."""
        sizes = [self.stored.shape[axis] for axis in self.order]
        first = np.zeros(3)
        affine = self.stored.affine.copy()
        for world, axis in enumerate(self.order):
            first[axis] = sizes[world] - 1 if self.flipped[world] else 0
            sign = -1.0 if self.flipped[world] else 1.0
            affine[:3, world] = sign * self.stored.affine[:3, axis]
        affine[:3, 3] = self.stored.to_world(first)
        return Geometry((sizes[0], sizes[1], sizes[2]), affine, self.stored.frame_of_reference)

    def view(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """The stored (I, J, K) array as a turned view."""
        steps = tuple(slice(None, None, -1 if flip else None) for flip in self.flipped)
        return array.transpose(self.order)[steps]

    def stored_slice(self, axial: int) -> int:
        """The stored index, along the axial axis, of a slice of the turned grid."""
        return self.stored.shape[self.order[2]] - 1 - axial if self.flipped[2] else axial


def turn_towards_ras(geometry: Geometry) -> Turn:
    """The turn that makes the axes of a grid run nearest to R, A and S."""
    worlds = geometry.world_axes
    order = (worlds.index(0), worlds.index(1), worlds.index(2))
    backwards = [bool(geometry.affine[world, axis] < 0) for world, axis in enumerate(order)]
    return Turn(geometry, order, (backwards[0], backwards[1], backwards[2]))


@dataclass(frozen=True, eq=False)
class Region:
    """The voxels of one instance: a voxel is a box (docs/decisions/0003).

    Attributes:
        instance: Whose voxels.
        box: Its bounding box in the turned grid.
        mask: (A, B, C) boolean, of the box; no outer layer is empty.
        values: (N,) float64 intensities of its voxels.
        geometry: Where the box lies; its axes run nearest to R, A and S.
        touches_edge: A voxel is the first or the last of the whole grid along an axis.
    """

    instance: Instance
    box: Box
    mask: NDArray[np.bool_]
    values: NDArray[np.float64]
    geometry: Geometry
    touches_edge: bool

    @property
    def voxel_count(self) -> int:
        """Number of its voxels."""
        return self.values.size

    @property
    def volume_mm3(self) -> float:
        """Number of its voxels times the volume of one."""
        return self.voxel_count * self.geometry.voxel_volume_mm3

    @property
    def centroid_mm(self) -> tuple[float, float, float]:
        """Mean of the centres of its voxels, RAS+ mm."""
        means = [
            self.mask.sum(axis=others) @ np.arange(self.mask.shape[axis]) / self.voxel_count
            for axis, others in enumerate(((1, 2), (0, 2), (0, 1)))
        ]
        r, a, s = self.geometry.to_world(np.array(means))
        return (float(r), float(a), float(s))


def regions(instances: InstanceMap, volume: Volume, turn: Turn) -> Iterator[Region]:
    """Cut out every instance, in the order of the labels.

    One pass over the grid finds all bounding boxes; what follows is paid for the box alone.
    """
    labels = turn.view(instances.labels)
    data = turn.view(volume.data)
    geometry = turn.geometry
    boxes = ndimage.find_objects(labels)
    for instance in instances.instances:
        box: Box = boxes[instance.label - 1]
        mask = labels[box] == instance.label
        yield Region(
            instance=instance,
            box=box,
            mask=mask,
            values=data[box][mask].astype(np.float64),
            geometry=geometry.crop(box),
            touches_edge=any(
                s.start == 0 or s.stop == n for s, n in zip(box, geometry.shape, strict=True)
            ),
        )
