"""Overlaps and one-to-one pairs against the slow way."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluate.match import match, overlaps
from tests.strategies import shapes


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two label arrays of one shape, blocky enough to overlap often; labels are not consecutive."""
    shape = draw(shapes(3, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = tuple(-(-n // 2) for n in shape)

    def labels(most: int, step: int) -> np.ndarray:
        blocks = rng.integers(0, most + 1, coarse)
        fine = blocks.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        fine = np.roll(fine, rng.integers(0, 3, 3), (0, 1, 2))
        return (fine[: shape[0], : shape[1], : shape[2]] * step).astype(np.uint16)

    return labels(draw(st.integers(0, 4)), 3), labels(draw(st.integers(0, 4)), 2)


def naive(
    prediction: np.ndarray, reference: np.ndarray
) -> dict[tuple[int, int], tuple[int, float]]:
    """(reference, predicted) to shared voxels and IoU, pair by pair."""
    table = {}
    for r in set(reference[reference > 0].tolist()):
        for p in set(prediction[prediction > 0].tolist()):
            shared = np.count_nonzero((reference == r) & (prediction == p))
            if shared:
                either = np.count_nonzero((reference == r) | (prediction == p))
                table[(r, p)] = (shared, shared / either)
    return table


@given(label_pairs())
def test_overlaps_are_those_of_every_pair(pair):
    prediction, reference = pair
    found = overlaps(prediction, reference)
    table = {
        (int(r), int(p)): (int(n), float(iou))
        for r, p, n, iou in zip(
            found.reference, found.predicted, found.voxels, found.iou, strict=True
        )
    }
    assert table == naive(prediction, reference)
    assert found.predicted_labels.tolist() == sorted(set(prediction[prediction > 0].tolist()))
    assert found.reference_labels.tolist() == sorted(set(reference[reference > 0].tolist()))


@given(label_pairs())
def test_no_other_one_to_one_pairing_has_a_higher_iou(pair):
    found = overlaps(*pair)
    rows = match(found)
    assert len(set(found.reference[rows])) == len(set(found.predicted[rows])) == len(rows)
    table = {key: iou for key, (_, iou) in naive(*pair).items()}
    references = sorted({r for r, _ in table})
    partners = [*sorted({p for _, p in table}), *([0] * len(references))]
    best = max(
        sum(table.get(key, 0.0) for key in zip(references, order, strict=True))
        for order in set(permutations(partners, len(references)))
    )
    assert found.iou[rows].sum() == pytest.approx(best)


def test_thousands_of_lesions_are_matched_at_once():
    labels = np.zeros((60, 50, 90), np.uint16)
    labels[::3, ::3, ::2] = np.arange(20 * 17 * 45, dtype=np.uint16).reshape(20, 17, 45)
    found = overlaps(labels, labels)
    assert len(match(found)) == 20 * 17 * 45 - 1
    assert (found.iou == 1).all()
