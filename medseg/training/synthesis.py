"""Scenes to learn from: a view of a case, and tumours of other cases added to it.

Uptake adds up: what a scanner shows of two sources is the sum of what it shows of each. So a
tumour is taken from its case as its excess over the tissue around it, blurred edge included, and
added elsewhere. Where two are put side by side their tails overlap as they would in a patient, and
which voxel belongs to which is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.config import ContextSettings, Spacing
from medseg.core.geometry import Geometry
from medseg.formats.itk import resample
from medseg.model.networks.context import margin
from medseg.training.datasets import Case, Lesion
from medseg.training.physiology import MIRRORED

Shape = tuple[int, int, int]

POINT_SPREAD_MM = 2.5
"""Standard deviation of the blur that a shrunk tumour has lost: clinical PET resolves about 6 mm
full width at half maximum (Soret et al. 2007, doi 10.2967/jnumed.106.035774)."""


@dataclass(frozen=True, eq=False)
class Placed:
    """An instance in a scene, whole even where the scene shows a part.

    Attributes:
        centre_mm: (3,) relative to the centre of the scene's first voxel.
        radius_mm: Radius of the ball of its volume.
    """

    centre_mm: NDArray[np.float64]
    radius_mm: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A crop to learn from.

    Attributes:
        image: (I, J, K) float32, SUV.
        labels: (I, J, K) uint16; n is instance n of `placed`, from 1.
        spacing_mm: Between its voxels.
        placed: The instances that lie in it or reach into it.
        organs: (I, J, K) codes of `training.physiology.ORGANS`; None where none are outlined.
        outlined: The organs that are.
        context: SUV of the surroundings on a coarse grid, the scene in their middle; None where
            they are not wanted.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.uint16]
    spacing_mm: Spacing
    placed: tuple[Placed, ...]
    organs: NDArray[np.uint8] | None = None
    outlined: tuple[str, ...] = ()
    context: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Tumour:
    """A lesion on its own, turned and scaled, on a small grid.

    Attributes:
        excess: (I, J, K) float32, SUV above the tissue that was around it.
        mask: (I, J, K) where it is, at least a voxel away from the grid's ends.
        spacing_mm: Between its voxels.
    """

    excess: NDArray[np.float32]
    mask: NDArray[np.bool_]
    spacing_mm: Spacing

    @property
    def placed(self) -> Placed:
        """Where it lies on its own grid."""
        places = np.argwhere(self.mask)
        volume_mm3 = len(places) * float(np.prod(self.spacing_mm))
        return Placed(
            places.mean(axis=0) * self.spacing_mm, float((3 * volume_mm3 / 4 / np.pi) ** (1 / 3))
        )


def grid(shape: Shape, spacing_mm: Spacing, to_source: NDArray[np.float64]) -> Geometry:
    """The voxels of a scene as they lie in a source.

    Args:
        shape: Voxels of the scene.
        spacing_mm: Between them.
        to_source: (4, 4) from mm in the scene to RAS+ mm of the source: the augmentation.
    """
    return Geometry(shape, to_source @ np.diag([*spacing_mm, 1.0]))


def view(case: Case, shape: Shape, spacing_mm: Spacing, to_source: NDArray[np.float64]) -> Scene:
    """A case as seen through a placement; beyond its image there is air.

    Args:
        case: The source.
        shape: Voxels of the scene.
        spacing_mm: Between them.
        to_source: (4, 4) from mm in the scene to RAS+ mm of the case.
    """
    target = grid(shape, spacing_mm, to_source)
    image = resample(case.image, case.geometry, target, interpolation="linear", outside=0)
    labels = np.zeros(shape, np.uint16)
    placed: list[Placed] = []
    inverse = np.linalg.inv(to_source)
    scale_and_side = float(np.linalg.det(inverse))
    scale = abs(scale_and_side) ** (1 / 3)
    for lesion in case.lesions:
        mask = _mask(case, lesion, target)
        if mask.any():
            placed.append(
                Placed(
                    inverse[:3, :3] @ lesion.centre_mm + inverse[:3, 3], lesion.radius_mm * scale
                )
            )
            labels[mask] = len(placed)
    organs = None
    if case.organs is not None:
        organs = nearest(case.organs, case.geometry, target)
        if scale_and_side < 0:
            organs = mirrored(organs)
    return Scene(image, labels, spacing_mm, tuple(placed), organs, case.outlined)


def around(
    case: Case,
    context: ContextSettings,
    shape: Shape,
    spacing_mm: Spacing,
    to_source: NDArray[np.float64],
) -> NDArray[np.float32]:
    """What lies around a view of a case, on the coarse grid; beyond its image there is air."""
    first = (
        np.array([-f * context.factor for f in margin(context, shape)]) + (context.factor - 1) / 2
    )
    place = np.eye(4)
    place[:3, 3] = first * spacing_mm
    r, a, s = (mm * context.factor for mm in spacing_mm)
    image, geometry = case.coarse
    target = grid(context.tile, (r, a, s), to_source @ place)
    return resample(image, geometry, target, interpolation="linear", outside=0)


def nearest(codes: NDArray[np.uint8], source: Geometry, target: Geometry) -> NDArray[np.uint8]:
    """The code of the nearest voxel; 0 beyond the source."""
    matrix = (np.linalg.inv(source.affine) @ target.affine).astype(np.float32)
    inside = np.ones(target.shape, bool)
    flat = np.zeros(target.shape, np.int64)
    i, j, k = np.ogrid[tuple(slice(n) for n in target.shape)]
    for axis, length in enumerate(source.shape):
        place = matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k + matrix[axis, 3]
        index = np.rint(place).astype(np.int64)
        inside &= (index >= 0) & (index < length)
        flat = flat * length + np.clip(index, 0, length - 1)
    found: NDArray[np.uint8] = np.where(inside, codes.ravel()[flat], 0)
    return found


def mirrored(organs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same codes for a patient in a mirror, where the left kidney lies to the right."""
    table = np.arange(256, dtype=np.uint8)
    for code, other in MIRRORED.items():
        table[code] = other
    return table[organs]


def cut_out(
    case: Case, lesion: Lesion, spacing_mm: Spacing, rotation: NDArray[np.float64], scale: float
) -> Tumour:
    """A lesion on its own.

    Args:
        case: Whose it is.
        lesion: Which one.
        spacing_mm: Of the grid that it is wanted on.
        rotation: (3, 3) orthogonal; may mirror.
        scale: Size in the result over size in the patient.
    """
    half = [_reach_mm(case, lesion) * scale + 12 for _ in range(3)]
    shape = tuple(int(2 * h / s) + 1 for h, s in zip(half, spacing_mm, strict=True))
    to_source = np.eye(4)
    to_source[:3, :3] = rotation / scale
    to_source[:3, 3] = lesion.centre_mm - to_source[:3, :3] @ half
    target = grid((shape[0], shape[1], shape[2]), spacing_mm, to_source)
    mask = _mask(case, lesion, target)
    image = resample(case.image, case.geometry, target, interpolation="linear", outside=0)
    reach = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    ring = (reach > 10) & (reach < 20) & (image > 0.1)
    around = float(np.median(image[ring])) if ring.any() else 0.5
    fade = np.clip(1.5 - reach / 10, 0, 1)  # whole up to 5 mm outside, gone at 15 mm
    excess = np.clip(image - around, 0, None) * fade
    blur_mm = POINT_SPREAD_MM * np.sqrt(max(0.0, 1 - scale**2))
    excess = ndimage.gaussian_filter(excess, [blur_mm / s for s in spacing_mm])
    return trim(Tumour(excess.astype(np.float32), mask, spacing_mm))


def trim(tumour: Tumour) -> Tumour:
    """The same on the smallest grid that holds what there is of it."""
    there = (tumour.excess > 0.02) | ndimage.binary_dilation(tumour.mask)
    box = ndimage.find_objects(there.astype(np.uint8))[0]
    return Tumour(tumour.excess[box], tumour.mask[box], tumour.spacing_mm)


def add(scene: Scene, tumour: Tumour, corner: Sequence[int]) -> Scene:
    """A scene with one tumour more; voxels of an earlier instance stay its own.

    Args:
        scene: The scene.
        tumour: On a grid of the same spacing.
        corner: Index in the scene of the tumour's first voxel; any part may lie outside.
    """
    starts = [max(0, c) for c in corner]
    stops = [
        min(n, c + m) for n, c, m in zip(scene.image.shape, corner, tumour.mask.shape, strict=True)
    ]
    if any(stop <= start for start, stop in zip(starts, stops, strict=True)):
        return scene
    here = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
    there = tuple(slice(a - c, b - c) for a, b, c in zip(starts, stops, corner, strict=True))
    image, labels = scene.image.copy(), scene.labels.copy()
    image[here] += tumour.excess[there]
    mine = tumour.mask[there] & (labels[here] == 0)
    if not mine.any():
        return replace(scene, image=image)
    labels[here][mine] = len(scene.placed) + 1
    own = tumour.placed
    moved = Placed(own.centre_mm + np.array(corner) * scene.spacing_mm, own.radius_mm)
    return replace(scene, image=image, labels=labels, placed=(*scene.placed, moved))


def beside(
    first: Tumour, second: Tumour, direction: NDArray[np.float64]
) -> tuple[int, int, int] | None:
    """Where the second must begin, in the first's grid, to touch it without overlap.

    The second comes in along the direction, a voxel at a time, until the next step would overlap;
    so at least one voxel of it is a neighbour (26) of the first.

    Args:
        first: Stays.
        second: Is moved.
        direction: (3,) mm, from the first's centre to the second's.

    Returns:
        Index of the second's first voxel, or None where they miss each other.
    """
    spacing = np.array(first.spacing_mm)
    step = direction / spacing
    step = step / np.abs(step).max()
    a, b = np.argwhere(first.mask), np.argwhere(second.mask)
    begin = np.round(a.mean(axis=0) - b.mean(axis=0)).astype(int)
    reach = int(np.abs(np.ptp(a, axis=0)).max() + np.abs(np.ptp(b, axis=0)).max()) + 2
    previous = None
    for n in range(reach, -1, -1):
        corner = begin + np.round(n * step).astype(int)
        places = b + corner
        inside = ((places >= 0) & (places < first.mask.shape)).all(axis=1)
        if first.mask[tuple(places[inside].T)].any():
            return previous
        previous = (int(corner[0]), int(corner[1]), int(corner[2]))
    return None


def _mask(case: Case, lesion: Lesion, target: Geometry) -> NDArray[np.bool_]:
    """Where a lesion covers at least half of a target voxel, by linear interpolation."""
    box = tuple(
        slice(max(0, s.start - 1), min(n, s.stop + 1))
        for s, n in zip(lesion.box, case.labels.shape, strict=True)
    )
    there = (case.labels[box] == lesion.label).astype(np.float32)
    source = case.geometry.crop((box[0], box[1], box[2]))
    mask: NDArray[np.bool_] = (
        resample(there, source, target, interpolation="linear", outside=0) >= 0.5
    )
    return mask


def _reach_mm(case: Case, lesion: Lesion) -> float:
    """Distance from the lesion's centre to the farthest corner of its box."""
    corners = case.geometry.crop(lesion.box).corners_mm
    return float(np.linalg.norm(corners - lesion.centre_mm, axis=1).max())
