"""What lies in a picture's plane: grey levels and outlines."""

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit
from medseg.formats.itk import resample

Outline = NDArray[np.float64]
"""(N, 2) mm right of and below the top left corner of a picture; closed if first equals last."""

PET_UNITS = (IntensityUnit.SUV, IntensityUnit.BQML)


@dataclass(frozen=True)
class GreyScale:
    """How intensities become greys.

    Attributes:
        low, high: The intensities at its two ends.
        unit: Their unit.
    """

    low: float
    high: float
    unit: IntensityUnit

    @property
    def inverted(self) -> bool:
        """Whether high is black, as PET is read: dark is hot, on white."""
        return self.unit in PET_UNITS

    @property
    def sentence(self) -> str:
        """What its reader has to know of it."""
        first, last = ("white", "black") if self.inverted else ("black", "white")
        before, after = {
            IntensityUnit.SUV: ("SUV ", ""),
            IntensityUnit.ARBITRARY: ("", ""),
        }.get(self.unit, ("", f" {self.unit}"))
        low, high = (f"{before}{value:g}{after}" for value in (self.low, self.high))
        return f"Grey scale: {first} is {low} or less, {last} is {high} or more."

    def levels(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Intensities as greys 0..255; values that are no numbers become 0."""
        shares = np.clip((np.nan_to_num(values) - self.low) / (self.high - self.low), 0, 1)
        greys: NDArray[np.uint8] = np.rint(255 * (1 - shares if self.inverted else shares)).astype(
            np.uint8
        )
        return greys


def sample(
    data: NDArray[np.float32] | NDArray[np.uint16],
    source: Geometry,
    target: Geometry,
    *,
    interpolation: Literal["linear", "nearest"],
    outside: float,
) -> NDArray[np.float32]:
    """`formats.itk.resample` of the part of the data that the target covers.

    Args:
        data: (I, J, K) on the source; labels are exact in float32.
        source: Where the data lies.
        target: Where values are wanted.
        interpolation: Between the eight neighbours, or the nearest one.
        outside: Value beyond the source.

    Returns:
        float32 of the target's shape.
    """
    corners = source.to_index(target.corners_mm)
    start = np.clip(np.floor(corners.min(axis=0)) - 1, 0, source.shape).astype(int)
    stop = np.clip(np.ceil(corners.max(axis=0)) + 2, 0, source.shape).astype(int)
    if (start >= stop).any():
        return np.full(target.shape, outside, np.float32)
    box = (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))
    part = data[box].astype(np.float32)
    return resample(part, source.crop(box), target, interpolation=interpolation, outside=outside)


def png(values: NDArray[np.float32], scale: GreyScale) -> str:
    """A picture as a data URL.

    Args:
        values: (columns, rows) intensities; not a number where nothing was acquired.
        scale: How they become greys.

    Returns:
        A greyscale PNG, transparent where nothing was acquired.
    """
    greys = scale.levels(values).T
    acquired = np.isfinite(values).T
    if acquired.all():
        picture = Image.fromarray(greys)
    else:
        alpha = np.where(acquired, 255, 0).astype(np.uint8)
        picture = Image.merge("LA", (Image.fromarray(greys), Image.fromarray(alpha)))
    stored = io.BytesIO()
    picture.save(stored, format="PNG", compress_level=6)
    return f"data:image/png;base64,{base64.b64encode(stored.getvalue()).decode('ascii')}"


def outlines(mask: NDArray[np.bool_], pixel_mm: float) -> list[Outline]:
    """The edges of a mask that was sampled to pixels much finer than the voxels.

    Args:
        mask: (columns, rows).
        pixel_mm: Size of a square pixel.

    Returns:
        The contours at 0.5, which run half a pixel outside the outermost centres; at the border of
        the picture they stay open, because what they enclose goes on there.
    """
    found = find_contours(mask.astype(np.float64), 0.5)
    return [(approximate_polygon(contour, tolerance=0.36) + 0.5) * pixel_mm for contour in found]
