import numpy as np
import pytest

from medseg.config import InputSettings
from medseg.model.normalise import normalise, scaled, tissue_intensity


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


def brain(tissue: float, lesions: int) -> np.ndarray:
    """Voxels of air, liquor, tissue and lesions."""
    rng = np.random.default_rng(3)
    inside = np.concatenate(
        [
            np.zeros(30_000),
            rng.normal(0.3, 0.1, 4_000),
            rng.normal(1, 0.1, 30_000),
            rng.normal(1.5, 0.1, lesions),
        ]
    )
    return (np.clip(inside, 0, None) * tissue).astype(np.float32).reshape(-1, 10, 10)


@pytest.mark.parametrize("lesions", [0, 6_000])
@pytest.mark.parametrize("tissue", [70.0, 900.0])
def test_the_tissues_intensity_is_found_however_many_lesions_there_are(tissue, lesions):
    assert tissue_intensity(brain(tissue, lesions)) == pytest.approx(tissue, rel=0.03)


def test_it_does_not_matter_whether_white_or_grey_matter_has_the_higher_peak():
    rng = np.random.default_rng(5)
    grey, white = rng.normal(1.1, 0.05, 40_000), rng.normal(0.9, 0.05, 40_000)
    found = [
        tissue_intensity(np.concatenate([grey[:n], white[: 72_000 - n]]).astype(np.float32))
        for n in (32_000, 40_000)
    ]
    # The peaks lie 0.2 apart.
    assert abs(found[0] - found[1]) < 0.13


def test_a_brain_is_seen_in_multiples_of_its_tissue_whatever_the_scanner_calls_one():
    seen = settings().model_copy(update={"brain_only": True})
    dark, bright = (scaled(brain(tissue, 0)[None], seen) for tissue in (70.0, 900.0))
    np.testing.assert_allclose(dark, bright, rtol=1e-3)
    assert np.median(dark[dark > 0]) == pytest.approx(1, abs=0.03)


def test_what_has_a_unit_keeps_it():
    data = brain(70, 0)[None]
    assert scaled(data, settings()) is data


def test_nothing_at_all_has_no_tissue():
    nothing = np.zeros((1, 4, 5, 6), np.float32)
    assert not scaled(nothing, settings().model_copy(update={"brain_only": True})).any()
