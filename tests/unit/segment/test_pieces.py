import numpy as np

from medseg.segment.pieces import largest_pieces, territories


def test_of_each_label_the_largest_piece_counts_and_of_two_as_large_the_first() -> None:
    labels = np.zeros((9, 5, 4), np.int32)
    labels[0:2, 0, 0] = labels[5:8, 0, 0] = 3  # 2 and 3 voxels
    labels[0:2, 3, 2] = labels[5:7, 3, 2] = 1
    labels[2, 1, 1] = 3  # touches its first piece by a corner: 3 and 3
    labels[0:2, 1, 3] = labels[4:9, 4, 3] = 2
    expected = np.zeros(labels.shape, bool)
    expected[4:9, 4, 3] = True
    expected[0:2, 0, 0] = expected[2, 1, 1] = expected[0:2, 3, 2] = True
    assert np.array_equal(largest_pieces(labels), expected)
    assert not largest_pieces(np.zeros((3, 4, 2), np.int32)).any()


def test_what_lies_between_two_labels_is_the_nearest_ones_in_mm() -> None:
    labels = np.zeros((6, 6, 3), np.int32)
    labels[0, 0, 1], labels[0, 5, 1], labels[5, 0, 1] = 4, 2, 7
    owned = territories(labels, (4.0, 1.0, 2.0))
    assert owned[0].tolist() == [[4] * 3] * 3 + [[2] * 3] * 3
    assert set(owned[:3, 0].ravel().tolist()) == {4}
    assert set(owned[3:, 0].ravel().tolist()) == {7}
    assert not territories(np.zeros((3, 4, 2), np.int32), (4.0, 1.0, 2.0)).any()
