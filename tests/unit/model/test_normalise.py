import numpy as np
import pytest

from medseg.config import InputSettings
from medseg.model.normalise import normalise


def settings(exponent: float = 1) -> InputSettings:
    return InputSettings(
        roles=("pet", "ct"),
        spacing_mm=(5, 4, 3),
        clip=((0, 25), (-1000, 1000)),
        exponent=exponent,
        tile=(8, 8, 8),
    )


def test_each_channel_is_mapped_by_its_own_range():
    data = np.array([[0, 6.25, 25, 50], [-2000, -1000, 0, 3000]], np.float32)
    mapped = normalise(data.reshape(2, 2, 2, 1), settings())
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped.reshape(2, 4), [[0, 0.25, 1, 1], [0, 0, 0.5, 1]], atol=1e-7)


def test_a_square_root_spreads_low_uptakes():
    data = np.array([[6.25], [0]], np.float32).reshape(2, 1, 1, 1)
    assert normalise(data, settings(0.5)).ravel() == pytest.approx([0.5, np.sqrt(0.5)])


def test_the_input_stays_as_it_was():
    data = np.full((2, 2, 3, 1), 50, np.float32)
    normalise(data, settings(0.5))
    assert (data == 50).all()


def test_another_number_of_channels_is_a_bug():
    with pytest.raises(ValueError, match="1 channels"):
        normalise(np.zeros((1, 2, 3, 4), np.float32), settings())
