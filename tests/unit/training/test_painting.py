"""Lesions painted into a brain of two tissues with a ventricle, where everything is known."""

import cc3d
import numpy as np
import pytest
from scipy import ndimage

from medseg.training.painting import CLEAR_MM, Looks, cortex, looks_of, paint, white_matter

SHAPE, SPACING = (40, 46, 34), (1.0, 1.2, 1.5)
LOOKS = Looks(np.array([5.0, 50.0, 500.0]), np.array([0.2, 0.3, 0.4]))


def ball(centre, radius_mm):
    index = np.stack(np.indices(SHAPE), axis=-1)
    return np.linalg.norm((index - centre) * SPACING, axis=-1) <= radius_mm


MIDDLE = (np.array(SHAPE) - 1) / 2


def at(*voxels):
    """A place so many voxels from the middle."""
    return MIDDLE + np.array(voxels)


VENTRICLE = ball(MIDDLE, 4)
LESION = ball(at(11, 0, 0), 2.5)


@pytest.fixture
def brain():
    """White matter of 0.95, cortex of 1.2 in the outer 3 mm, a black ventricle, one lesion."""
    image = np.where(ball(MIDDLE, 24), 1.2, 0)
    image = np.where(ball(MIDDLE, 21), 0.95, image)
    image = np.where(VENTRICLE, 0.2, image)
    return np.where(LESION, 1.3, image).astype(np.float32)


def test_white_matter_is_neither_cortex_nor_ventricle_nor_lesion(brain):
    white = white_matter(brain, LESION.astype(np.uint16), SPACING)
    assert white.sum() > 0.3 * ball(MIDDLE, 21).sum()
    elsewhere = ndimage.binary_erosion(brain != np.float32(0.95))  # but for partial volume
    assert not white[elsewhere].any()
    near = ndimage.distance_transform_edt(~LESION, sampling=SPACING) <= CLEAR_MM
    assert not white[near].any()


def test_cortex_lies_beside_the_surface_and_not_where_lesions_are(brain):
    grey = cortex(brain, LESION.astype(np.uint16), SPACING)
    depth_mm = 24 - np.linalg.norm(
        (np.stack(np.indices(SHAPE), axis=-1) - MIDDLE) * SPACING, axis=-1
    )
    clear = ~ball(at(11, 0, 0), 7)
    assert np.median(grey[(depth_mm > 1.5) & (depth_mm < 2.5)]) > 0.5
    assert grey[(depth_mm > 9) & ~ball(MIDDLE, 13) & clear].max(initial=0) < 0.05
    assert grey[LESION].max() < 1e-3


def test_contrast_is_measured_against_what_is_around(brain):
    looks = looks_of(brain, LESION.astype(np.uint16), SPACING)
    assert looks.contrasts == pytest.approx([0.35], abs=0.01)
    assert looks.volumes_mm3 == pytest.approx([LESION.sum() * 1.8])


def test_a_spot_that_is_no_brighter_teaches_nothing(brain):
    labels = LESION.astype(np.uint16) + 2 * ball(at(-11, 0, 0), 2).astype(np.uint16)
    assert len(looks_of(brain, labels, SPACING).contrasts) == 1


def wanted():
    """One lesion in white matter, one half in the ventricle, one half in the cortex, one apart."""
    return (
        ball(at(-11, 0, 0), 3)
        | ball(at(0, 4.5, 0), 2.5)
        | ball(at(0, 0, 13.5), 3)
        | ball(at(0, -10, 0), 1.3)
    )


def test_the_truth_is_what_was_painted_and_lies_in_white_matter(brain):
    white = white_matter(brain, LESION.astype(np.uint16), SPACING)
    for seed in range(5):
        image, truth = paint(brain, wanted(), white, LOOKS, SPACING, np.random.default_rng(seed))
        assert truth.any()
        assert not (truth & ~(white & wanted())).any()
        brighter = image - brain
        assert brighter[truth].min() > 0
        parts = cc3d.connected_components(truth, connectivity=26)
        for number in range(1, parts.max() + 1):
            assert 0.08 < brighter[parts == number].mean() < 0.8
        far = ndimage.distance_transform_edt(~truth, sampling=SPACING) > 4.5
        np.testing.assert_array_equal(image[far], brain[far])


def test_a_lesion_that_lies_mostly_elsewhere_is_not_painted(brain):
    white = white_matter(brain, LESION.astype(np.uint16), SPACING)
    in_cortex = ball(at(0, 0, 14.5), 2.5)
    image, truth = paint(brain, in_cortex, white, LOOKS, SPACING, np.random.default_rng(0))
    assert not truth.any()
    np.testing.assert_array_equal(image, brain)


def test_the_same_chance_paints_the_same_and_another_does_not(brain):
    white = white_matter(brain, LESION.astype(np.uint16), SPACING)
    first, again, other = (
        paint(brain, wanted(), white, LOOKS, SPACING, np.random.default_rng(seed))[0]
        for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_small_lesion_is_drawn_from_small_ones():
    rng = np.random.default_rng(1)
    many = Looks(np.geomspace(1, 1000, 40), np.geomspace(0.1, 1, 40))
    small = np.mean([many.draw(2, rng) for _ in range(60)])
    large = np.mean([many.draw(700, rng) for _ in range(60)])
    assert small < 0.2 < 0.6 < large
