import numpy as np
import pytest

from medseg.errors import InputError
from medseg.training.physiology import (
    MIRRORED,
    ORGANS,
    Rule,
    codes_by_rules,
    codes_of_masks,
)
from medseg.training.synthesis import mirrored, nearest


@pytest.fixture
def hot(oblique):
    """Two hot boxes of different size in quiet tissue, the larger one with a cold middle."""
    image = np.full(oblique.shape, 0.6, np.float32)
    image[4:14, 5:15, 6:20] = 8
    image[8:10, 9:11, 11:14] = 0.5
    image[20:24, 16:20, 26:31] = 8
    return image


def box_mm(geometry, low, high):
    corners = geometry.to_world(np.array([low, high]))
    return tuple(corners.min(axis=0) - 25), tuple(corners.max(axis=0) + 25)


def test_a_rule_finds_the_hot_component_in_its_box_filled_and_nothing_else(hot, oblique):
    low, high = box_mm(oblique, (4, 5, 6), (14, 15, 20))
    codes = codes_by_rules(hot, oblique, (Rule("heart", low, high, 3.0),))
    heart = codes == ORGANS.index("heart") + 1
    assert heart[9, 10, 12]  # the cold middle
    assert heart[4:14, 5:15, 6:20].mean() > 0.9
    assert set(np.unique(codes)) == {0, ORGANS.index("heart") + 1}
    assert not heart[20:24, 16:20, 26:31].any()


def test_rules_for_another_image_are_refused(oblique):
    quiet = np.full(oblique.shape, 0.6, np.float32)
    rule = Rule("heart", (-1e4,) * 3, (1e4,) * 3, 3.0)
    with pytest.raises(InputError, match="heart"):
        codes_by_rules(quiet, oblique, (rule,))


def test_the_gut_is_made_of_its_parts():
    masks = {name: np.zeros((3, 4, 5), bool) for name in ("colon", "small_bowel", "brain")}
    masks["colon"][0], masks["small_bowel"][1], masks["brain"][2] = True, True, True
    codes = codes_of_masks(masks)
    bowel, brain = ORGANS.index("intestine") + 1, ORGANS.index("brain") + 1
    assert (codes[:2] == bowel).all()
    assert (codes[2] == brain).all()


def test_a_mirror_swaps_the_kidneys_and_nothing_else():
    codes = np.arange(len(ORGANS) + 1, dtype=np.uint8).reshape(3, 3, 1)
    swapped = mirrored(codes)
    left, right = MIRRORED
    assert {left, right} == {ORGANS.index("kidney_left") + 1, ORGANS.index("kidney_right") + 1}
    for code in range(len(ORGANS) + 1):
        assert swapped.ravel()[code] == MIRRORED.get(code, code)


def test_nearest_codes_lie_where_the_image_is(oblique):
    codes = np.zeros(oblique.shape, np.uint8)
    codes[7, 9, 11] = 3
    np.testing.assert_array_equal(nearest(codes, oblique, oblique), codes)
    moved = oblique.crop((slice(5, 12), slice(8, 20), slice(10, 30)))
    assert np.argwhere(nearest(codes, oblique, moved)).tolist() == [[2, 1, 1]]
