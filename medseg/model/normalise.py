"""What a network sees of an intensity; the same for training and prediction."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from medseg.config import InputSettings

BINS = 400
"""Of the histogram in which the commonest intensity is looked for, up to the 99.5th percentile."""

BIN_BLUR = 6.0
"""Standard deviation in bins of its smoothing: less than the width of a tissue's peak, about 30."""


def scaled(data: NDArray[np.float32], settings: InputSettings) -> NDArray[np.float32]:
    """A whole study in the unit that `clip` is in: that of its roles, or multiples of its tissue.

    Args:
        data: (C, I, J, K) float32, intensities in the unit of each role; the whole study, because
            a tile of it has another tissue.
        settings: `brain_only` says which.

    Returns:
        (C, I, J, K) float32.
    """
    if not settings.brain_only:
        return data
    return np.stack([channel / np.float32(tissue_intensity(channel)) for channel in data])


def tissue_intensity(channel: NDArray[np.float32]) -> float:
    """The median of an MR of a brain above half its commonest intensity: of white and grey matter.

    It hardly depends on how much liquor or how many lesions there are, as a mean does; nor on
    whether white or grey matter has the higher peak, as the commonest intensity itself does. 1
    where nothing is above 0.
    """
    inside = channel[channel > 0]
    if not inside.size:
        return 1.0
    counts, edges = np.histogram(inside, BINS, (0.0, float(np.percentile(inside, 99.5))))
    most = int(gaussian_filter1d(counts.astype(np.float64), BIN_BLUR).argmax())
    commonest = (edges[most] + edges[most + 1]) / 2
    return float(np.median(inside[inside > commonest / 2]))


def normalise(data: NDArray[np.float32], settings: InputSettings) -> NDArray[np.float32]:
    """Clip each channel to its range, map it to 0..1, and raise it to the exponent.

    Args:
        data: (C, I, J, K) float32, intensities in the unit of each role.
        settings: The ranges, one for each channel, and the exponent.

    Returns:
        (C, I, J, K) float32 in 0..1.

    Raises:
        ValueError: The channels are not as many as the ranges.
    """
    if len(data) != len(settings.clip):
        raise ValueError(f"{len(data)} channels for {len(settings.clip)} clip ranges")
    normalised = np.empty_like(data, order="C")
    for channel, (low, high) in enumerate(settings.clip):
        np.clip((data[channel] - low) / (high - low), 0, 1, out=normalised[channel])
    if settings.exponent != 1:
        np.power(normalised, np.float32(settings.exponent), out=normalised)
    return normalised
