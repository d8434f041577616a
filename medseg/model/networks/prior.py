"""Where lesions are wont to lie: a coarse map over the brain, given as a channel.

It is laid over a brain by the mean and the spread of its voxels along R, A and S, without
registration. Brains differ from it by some millimetres, so it is smooth, and shifted by chance in
training.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

RARE, USUAL = 1e-3, 0.3
"""Frequencies that become 0 and 1."""

HALF = 2.3
"""Standard deviations from the brain's middle to the map's ends: an ellipsoid's surface lies at the
root of 5."""


def scaled_frequency(frequency: NDArray[np.float64]) -> NDArray[np.float32]:
    """How often a voxel is lesion, on a logarithmic scale from 0 (`RARE`) to 1 (`USUAL`)."""
    found = np.log((frequency + RARE) / RARE) / np.log(USUAL / RARE)
    clipped: NDArray[np.float32] = np.clip(found, 0, 1).astype(np.float32)
    return clipped


def extent(there: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and half the length of the map along each axis of a brain's voxels, as indices."""
    middles, halves = [], []
    for axis, length in enumerate(there.shape):
        counts, at = there.sum(axis=tuple({0, 1, 2} - {axis})), np.arange(length)
        middles.append(np.average(at, weights=counts))
        spread = np.sqrt(np.average((at - middles[-1]) ** 2, weights=counts))
        halves.append(HALF * max(float(spread), 0.5))
    return np.array(middles), np.array(halves)


def prior_channel(knots: torch.Tensor, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map over what is above 0 in an image, interpolated linearly.

    Args:
        knots: (I', J', K') the map, the same on the left as on the right, because mirror images
            are predicted too; its first and last knots lie at -1 and 1 of `extent`.
        image: (I, J, K) of a brain alone, its axes along those of the map.

    Returns:
        (I, J, K) float32; the nearest knot's beyond the map, 0 where nothing is above 0.
    """
    there = image > 0
    if not there.any():
        return np.zeros(image.shape, np.float32)
    middles, halves = extent(there)
    axes = [
        torch.from_numpy((np.arange(length) - middle) / half).float()
        for length, middle, half in zip(image.shape, middles, halves, strict=True)
    ]
    # It counts a place's coordinates from the last axis.
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)
    map_ = knots.float().cpu()[None, None]
    seen = functional.grid_sample(map_, grid[None], padding_mode="border", align_corners=True)
    channel: NDArray[np.float32] = seen[0, 0].numpy()
    return channel
