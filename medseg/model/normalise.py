"""What a network sees of an intensity; the same for training and prediction."""

import numpy as np
from numpy.typing import NDArray

from medseg.config import InputSettings


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
