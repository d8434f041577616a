"""Outlines of instances no rougher than an outline can be known."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter

from medseg.segment.separate import Separated

RADIUS_SHARE = 0.2
"""Most that an instance is smoothed by, as a share of the radius of a ball of its volume. At a
threshold of 0.5 the surface of a blurred ball moves by -sigma^2 / R (the mean curvature 1 / R times
sigma^2; Merriman, Bence and Osher 1992, Diffusion generated motion by mean curvature), so it keeps
96 % of its radius."""

REACH = 3.0
"""Standard deviations after which the Gaussian is cut off."""


def smooth(separated: Separated, smooth_mm: float) -> Separated:
    """The same instances, each voxel's foreground the mean of what is said around it.

    Where a lesion ends is known to some millimetres, and an expert's outline is as smooth as that,
    while a network is as sure of each notch as of the rest. So the foreground of an instance is
    smoothed by a Gaussian, narrower for a small one (`RADIUS_SHARE`), and instances are summed.
    What lies between them counts with the nearest, so that neighbours that touch go on touching; a
    voxel belongs to the one that gives most. An instance that would have no voxel left stays as it
    is.

    Args:
        separated: Of a dense model.
        smooth_mm: Standard deviation of the Gaussian; 0 smooths nothing.
    """
    count = len(separated.structures)
    if smooth_mm == 0 or count == 0:
        return separated
    labels, geometry = separated.labels, separated.geometry
    spacing = geometry.spacing_mm
    nearest = _nearest(labels, spacing)
    volumes_mm3 = np.bincount(labels.ravel(), minlength=count + 1) * geometry.voxel_volume_mm3
    widths_mm = np.minimum(smooth_mm, RADIUS_SHARE * np.cbrt(volumes_mm3 / (4 / 3 * np.pi)))
    foreground = np.zeros_like(separated.foreground)
    most = np.zeros_like(foreground)
    smoothed = np.zeros_like(labels)
    for number, box in enumerate(find_objects(labels), start=1):
        width = widths_mm[number] / np.array(spacing)
        wide = tuple(
            slice(max(0, side.start - margin), side.stop + margin)
            for side, margin in zip(box, np.ceil(REACH * width).astype(int).tolist(), strict=True)
        )
        own = np.where(nearest[wide] == number, separated.foreground[wide], 0)
        own = gaussian_filter(own, width, mode="nearest", truncate=REACH)
        foreground[wide] += own
        more = own > most[wide]
        smoothed[wide][more] = number
        most[wide][more] = own[more]
    np.minimum(foreground, 1, out=foreground)
    smoothed[foreground < separated.threshold] = 0
    left = np.bincount(smoothed.ravel(), minlength=count + 1) > 0
    kept = ~left[labels]
    smoothed[kept], foreground[kept] = labels[kept], separated.foreground[kept]
    return replace(separated, labels=smoothed, foreground=foreground)


def _nearest(
    labels: NDArray[np.int32], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int32]:
    """(I, J, K) the label of the nearest voxel that has one."""
    at = distance_transform_edt(
        labels == 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    found: NDArray[np.int32] = labels[tuple(at)]
    return found
