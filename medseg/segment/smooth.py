"""Outlines of instances no rougher than an outline can be known."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from medseg.segment.pieces import largest_pieces, territories
from medseg.segment.separate import Separated

RADIUS_SHARE = 0.2
"""Most that an instance is smoothed by, as a share of the radius of a ball of its volume. At a
threshold of 0.5 the surface of a blurred ball moves by -sigma^2 / R (the mean curvature 1 / R times
sigma^2; Merriman, Bence and Osher 1992, Diffusion generated motion by mean curvature), so it keeps
96 % of its radius."""

REACH = 3.0
"""Standard deviations after which the Gaussian is cut off."""

LEAST_KEPT = 0.8
"""Share of an instance that its smoothed outline must keep, else it stays as it is: a thin sheet
has no outline as wide as the Gaussian."""

LARGEST_CRUMB_MM3 = 268.0
"""Most that may be cut off from an instance, a ball of 8 mm: a larger crumb may be a lesion."""


def smooth(separated: Separated, smooth_mm: float) -> Separated:
    """The same instances, each voxel's foreground the mean of what is said around it.

    Where a lesion ends is known to some millimetres, and an expert's outline is as smooth as that,
    while a network is as sure of each notch as of the rest. So the foreground of an instance is
    smoothed by a Gaussian, narrower for a small one (`RADIUS_SHARE`), and instances of a structure
    are summed. What lies between them counts with the nearest, so that neighbours that touch go on
    touching, and a narrow gap may close; a voxel belongs to the one that gives most. A crumb that
    is cut off from an instance goes; an instance that would lose more than `LEAST_KEPT` and
    `LARGEST_CRUMB_MM3` allow stays as it is. Where nothing is said, as where foreground was
    dropped, nothing comes.

    Args:
        separated: Of a dense model.
        smooth_mm: Standard deviation of the Gaussian; 0 smooths nothing.
    """
    if smooth_mm == 0 or not separated.structures:
        return separated
    labels, smoothed, foreground = separated.labels, *_summed(separated, smooth_mm)
    np.minimum(foreground, 1, out=foreground)
    foreground[separated.foreground == 0] = 0
    smoothed[foreground < separated.threshold] = 0
    size = np.bincount(labels.ravel())
    cut_off = (smoothed > 0) & ~largest_pieces(smoothed)
    crumbs = np.bincount(smoothed[cut_off], minlength=len(size))
    smoothed[cut_off], foreground[cut_off] = 0, 0
    kept = np.bincount(labels[labels == smoothed], minlength=len(size))
    stays = kept < LEAST_KEPT * size
    stays |= crumbs * separated.geometry.voxel_volume_mm3 > LARGEST_CRUMB_MM3
    stays[0] = False
    back = stays[labels] | stays[smoothed]
    smoothed[back], foreground[back] = labels[back], separated.foreground[back]
    return replace(separated, labels=smoothed, foreground=foreground)


def _summed(
    separated: Separated, smooth_mm: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each voxel the instance that gives most, and the sum of its structure's instances."""
    labels, geometry = separated.labels, separated.geometry
    spacing = geometry.spacing_mm
    nearest = territories(labels, spacing)
    volumes_mm3 = np.bincount(labels.ravel()) * geometry.voxel_volume_mm3
    widths_mm = np.minimum(smooth_mm, RADIUS_SHARE * np.cbrt(volumes_mm3 / (4 / 3 * np.pi)))
    boxes = find_objects(labels)
    most = np.zeros_like(separated.foreground)
    which = np.zeros_like(labels)
    highest = np.zeros_like(most)
    for structure in sorted(set(separated.structures)):
        total = np.zeros_like(most)
        for number in 1 + np.flatnonzero(np.array(separated.structures) == structure):
            width = widths_mm[number] / np.array(spacing)
            margins = np.ceil(REACH * width).astype(int).tolist()
            wide = tuple(
                slice(max(0, side.start - margin), side.stop + margin)
                for side, margin in zip(boxes[number - 1], margins, strict=True)
            )
            own = np.where(nearest[wide] == number, separated.foreground[wide], 0)
            own = gaussian_filter(own, width, mode="nearest", truncate=REACH)
            total[wide] += own
            more = own > most[wide]
            which[wide][more] = number
            most[wide][more] = own[more]
        np.maximum(highest, total, out=highest)
    return which, highest
