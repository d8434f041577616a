"""Organs of a dense prediction, each one instance on the acquired grid.

A lesion may be anywhere and in any number; an organ is one thing of a known name. So nothing is
split here, and what is not part of the thing is left out:

1. A voxel of the model's grid belongs to the organ that is most likely there, if that reaches
   `foreground_threshold`.
2. Of an organ's components (26-connectivity) the largest is kept, and every other one of at least
   `organ_part_share` of its size. A smaller one is another thing that looks alike.
3. What was dropped is the next most likely organ's where that one reaches the threshold, so a left
   parotid with a speck called right comes out whole.
4. A voxel of the acquired grid is organ where the highest of the probabilities that remain,
   interpolated linearly, reaches the threshold: so no gap opens between two that touch. It is the
   organ whose own probability, interpolated there, is the highest.

Left and right are structures of their own, told apart by the model in RAS+, never by an array's
order.
"""

from collections.abc import Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.core.study import QualityFlag
from medseg.formats.itk import resample

Box = tuple[slice, slice, slice]


def organs_on(
    prediction: VoxelPrediction, acquired: Geometry, settings: SegmentSettings
) -> tuple[NDArray[np.uint16], tuple[QualityFlag, ...]]:
    """The organs of a prediction on the acquired grid.

    Args:
        prediction: Of organs alone.
        acquired: Where labels are wanted.
        settings: Of the protocol.

    Returns:
        (I, J, K) uint16, n where the n-th structure of the prediction is; and the doubts: organs
        that were not found, and organs in several parts.
    """
    cleaned, parts = drop_parts(prediction, settings)
    labels = np.zeros(acquired.shape, np.uint16)
    where = _where(cleaned.max(axis=0), prediction.geometry, acquired, settings)
    if where is not None:
        here, there, grid = where
        source = prediction.geometry.crop(here)
        best = np.zeros(grid.shape, np.float32)
        likeliest = np.zeros(grid.shape, np.uint16)
        for number, probability in enumerate(cleaned, start=1):
            likely = _onto(probability[here], source, grid)
            wins = likely > best
            best[wins] = likely[wins]
            likeliest[wins] = number
        foreground = _onto(cleaned[(slice(None), *here)].max(axis=0), source, grid)
        labels[there] = np.where(foreground >= settings.foreground_threshold, likeliest, 0)
    found = set(np.unique(labels).tolist())
    lacking = [name for n, name in enumerate(prediction.structures, 1) if n not in found]
    return labels, _flags(lacking, [n for n in parts if n not in lacking])


def drop_parts(
    prediction: VoxelPrediction, settings: SegmentSettings
) -> tuple[NDArray[np.float32], list[str]]:
    """The probabilities without the parts that do not belong to their organ.

    Returns:
        (S, I, J, K) float32, 0 in the parts that were dropped; and the organs that kept several.
    """
    cleaned = prediction.probabilities.copy()
    several: set[str] = set()
    dropped = True
    while dropped:  # a part that another organ takes over may be too small for that one too
        dropped = False
        several.clear()
        likely = cleaned.max(axis=0)
        for name, probability in zip(prediction.structures, cleaned, strict=True):
            mask = (probability >= settings.foreground_threshold) & (probability == likely)
            found, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
            if count < 2:
                continue
            sizes = np.bincount(found.ravel())[1:]
            kept = sizes >= settings.organ_part_share * sizes.max()
            if np.count_nonzero(kept) > 1:
                several.add(name)
            if not kept.all():
                probability[np.concatenate(([False], ~kept))[found]] = 0
                dropped = True
    return cleaned, [name for name in prediction.structures if name in several]


def _onto(
    probability: NDArray[np.float32], source: Geometry, target: Geometry
) -> NDArray[np.float32]:
    given = np.ascontiguousarray(probability)
    return resample(given, source, target, interpolation="linear", outside=0)


def _where(
    likely: NDArray[np.float32], source: Geometry, target: Geometry, settings: SegmentSettings
) -> tuple[Box, Box, Geometry] | None:
    """The box of the source that holds organs, the target's box around it, and that box's grid.

    A whole scan is much larger than the organs of a model. None where there is no organ, or the
    target does not reach it.
    """
    found = find_objects((likely >= settings.foreground_threshold).view(np.uint8))
    if not found or found[0] is None:
        return None
    here = _box([s.start - 1 for s in found[0]], [s.stop + 1 for s in found[0]], source.shape)
    corners = target.to_index(source.crop(here).corners_mm)
    low = np.floor(corners.min(axis=0)).astype(int) - 1
    high = np.ceil(corners.max(axis=0)).astype(int) + 2
    if (high <= 0).any() or (low >= target.shape).any():
        return None
    there = _box(low.tolist(), high.tolist(), target.shape)
    return here, there, target.crop(there)


def _box(low: Sequence[int], high: Sequence[int], shape: tuple[int, int, int]) -> Box:
    """From low to high, within the shape."""
    i, j, k = (
        slice(max(0, first), min(n, last)) for first, last, n in zip(low, high, shape, strict=True)
    )
    return i, j, k


def _flags(lacking: Sequence[str], several: Sequence[str]) -> tuple[QualityFlag, ...]:
    """The doubts about organs that are not there, or not whole."""
    flags: list[QualityFlag] = []
    if lacking:
        flags.append(
            QualityFlag(
                "organ-not-found",
                f"Not found: {_words(lacking)}. The series may not show them, they may have been "
                "removed, or the model missed them.",
            )
        )
    if several:
        flags.append(
            QualityFlag(
                "organ-in-parts",
                f"In several parts: {_words(several)}. Something may lie between them, or a part "
                "may be another structure; check the outlines before using the volumes.",
            )
        )
    return tuple(flags)


def _words(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)
