"""Pairs of boxes against COCO's loop over everything."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluate.boxes import Boxes, boxes_of, pair_boxes
from tests.strategies import shapes


def naive(prediction: Boxes, reference: Boxes, confidences: np.ndarray) -> list[tuple[int, int]]:
    """As pycocotools and nnDetection match, detection by detection."""
    taken: set[int] = set()
    pairs = []
    for p in sorted(range(len(confidences)), key=lambda n: (-confidences[n], n)):
        best, partner = 0.1, None
        for r in range(len(reference.labels)):
            if r in taken:
                continue
            sides = [
                min(prediction.high[p][a], reference.high[r][a])
                - max(prediction.low[p][a], reference.low[r][a])
                for a in range(3)
            ]
            shared = np.prod(sides) if min(sides) > 0 else 0.0
            volumes = [np.prod(b.high[n] - b.low[n]) for b, n in ((prediction, p), (reference, r))]
            iou = shared / (sum(volumes) - shared)
            if iou >= best:
                best, partner = iou, r
        if partner is not None:
            taken.add(partner)
            pairs.append((p, partner))
    return pairs


@given(shapes(8, 16), st.integers(0, 2**32 - 1))
def test_boxes_are_paired_as_nndetection_does(shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)

    def labels() -> np.ndarray:
        found = np.zeros(shape, np.uint16)
        for n in range(1, int(rng.integers(1, 9)) * 2, 2):
            low = [int(rng.integers(0, s - 1)) for s in shape]
            box = tuple(slice(a, a + int(rng.integers(1, 6))) for a in low)
            found[box] = n
        return found

    prediction, reference = boxes_of(labels()), boxes_of(labels())
    confidences = rng.choice([0.2, 0.4, 0.9], len(prediction.labels))
    assert pair_boxes(prediction, reference, confidences, 0.1) == naive(
        prediction, reference, confidences
    )


def test_a_box_reaches_a_voxel_beyond_its_label() -> None:
    labels = np.zeros((6, 9, 12), np.uint16)
    labels[1:3, 4, 5:9] = 7
    assert boxes_of(labels).labels.tolist() == [7]
    assert boxes_of(labels).low.tolist() == [[0, 3, 4]]
    assert boxes_of(labels).high.tolist() == [[3, 5, 9]]


def test_nothing_is_paired_with_nothing() -> None:
    nothing = boxes_of(np.zeros((3, 4, 5), np.uint16))
    something = boxes_of(np.ones((3, 4, 5), np.uint16))
    assert pair_boxes(nothing, something, np.zeros(0), 0.1) == []
    assert pair_boxes(something, nothing, np.ones(1), 0.1) == []
