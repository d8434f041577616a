import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medseg.model.tiling import corners, owner, starts, weights


@given(st.integers(1, 40), st.integers(1, 12), st.floats(0, 0.95), st.sampled_from((1, 2, 8)))
def test_tiles_cover_an_axis_without_a_gap_and_never_leave_it(length, tile, overlap, step):
    length, tile = length * step, min(tile, length) * step
    begins = starts(length, tile, overlap, step)
    covered = np.zeros(length, int)
    for begin in begins:
        assert begin % step == 0
        assert 0 <= begin <= length - tile
        covered[begin : begin + tile] += 1
    assert covered.min() >= 1
    assert begins == sorted(set(begins))


def test_tiles_overlap_by_the_share_asked_for():
    begins = np.array(starts(800, 80, 0.25, 8))
    assert np.diff(begins).max() <= 64
    assert np.diff(begins).min() >= 56


def test_a_grid_of_tiles_is_the_product_of_its_axes():
    assert corners((8, 4, 6), (4, 4, 4), 0.5, (2, 2, 1)) == [
        (i, 0, k) for i in (0, 2, 4) for k in (0, 2)
    ]


def test_the_middle_of_a_tile_counts_most_and_no_voxel_counts_nothing():
    share = weights((8, 12, 6))
    assert share.min() >= np.float32(0.001)
    assert np.unravel_index(share.argmax(), share.shape) == (3, 5, 2)
    np.testing.assert_allclose(share, share[::-1, ::-1, ::-1], rtol=1e-6)


@given(st.integers(2, 40), st.integers(1, 12), st.floats(0.5, 0.9), st.floats(0, 1))
def test_every_place_has_one_owner_that_holds_it_with_a_margin(length, tile, overlap, share):
    tile = min(2 * tile, length)
    begins = starts(length, tile, overlap, 1)
    place = share * (length - 1)
    begin = owner(begins, tile, place)
    assert begin in begins
    assert begin - 0.5 <= place <= begin + tile - 0.5
    own = abs(place - begin - (tile - 1) / 2)
    assert own <= min(abs(place - b - (tile - 1) / 2) for b in begins) + 1e-9
    if begins[0] != begin != begins[-1]:
        assert own <= tile / 4 + 1, "an instance half a tile long lies whole in its owner"
