"""What a voxel of a brain's FLAIR looks like at several scales: the channels of `voxel-features`.

Two labelled patients are too few for a network to learn what tells a lesion from cortex, choroid
plexus and the caps of ventricles; brightness against surroundings, shape, what lies near and what
the other hemisphere has there say it. All is in mm and in multiples of the tissue's intensity, so
that it means the same in every brain; only the median and the opening of ventricles, which take
away single voxels, are in voxels.
"""

from collections.abc import Iterator
from itertools import chain

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.config import Spacing
from medseg.model.networks.prior import prior_channel

Image = NDArray[np.float32]

LIQUOR = 0.6
"""Intensity below which a voxel is liquor."""

SCALES_MM = (0.7, 1.5, 3.0, 6.0, 12.0)
"""Standard deviations of the blurs, of the tissue alone."""

SHAPE_SCALES_MM = (1.0, 2.0)
"""At which the second derivatives tell a blob from a sheet, which cortex is."""

AROUND_MM = (5.0, 9.0)
"""Widths within which the brightest place is looked for."""

MIRRORED_MM = (3.0, 9.0)
"""Widths within which the other hemisphere may have the same thing."""

DEEPEST_MM = 30.0
"""Depths and distances beyond it are alike."""

NEAR_LIQUOR_MM = 15.0

VENTRICLE_MM = 15.0
"""Liquor deeper below the brain's surface is a ventricle's, where there is much of it."""

NAMES = (
    "intensity",
    "median",
    *(f"tissue within {mm:g} mm" for mm in SCALES_MM),
    *(f"liquor within {mm:g} mm" for mm in SCALES_MM[1:]),
    "median above 3 mm",
    "1.5 above 6 mm",
    "3 above 12 mm",
    "0.7 above 3 mm",
    *(f"curvature {n} at {mm:g} mm" for mm in SHAPE_SCALES_MM for n in (1, 2, 3)),
    *(f"{what} {mm:g} mm" for mm in AROUND_MM for what in ("share of", "brightest within")),
    "opened",
    "deviation",
    "depth",
    "liquor's distance",
    "ventricle's distance",
    *(f"above the other side within {mm:g} mm" for mm in MIRRORED_MM),
    "above the other side",
    "prior",
)
"""One for each feature, in their order."""


def brain_features(image: Image, prior: torch.Tensor, spacing_mm: Spacing) -> Image:
    """The features of every voxel.

    Args:
        image: (I, J, K) of a brain alone along R, A and S, in multiples of its tissue's intensity;
            0 beyond the brain.
        prior: Knots of the map of where lesions are wont to lie, as for `prior_channel`.
        spacing_mm: Between voxels.

    Returns:
        (F, I, J, K) float32 in the order of `NAMES`; zeros beyond the box of the brain, the first
        being the image.
    """
    found = np.zeros((len(NAMES), *image.shape), np.float32)
    if not (image > 0).any():
        return found
    (box,) = ndimage.find_objects((image > 0).astype(np.uint8))
    told = prior_channel(prior, image)[box]
    made = chain(_features(image[box], spacing_mm), [told])
    for number, feature in zip(range(len(NAMES)), made, strict=True):
        found[(number, *box)] = feature
    return found


def _features(image: Image, spacing_mm: Spacing) -> Iterator[Image]:
    """All but the prior, within the box of the brain."""
    spacing = np.array(spacing_mm)

    def blurred(values: Image, mm: float) -> Image:
        made: Image = ndimage.gaussian_filter(values, mm / spacing, truncate=3)
        return made

    def wide(mm: float) -> tuple[int, ...]:
        return tuple(2 * round((mm / step - 1) / 2) + 1 for step in spacing_mm)

    inside = brain(image)
    median = ndimage.median_filter(image, 3)
    tissue = ((median > LIQUOR) & inside).astype(np.float32)
    levels: dict[float, Image] = {}
    liquor: list[Image] = []
    for mm in SCALES_MM:
        there = blurred(tissue, mm)
        mean = blurred(image * tissue, mm) / np.maximum(there, 1e-3)
        levels[mm] = np.where(there > 0.01, mean, 1).astype(np.float32)
        liquor.append(1 - there)
    yield image
    yield median
    yield from levels.values()
    yield from liquor[1:]
    yield median - levels[3.0]
    yield levels[1.5] - levels[6.0]
    yield levels[3.0] - levels[12.0]
    yield levels[0.7] - levels[3.0]
    filled = np.where(tissue > 0, image, levels[3.0])
    for mm in SHAPE_SCALES_MM:
        yield from curvatures(filled, inside, mm / spacing)
    base = levels[6.0]
    for mm in AROUND_MM:
        top = ndimage.maximum_filter(median, wide(mm)) - base
        yield np.clip((median - base) / np.maximum(top, 0.05), -1, 1)
        yield top
    yield ndimage.grey_opening(filled, wide(5))
    yield np.sqrt(np.maximum(blurred(filled * filled, 2) - blurred(filled, 2) ** 2, 0))
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    yield np.minimum(depth, DEEPEST_MM) / DEEPEST_MM
    near = ndimage.distance_transform_edt(np.pad(tissue, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    yield np.minimum(near, NEAR_LIQUOR_MM) / NEAR_LIQUOR_MM
    yield _from_ventricles((tissue == 0) & (depth > VENTRICLE_MM), spacing_mm)
    middle = np.average(np.arange(len(image)), weights=inside.sum(axis=(1, 2)))
    fine = levels[1.5]
    for mm in MIRRORED_MM:
        yield fine - across(ndimage.maximum_filter(fine, wide(mm)), middle)
    yield levels[3.0] - across(levels[3.0], middle)


def brain(image: Image) -> NDArray[np.bool_]:
    """Where the brain is: what is above 0 and what that encloses, as liquor may be exactly 0."""
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(image > 0)
    return filled


def curvatures(
    image: Image, inside: NDArray[np.bool_], sigmas: NDArray[np.float64]
) -> tuple[Image, Image, Image]:
    """Eigenvalues of the second derivatives in units of the scale, ascending; 0 where not inside.

    Args:
        image: (I, J, K).
        inside: (I, J, K) boolean, where they are wanted.
        sigmas: Scale along each axis, in voxels.
    """
    places = np.flatnonzero(inside)
    matrix = np.empty((len(places), 3, 3), np.float32)
    for a in range(3):
        for b in range(a, 3):
            order = np.bincount([a, b], minlength=3)
            bent = ndimage.gaussian_filter(image, sigmas, order=order.tolist(), truncate=3)
            matrix[:, a, b] = matrix[:, b, a] = bent.ravel()[places] * sigmas[a] * sigmas[b]
    values = np.linalg.eigvalsh(matrix)
    first, second, third = (np.zeros(image.shape, np.float32) for _ in range(3))
    for number, whole in enumerate((first, second, third)):
        whole.ravel()[places] = values[:, number]
    return first, second, third


def across(values: Image, middle: float) -> Image:
    """What lies at the mirrored place, the first axis running from side to side.

    Args:
        values: (I, J, K).
        middle: Index of the mirror along the first axis.
    """
    shift = 2 * middle - (len(values) - 1)
    moved: Image = ndimage.shift(values[::-1], (shift, 0, 0), order=1, mode="nearest")
    return moved


def _from_ventricles(deep_liquor: NDArray[np.bool_], spacing_mm: Spacing) -> Image:
    """Distance from the three largest pieces of deep liquor, 1 from `DEEPEST_MM` on."""
    opened = ndimage.binary_opening(deep_liquor, iterations=2)
    ventricles = cc3d.largest_k(opened, k=3, connectivity=6) > 0
    if not ventricles.any():
        return np.ones(deep_liquor.shape, np.float32)
    far = ndimage.distance_transform_edt(~ventricles, sampling=spacing_mm)
    scaled: Image = (np.minimum(far, DEEPEST_MM) / DEEPEST_MM).astype(np.float32)
    return scaled
