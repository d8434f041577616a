"""The look of an image: what a radiologist sees and headers often do not say.

Each is one number with one limit. `tests/unit/ingest/test_look.py` shows kernel and correction on
images made by the physics that they tell: projections filtered back with known kernels, and the
real PET with its attenuation put back; and units on real images.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit
from medseg.errors import InputError
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.dicom_stack import Stack

SLICES = 9
"""Slices that are looked at, evenly over the volume."""

LEAST_PIXELS = 400
"""Of tissue in a slice: a correlation or a median of fewer says little."""

SOFT_TISSUE_HU = (-150.0, 200.0)

SHARP_BELOW = 0.3
"""Correlation of the noise of neighbouring pixels. Filtered back projection with a ramp or
Shepp-Logan filter (sharp) gives 0.1 to 0.27, with cosine, Hamming and Hann (soft) 0.46 to 0.67,
whatever the dose; real series with GE's STANDARD 0.34 to 0.50, with Siemens' Br38 0.7."""

UNCORRECTED_FROM = 1.2
"""Uptake of the outer 2 cm of the body over that of its core, the median of the slices. 0.7 in a
real whole body (0.4 to 0.9 in its slices), 2.4 in the same body with its attenuation put back (1.1
to 4.9); 1 where uptake is the same everywhere."""

PADDING_SHARE = 0.01
"""The lowest value is padding where more voxels than this hold it; noise seldom has its lowest."""

LOWEST_HU = -50.0
"""A whole CT has voxels below it: fat has about -100, air -1000."""

FAT_AND_AIR_SHARE = 0.1
"""A CT has that many voxels below it, clipped ones too: a quarter of a body is fat. A PET has some
at most, where it was interpolated into padding."""

NEGATIVE_SUV_SHARE = 0.01
"""No uptake is negative; interpolation leaves few voxels below -1, noise more."""

BRIGHT_FROM = 0.1
"""Of the 99th percentile: air is most of a whole body, and a bladder less than a hundredth."""

BRIGHT_SUV = 25.0
"""Median of the bright part. 40 real PETs around a tumour have 0.4 to 7.3, a whole body 0.6,
our phantoms 0.5 to 10.4, four real FLAIRs 67 to 235."""

BRIGHT_BEYOND_SUV = 100.0
"""Only a bladder may have more, and a crop of one is rare. Activity in Bq/mL has 500 to 5000 times
the SUV, so at least 200."""

MASK_VALUES = 32
"""A mask holds no more whole numbers, or is not told from an image; an image has hundreds."""

MARGIN = 3
"""Pixels: a body closer to the edge of the slice is cut, and its rim is not its skin."""

RIM_MM = 20.0
CORE_MM = 40.0


@dataclass(frozen=True)
class UnitDoubt:
    """Why intensities do not look like those of a unit.

    Attributes:
        reason: A clause.
        is_certain: Whether no image in the unit looks so; else few do.
    """

    reason: str
    is_certain: bool = False


def kernel(accepted: Stack) -> Literal["soft", "sharp"] | None:
    """How a CT was reconstructed; None where too little soft tissue is seen."""
    shares = [
        share for image in _some_slices(accepted) if (share := noise_correlation(image)) is not None
    ]
    if not shares:
        return None
    return "sharp" if float(np.median(shares)) < SHARP_BELOW else "soft"


def is_uncorrected(accepted: Stack) -> bool | None:
    """Whether a PET looks as without attenuation correction; None where no body is seen."""
    spacing = accepted.geometry.spacing_mm[:2]
    ratios = [
        ratio
        for image in _some_slices(accepted)
        if (ratio := rim_over_core(image, spacing)) is not None
    ]
    return float(np.median(ratios)) >= UNCORRECTED_FROM if ratios else None


def unit_doubt(data: NDArray[np.float32], unit: IntensityUnit) -> UnitDoubt | None:
    """Why intensities do not look like those of a unit that nothing states; None where they do.

    Padding is left out. What values cannot tell is passed: activity in kBq/mL, which is 0.5 to 5
    times the SUV, and an MR that was scaled to 0..1.

    Args:
        data: (I, J, K), finite.
        unit: Taken to be theirs.
    """
    if is_mask(data):
        return UnitDoubt("it holds a few whole numbers alone, as a mask does")
    if unit is IntensityUnit.HU and (lowest := float(_inside(data).min())) > LOWEST_HU:
        return UnitDoubt(
            f"its lowest value beside padding is {lowest:.4g}, and a whole CT has fat at -100 HU"
        )
    return _suv_doubt(_inside(data)) if unit is IntensityUnit.SUV else None


def _suv_doubt(seen: NDArray[np.float32]) -> UnitDoubt | None:
    low = np.count_nonzero(seen < LOWEST_HU) / seen.size
    if low > FAT_AND_AIR_SHARE:
        reason = f"{low:.0%} of its voxels are below {LOWEST_HU:g}, as fat and air on a CT"
        return UnitDoubt(reason, is_certain=True)
    bright = seen[seen > max(0.0, BRIGHT_FROM * float(np.percentile(seen, 99)))]
    middle = float(np.median(bright)) if bright.size else 0.0
    if middle > BRIGHT_SUV:
        reason = f"half of its bright voxels exceed {middle:.4g}, where tissue has an SUV of 1"
        return UnitDoubt(reason, is_certain=middle > BRIGHT_BEYOND_SUV)
    negative = np.count_nonzero(seen < -1) / seen.size
    if negative > NEGATIVE_SUV_SHARE:
        return UnitDoubt(f"{negative:.0%} of its voxels are below -1, and no uptake is negative")
    return None


def _inside(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """The voxels that are not padding; all where nothing else is there."""
    inside = data[data > data.min()]
    padded = data.size - inside.size
    return inside if inside.size and padded > PADDING_SHARE * data.size else data


def is_mask(data: NDArray[np.float32]) -> bool:
    """Whether the values are those of a mask: 0, and one to `MASK_VALUES - 1` whole numbers above.

    Most images are told from one by their first slices.

    Args:
        data: (I, J, K), finite.
    """
    values: set[float] = set()
    for k in range(data.shape[2]):
        found = np.unique(data[:, :, k])
        values.update(found.tolist())
        if len(values) > MASK_VALUES or found[0] < 0 or not np.array_equal(found, np.rint(found)):
            return False
    return len(values) > 1 and 0 in values


def noise_correlation(image: NDArray[np.float32]) -> float | None:
    """Correlation of the noise in soft tissue between neighbours: low where edges were enhanced.

    Args:
        image: (I, J) HU.

    Returns:
        -1 to 1, or None where the slice shows too little soft tissue.
    """
    low, high = SOFT_TISSUE_HU
    smooth = ndimage.gaussian_filter(image, 2)
    tissue = ndimage.binary_erosion((smooth > low) & (smooth < high), iterations=4)
    if np.count_nonzero(tissue) < LEAST_PIXELS:
        return None
    noise = image - ndimage.gaussian_filter(image, 3)
    variance = float(np.square(noise[tissue]).mean())
    if variance <= 0:
        return None
    along = []
    for axis in (0, 1):
        values, inside = np.moveaxis(noise, axis, 0), np.moveaxis(tissue, axis, 0)
        both = inside[1:] & inside[:-1]
        along.append(float((values[1:] * values[:-1])[both].mean()))
    return float(np.mean(along)) / variance


def rim_over_core(image: NDArray[np.float32], spacing_mm: tuple[float, ...]) -> float | None:
    """Median uptake of the body's rim over that of its core.

    Without correction, photons from the core are lost on their way out, and the skin shines.

    Args:
        image: (I, J) of any unit of activity.
        spacing_mm: Along I and J.

    Returns:
        The ratio, or None where no whole body with a core is seen.
    """
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(image, 1)
    bounded = np.minimum(smooth, np.percentile(smooth, 95))
    if bounded.min() == bounded.max():
        return None
    mask = ndimage.binary_closing(bounded > threshold_otsu(bounded), iterations=2)
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(mask))
    labels, count = ndimage.label(mask)
    if not count:
        return None
    body = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    if np.count_nonzero(body) > np.count_nonzero(body[inner]):
        return None
    depth_mm = ndimage.distance_transform_edt(body, sampling=spacing_mm)
    rim = body & (depth_mm > max(spacing_mm)) & (depth_mm < RIM_MM)
    core = depth_mm > CORE_MM
    if np.count_nonzero(body) < LEAST_PIXELS or not core.any() or not rim.any():
        return None
    inside = float(np.median(image[core]))
    return float(np.median(image[rim])) / inside if inside > 0 else None


def _some_slices(stack: Stack) -> list[NDArray[np.float32]]:
    """A few slices, (I, J) each; none where one cannot be read, which reading them all will say."""
    count = len(stack.slices)
    step = max(1, count // SLICES)
    places = range(step // 2, count, step)
    affine = stack.geometry.affine.copy()
    affine[:3, 2] *= step
    shape = (*stack.geometry.shape[:2], len(places))
    part = replace(
        stack,
        slices=tuple(stack.slices[place] for place in places),
        geometry=Geometry((shape[0], shape[1], shape[2]), affine),
    )
    try:
        volume, _ = read_voxels(part)
    except InputError:
        return []
    return [np.asarray(volume.data[:, :, k]) for k in range(len(places))]
