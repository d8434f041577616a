"""Instances from the model's grid on the acquired one, numbered for the reader."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_position

from medseg.core.geometry import Geometry
from medseg.core.instances import MAX_INSTANCES
from medseg.core.study import QualityFlag
from medseg.errors import ModelError
from medseg.formats.itk import resample
from medseg.segment.separate import Separated

CORNERS = tuple(product((0, 1), repeat=3))
"""The eight voxels around a point, as steps from the lowest."""

CHUNK = 1_000_000
"""Voxels that are looked up at a time, to bound the memory."""


def restore(
    separated: Separated, acquired: Geometry
) -> tuple[NDArray[np.uint16], tuple[int, ...], tuple[QualityFlag, ...]]:
    """Bring instances from the model's grid to the acquired one.

    A voxel of the acquired grid is foreground where the foreground, interpolated linearly, reaches
    the threshold. At least one of the eight voxels of the model's grid around it does so too; it
    gets the label that has the largest part in its interpolation. Voxels around one point touch
    each other, so without several structures all eight are of one component: no label can leak
    into another, nor into what was dropped.

    An instance that falls between the voxels of the acquired grid is given the one nearest to its
    most likely voxel, and a flag that names it; only where that one is taken or beyond the grid is
    it lost, and a flag says so.

    Numbers run from 1, the instance with most voxels first; at equal size the one whose centroid
    lies highest (S), then farthest in front (A), then farthest right (R).

    Returns:
        (I, J, K) uint16 labels on the acquired grid, for each label the one that it had in
        `separated`, and flags.

    Raises:
        ModelError: There are more instances than labels can tell apart.
    """
    count = len(separated.structures)
    if count > MAX_INSTANCES:
        raise ModelError(
            f"The model separates {count} instances, more than the {MAX_INSTANCES} that a label "
            "map can hold, so nothing was written.",
            "Check that the model fits this kind of series, or raise foreground_threshold.",
        )
    labels = _labels_on(separated, acquired)
    rescued, lost = _rescue(labels, separated, acquired)
    order = _reading_order(labels, acquired)
    number = np.zeros(count + 1, np.uint16)
    number[order] = np.arange(1, len(order) + 1)
    flags = _flags(sorted(int(number[n]) for n in rescued), len(lost))
    return number[labels], tuple(int(n) for n in order), flags


def _labels_on(separated: Separated, acquired: Geometry) -> NDArray[np.uint16]:
    """The separated labels on the acquired grid, not yet renumbered."""
    foreground = resample(
        separated.foreground, separated.geometry, acquired, interpolation="linear", outside=0
    )
    where = np.flatnonzero(foreground >= separated.threshold)
    del foreground
    labels = np.zeros(acquired.shape, np.uint16)
    flat = labels.reshape(-1)
    for start in range(0, len(where), CHUNK):
        some = where[start : start + CHUNK]
        indices = np.stack(np.unravel_index(some, acquired.shape), axis=-1)
        at = separated.geometry.to_index(acquired.to_world(indices))
        flat[some] = _largest_part(separated, at)
    return labels


def _largest_part(separated: Separated, at: NDArray[np.float64]) -> NDArray[np.int32]:
    """For each (N, 3) point the label with the largest part in the foreground interpolated there.

    Of equal parts the lower label's. 0 where no voxel around the point has a label.
    """
    last = np.array(separated.geometry.shape) - 1
    at = np.clip(at, 0, last)
    low = np.minimum(np.floor(at).astype(int), np.maximum(last - 1, 0))
    share = at - low
    labels = np.zeros((len(at), 8), np.int32)
    parts = np.zeros((len(at), 8), np.float32)
    for n, corner in enumerate(CORNERS):
        voxel = tuple(np.minimum(low + corner, last).T)
        weight = np.prod(np.where(corner, share, 1 - share), axis=1)
        labels[:, n] = separated.labels[voxel]
        parts[:, n] = np.where(labels[:, n] > 0, weight * separated.foreground[voxel], 0)
    result: NDArray[np.int32] = labels.max(axis=1)
    contested = np.flatnonzero(((labels > 0) & (labels != result[:, None])).any(axis=1))
    rivals, parts = labels[contested], parts[contested]
    total = np.zeros_like(parts)
    for n in range(8):
        total += np.where(rivals == rivals[:, n : n + 1], parts[:, n : n + 1], 0)
    total[rivals == 0] = -1
    best = total >= total.max(axis=1, keepdims=True) - 1e-6
    result[contested] = np.where(best, rivals, np.iinfo(np.int32).max).min(axis=1)
    return result


def _rescue(
    labels: NDArray[np.uint16], separated: Separated, acquired: Geometry
) -> tuple[list[int], list[int]]:
    """Give each instance without a voxel the nearest one, in place; the rescued and the lost."""
    present = np.bincount(labels.ravel(), minlength=len(separated.structures) + 1) > 0
    missing = [int(n) for n in np.flatnonzero(~present) if n > 0]
    if not missing:
        return [], []
    peaks = np.array(maximum_position(separated.foreground, separated.labels, missing), float)
    nearest = np.rint(acquired.to_index(separated.geometry.to_world(peaks))).astype(int)
    rescued: list[int] = []
    lost: list[int] = []
    for number, voxel in zip(missing, map(tuple, nearest), strict=True):
        inside = all(0 <= n < size for n, size in zip(voxel, acquired.shape, strict=True))
        if inside and labels[voxel] == 0:
            labels[voxel] = number
            rescued.append(number)
        else:
            lost.append(number)
    return rescued, lost


def _reading_order(labels: NDArray[np.uint16], geometry: Geometry) -> NDArray[np.intp]:
    """The labels that occur: largest first, then by the centroid, highest S, A, R first."""
    where = np.flatnonzero(labels)
    numbers = labels.reshape(-1)[where]
    size = np.bincount(numbers)
    found = np.flatnonzero(size)
    indices = np.unravel_index(where, labels.shape)
    sums = np.stack([np.bincount(numbers, axis)[found] for axis in indices], axis=-1)
    # Rounded, so that the last bit does not decide when the same grid is stored in another order.
    r, a, s = np.round(geometry.to_world(sums / size[found, None]), 3).T
    return found[np.lexsort((-r, -a, -s, -size[found]))]


def _flags(rescued: Sequence[int], lost: int) -> tuple[QualityFlag, ...]:
    """The doubts about instances that are too small for the acquired grid."""
    flags: list[QualityFlag] = []
    if rescued:
        names = ", ".join(str(n) for n in rescued)
        flags.append(
            QualityFlag(
                "smaller-than-voxel",
                f"Instance {names}: smaller than a voxel of the series and shown as one voxel, so "
                "its size is not measured but that of the voxel.",
            )
        )
    if lost:
        flags.append(
            QualityFlag(
                "instance-lost",
                f"The model separates {lost} more, too small for the voxels of the series or "
                "beyond its edge; they are neither shown nor counted.",
            )
        )
    return tuple(flags)
