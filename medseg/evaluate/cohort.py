"""Many cases: means with the uncertainty that comes from having seen only these patients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.evaluate.froc import Froc, froc
from medseg.evaluate.scores import Scores
from medseg.evaluate.sizes import Counts, SizeBin, share

RESAMPLES = 2000
"""Bootstrap samples; an end of the interval then varies by a few hundredths of its width."""

COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval.

    Attributes:
        value: Of all cases.
        low, high: Percentile bootstrap over the cases (Efron 1979); not a number below two cases.
        cases: Cases in which it is defined.
    """

    value: float
    low: float
    high: float
    cases: int


@dataclass(frozen=True)
class Pooled:
    """The lesions of all cases under one rule, counted together.

    Attributes:
        rule: Name of the rule.
        counts: Of all cases.
        recall, precision, f1, pq: With their intervals.
        by_size: Lesions of each range of volumes.
    """

    rule: str
    counts: Counts
    recall: Interval
    precision: Interval
    f1: Interval
    pq: Interval
    by_size: tuple[SizeBin, ...]


@dataclass(frozen=True)
class Cohort:
    """The scores of many cases.

    Attributes:
        means: Name of a score to its mean over the cases.
        pooled: The lesions of all cases under each rule that counts.
        froc: Over all cases; None unless the confidence is known in every one.
    """

    means: Mapping[str, Interval]
    pooled: tuple[Pooled, ...]
    froc: Froc | None


def summarise(cases: Sequence[Scores], seed: int = 0) -> Cohort:
    """Means and pooled counts with intervals by bootstrap over cases, which are taken as patients.

    Args:
        cases: At least one.
        seed: Of the resampling.
    """
    count = len(cases)
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    values = [_values(case) for case in cases]
    known = [case.candidates for case in cases if case.candidates is not None]
    return Cohort(
        means={
            name: interval(np.array([one[name] for one in values]), drawn, _mean)
            for name in values[0]
        },
        pooled=tuple(_pooled(detection.rule, cases, drawn) for detection in cases[0].detections),
        froc=froc(known) if len(known) == count else None,
    )


def interval(
    values: NDArray[np.float64],
    drawn: NDArray[np.integer],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> Interval:
    """A statistic of cases and its percentile bootstrap interval.

    Args:
        values: (N, ...) one row for each case; not a number where a score is not defined.
        drawn: (R, N) rows of each bootstrap sample.
        statistic: Of (..., N, ...) values over the cases; takes any number of samples at once.
    """
    defined = ~np.isnan(values.reshape(len(values), -1)).any(axis=1)
    value = float(statistic(values[None])[0])
    if defined.sum() < 2:
        return Interval(value, np.nan, np.nan, int(defined.sum()))
    sampled = statistic(values[drawn])
    sampled = sampled[~np.isnan(sampled)]
    if not len(sampled):  # precision, say, where nothing is predicted in any case
        return Interval(value, np.nan, np.nan, int(defined.sum()))
    low, high = np.quantile(sampled, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    return Interval(value, float(low), float(high), int(defined.sum()))


def paired_pq(rule: str, entry: Sequence[Scores], peer: Sequence[Scores]) -> NDArray[np.float64]:
    """(N, 4) for each case the sum of IoU and the number of lesions of both maps, of two entries.

    The PQ of some cases together is twice the one sum over the other.
    """
    rows = []
    for pair in zip(entry, peer, strict=True):
        row: list[float] = []
        for one in (scores.under(rule) for scores in pair):
            pairs = one.quality.pairs
            row += [
                one.quality.sq * pairs if pairs else 0.0,
                float(one.reference_lesions + one.predicted_lesions),
            ]
        rows.append(row)
    return np.array(rows, float)


def _values(case: Scores) -> dict[str, float]:
    """The scores of a case that are averaged; infinite distances are not."""
    values = {
        "dice": case.dice,
        "surface_dice": case.surface.dice,
        "hd95_mm": case.surface.hd95_mm if np.isfinite(case.surface.hd95_mm) else np.nan,
    }
    for one in case.detections:
        values |= {
            f"{one.rule} recall": one.recall,
            f"{one.rule} precision": one.precision,
            f"{one.rule} f1": one.f1,
            f"{one.rule} pq": one.quality.pq,
            f"{one.rule} instance_dice": one.quality.instance_dice,
        }
    return {
        **values,
        f"{case.lesion_wise.rule} lesion_wise_dice": case.lesion_wise.lesion_wise_dice,
        f"{case.lesion_wise.rule} lesion_wise_hd95_mm": case.lesion_wise.lesion_wise_hd95_mm,
        f"{case.territories.rule} dice": case.territories.dice,
    }


def _pooled(rule: str, cases: Sequence[Scores], drawn: NDArray[np.integer]) -> Pooled:
    of_rule = [case.under(rule) for case in cases]
    table = np.array(
        [
            (
                one.reference_lesions,
                one.found_lesions,
                one.predicted_lesions,
                one.false_lesions,
                0.0 if not one.quality.pairs else one.quality.sq * one.quality.pairs,
            )
            for one in of_rule
        ],
        float,
    )
    total = Counts(*(int(n) for n in table[:, :4].sum(axis=0)))
    return Pooled(
        rule=rule,
        counts=total,
        recall=interval(table, drawn, _recall),
        precision=interval(table, drawn, _precision),
        f1=interval(table, drawn, _f1),
        pq=interval(table, drawn, _pq),
        by_size=tuple(
            SizeBin(
                **{
                    name: sum(getattr(one, name) for one in same)
                    for name in Counts.__dataclass_fields__
                },
                from_mm3=same[0].from_mm3,
                below_mm3=same[0].below_mm3,
            )
            for same in zip(*(one.by_size for one in of_rule), strict=True)
        ),
    )


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0).sum(axis=1)
    return _divided(total, defined.sum(axis=1))


def _recall(table: NDArray[np.float64]) -> NDArray[np.float64]:
    reference, found, *_ = np.moveaxis(table.sum(axis=1), -1, 0)
    return _divided(found, reference)


def _precision(table: NDArray[np.float64]) -> NDArray[np.float64]:
    _, _, predicted, false, _ = np.moveaxis(table.sum(axis=1), -1, 0)
    return _divided(predicted - false, predicted)


def _f1(table: NDArray[np.float64]) -> NDArray[np.float64]:
    recall, precision = _recall(table), _precision(table)
    one_is_known = np.isnan(recall) & np.isnan(precision)
    recall, precision = np.nan_to_num(recall), np.nan_to_num(precision)
    both = np.where(recall + precision > 0, recall + precision, 1)
    return np.where(one_is_known, np.nan, 2 * recall * precision / both)


def _pq(table: NDArray[np.float64]) -> NDArray[np.float64]:
    reference, _, predicted, _, iou = np.moveaxis(table.sum(axis=1), -1, 0)
    return _divided(2 * iou, reference + predicted)


def _divided(part: NDArray[np.float64], whole: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.array([share(p, w) for p, w in zip(part, whole, strict=True)], float)
