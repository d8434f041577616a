"""RoIAlign against functions known on paper, Detectron2's numbers and SciPy's interpolation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from medseg.model.networks.roi_align import paste, roi_align

SHAPE = (11, 9, 14)
SIZE = (3, 4, 2)


def bin_middles(box, size):
    """(3, *size) positions in voxels, edge to edge."""
    box = np.asarray(box, float)
    shares = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in size], indexing="ij")
    low, high = box[:3], box[3:]
    return np.stack([lo + s * (hi - lo) for lo, hi, s in zip(low, high, shares, strict=True)])


lows = st.tuples(st.floats(0.5, 3), st.floats(0.5, 3), st.floats(0.5, 3))
lengths = st.tuples(st.floats(0.3, 7), st.floats(0.3, 5), st.floats(0.3, 10))


@given(lows, lengths)
def test_a_linear_function_is_read_off_exactly_at_the_middle_of_every_bin(low, length):
    box = [*low, *(a + b for a, b in zip(low, length, strict=True))]
    i, j, k = np.indices(SHAPE) + 0.5
    features = torch.tensor(np.stack([3 * i - 2 * j + 0.5 * k + 1, k]), dtype=torch.float64)
    aligned = roi_align(features, torch.tensor([box], dtype=torch.float64), SIZE)[0].numpy()
    i, j, k = bin_middles(box, SIZE)
    np.testing.assert_allclose(aligned[0], 3 * i - 2 * j + 0.5 * k + 1, atol=1e-9)
    np.testing.assert_allclose(aligned[1], k, atol=1e-9)


def test_detectron2s_numbers_in_a_plane_hold_in_every_pair_of_axes():
    """detectron2/tests/layers/test_roi_align.py, `correct_results`: the box is (1, 1, 3, 3)."""
    plane = torch.arange(25.0).reshape(5, 5)
    expected = torch.tensor(
        [[4.5, 5.0, 5.5, 6.0], [7.0, 7.5, 8.0, 8.5], [9.5, 10.0, 10.5, 11.0], [12, 12.5, 13, 13.5]]
    )
    for axis in range(3):
        features = plane.unsqueeze(axis).repeat_interleave(6, dim=axis)[None]
        low, high, size = [1.0, 1.0], [3.0, 3.0], [4, 4]
        low.insert(axis, 2.0), high.insert(axis, 5.0), size.insert(axis, 2)
        aligned = roi_align(features, torch.tensor([low + high]), tuple(size))[0, 0]
        for part in aligned.unbind(axis):
            torch.testing.assert_close(part, expected)


def test_noise_is_interpolated_as_scipy_does_it_over_the_edge_too():
    rng = np.random.default_rng(3)
    features = rng.random((2, *SHAPE))
    boxes = np.array([[-1.0, 2.2, 3.1, 4.4, 7.9, 15.5], [2.0, 0.0, 1.0, 11.0, 9.0, 2.5]])
    aligned = roi_align(torch.tensor(features), torch.tensor(boxes), SIZE, samples=1).numpy()
    for number, box in enumerate(boxes):
        places = bin_middles(box, SIZE) - 0.5
        for channel in range(2):
            expected = map_coordinates(features[channel], places, order=1, mode="nearest")
            np.testing.assert_allclose(aligned[number, channel], expected, atol=1e-9)


def test_two_samples_of_a_bin_are_the_mean_of_a_grid_twice_as_fine():
    features = torch.tensor(np.random.default_rng(4).random((1, *SHAPE)))
    boxes = torch.tensor([[1.5, 2.0, 3.0, 9.0, 8.0, 12.5]], dtype=torch.float64)
    fine = roi_align(features, boxes, tuple(2 * n for n in SIZE), samples=1)
    torch.testing.assert_close(
        roi_align(features, boxes, SIZE), torch.nn.functional.avg_pool3d(fine, 2)
    )


def test_what_was_taken_from_a_region_is_put_back_in_its_place_and_nowhere_else():
    i, j, k = np.indices(SHAPE) + 0.5
    features = torch.tensor((2 * i + j - k)[None])
    box = [2.0, 1.0, 3.0, 8.0, 7.0, 11.0]
    grids = roi_align(features, torch.tensor([box], dtype=torch.float64), (12, 12, 16))[:, 0]
    back = paste(grids, torch.tensor([box], dtype=torch.float64), SHAPE)[0]
    inner = (slice(3, 7), slice(2, 6), slice(4, 10))
    torch.testing.assert_close(back[inner], features[0][inner])
    outside = np.ones(SHAPE, bool)
    outside[2:8, 1:7, 3:11] = False
    assert not back[torch.tensor(outside)].any()


def test_gradients_reach_the_features_and_sum_to_the_number_of_bins():
    features = torch.zeros(1, *SHAPE, requires_grad=True)
    boxes = torch.tensor([[1.0, 2.0, 3.0, 5.5, 6.5, 9.0], [0.0, 0.0, 0.0, 3.0, 2.0, 2.0]])
    roi_align(features, boxes, SIZE).sum().backward()
    assert features.grad.sum().item() == pytest.approx(2 * np.prod(SIZE), rel=1e-5)
