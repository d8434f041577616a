"""A map of places over an ellipsoid whose middle and axes are known."""

import numpy as np
import pytest
import torch

from medseg.model.networks.prior import HALF, extent, prior_channel, scaled_frequency

SHAPE = (40, 52, 34)
MIDDLE, HALF_AXES = np.array((18.0, 27.0, 15.0)), np.array((14.0, 20.0, 11.0))


@pytest.fixture
def brain() -> np.ndarray:
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    inside = (((index - MIDDLE) / HALF_AXES) ** 2).sum(axis=-1) <= 1
    return inside.astype(np.float32)


def ramp(axis: int) -> torch.Tensor:
    """A map that says its own coordinate along an axis, from -1 to 1."""
    shape = (5, 9, 7)
    sides = [-1 if other == axis else 1 for other in range(3)]
    return torch.linspace(-1, 1, shape[axis]).view(sides).expand(shape)


def test_the_map_lies_over_the_middle_and_the_spread_of_the_brain(brain):
    middles, halves = extent(brain > 0)
    np.testing.assert_allclose(middles, MIDDLE, atol=1e-6)
    # Along each half axis a of an ellipsoid the standard deviation is a / sqrt(5).
    np.testing.assert_allclose(halves, HALF * HALF_AXES / np.sqrt(5), rtol=0.02)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_axis_of_the_map_lies_along_its_own_axis_of_the_brain(brain, axis):
    channel = prior_channel(ramp(axis), brain)
    middles, halves = extent(brain > 0)
    place = (np.indices(SHAPE)[axis] - middles[axis]) / halves[axis]
    np.testing.assert_allclose(channel, np.clip(place, -1, 1), atol=1e-5)


def test_a_mirrored_brain_has_the_mirrored_channel_of_a_map_that_is_the_same_on_both_sides(brain):
    half = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(1))
    knots = torch.cat([half, half.flip(0)])
    np.testing.assert_allclose(
        prior_channel(knots, brain[::-1]), prior_channel(knots, brain)[::-1], atol=1e-5
    )


def test_nothing_has_no_prior():
    assert not prior_channel(torch.ones(2, 3, 4), np.zeros(SHAPE, np.float32)).any()


def test_frequencies_are_told_on_a_logarithmic_scale():
    told = scaled_frequency(np.array([0, 0.001, 0.017, 0.299, 0.9]))
    np.testing.assert_allclose(told, [0, 0.1215, 0.507, 1, 1], atol=2e-3)
