"""Whether a confidence of 80 % is right in 80 % of the cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from medseg.evaluate.cohort import RESAMPLES, Interval
from medseg.evaluate.sizes import SIZE_BINS, bin_of, share

CONFIDENCE_BINS = 10
"""Equally wide bins of confidence, as in Guo et al. 2017 (arXiv 1706.04599)."""


@dataclass(frozen=True, eq=False)
class Judged:
    """The predicted lesions of one patient whose truth is known.

    Attributes:
        confidence: (N,) of each.
        true: (N,) boolean: it overlaps a reference lesion.
        volumes_mm3: (N,) volume of each.
    """

    confidence: NDArray[np.float64]
    true: NDArray[np.bool_]
    volumes_mm3: NDArray[np.float64]


@dataclass(frozen=True)
class Reliable:
    """Predicted lesions of one range of sizes.

    Attributes:
        lesions: Number of them.
        confidence: Their mean confidence.
        precision: Share of them that is true.
    """

    lesions: int
    confidence: float
    precision: float


@dataclass(frozen=True)
class Reliability:
    """How far the confidence can be trusted.

    Attributes:
        ece: Expected calibration error, with its interval by bootstrap over patients.
        all: All lesions.
        by_size: In each size bin of `sizes`.
    """

    ece: Interval
    all: Reliable
    by_size: tuple[Reliable, ...]


def reliability(patients: Sequence[Judged], seed: int = 0) -> Reliability:
    """Compare confidence with precision.

    Args:
        patients: At least one.
        seed: Of the resampling.
    """
    confidence = np.concatenate([one.confidence for one in patients])
    true = np.concatenate([one.true for one in patients])
    size = bin_of(np.concatenate([one.volumes_mm3 for one in patients]))
    return Reliability(
        ece=_error(patients, np.random.default_rng(seed)),
        all=_reliable(confidence, true),
        by_size=tuple(_reliable(confidence[size == n], true[size == n]) for n in range(SIZE_BINS)),
    )


def expected_error(confidence: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Mean over lesions of how far the precision of their confidence bin is from its confidence."""
    return float(_errors(_sums(confidence, true)[None])[0])


def _error(patients: Sequence[Judged], rng: np.random.Generator) -> Interval:
    sums = np.stack([_sums(one.confidence, one.true) for one in patients])
    value = float(_errors(sums.sum(axis=0)[None])[0])
    known = sum(len(one.true) > 0 for one in patients)
    if known < 2:
        return Interval(value, nan, nan, known)
    drawn = rng.integers(0, len(patients), (RESAMPLES, len(patients)))
    found = _errors(sums[drawn].sum(axis=1))
    low, high = np.nanquantile(found, (0.025, 0.975))
    # An error without sign grows with noise, so resamples lie above it; the interval holds it.
    return Interval(value, min(value, float(low)), max(value, float(high)), known)


def _sums(confidence: NDArray[np.float64], true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(bins, 3): lesions, sum of their confidence, true ones."""
    which = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    columns = (None, confidence, true.astype(float))
    return np.column_stack(
        [np.bincount(which, weights, minlength=CONFIDENCE_BINS) for weights in columns]
    )


def _errors(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R,) errors of (R, bins, 3) sums."""
    total = sums[..., 0].sum(axis=1)
    gaps = np.abs(sums[..., 1] - sums[..., 2]).sum(axis=1)
    return np.array([share(gap, n) for gap, n in zip(gaps, total, strict=True)])


def _reliable(confidence: NDArray[np.float64], true: NDArray[np.bool_]) -> Reliable:
    count = len(true)
    return Reliable(
        count, share(float(confidence.sum()), count), share(float(np.count_nonzero(true)), count)
    )
