"""What a tournament says, and which entry it would choose under limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.bench.compete import COMPONENTS, Entry
from medseg.evaluate.cohort import RESAMPLES, Cohort, Interval, interval, paired_pq, summarise
from medseg.evaluate.reliability import Judged, Reliability, reliability
from medseg.evaluate.rules import LABELS_ANY_OVERLAP, PANOPTICA_IOU50
from medseg.evaluate.sizes import plain_number

SIMPLEST = (COMPONENTS, "necks", "peaks", "offsets", "proposals")
"""Ways to separate, the one with the fewest assumptions first."""


@dataclass(frozen=True)
class Limits:
    """What the user can afford: mean seconds for a case, and MiB; None is no limit."""

    seconds: float | None = None
    memory_mib: float | None = None


@dataclass(frozen=True)
class Standing:
    """How one entry did.

    Attributes:
        entry: The model and the way.
        cohort: Over the cases.
        gain: Its PQ (`panoptica-iou50`, all lesions together) less that of connected components of
            the same model's foreground, resampled over the same cases.
        trust: Of its confidence; None where the model is not calibrated or nothing was predicted.
    """

    entry: Entry
    cohort: Cohort
    gain: Interval | None
    trust: Reliability | None

    @property
    def name(self) -> str:
        """Model and way."""
        return f"{self.entry.model} {self.entry.processing}"

    @property
    def pq(self) -> Interval:
        """Of all lesions together, `panoptica-iou50`."""
        return next(one.pq for one in self.cohort.pooled if one.rule == PANOPTICA_IOU50)

    @property
    def f1(self) -> Interval:
        """Of all lesions together, `labels-any-overlap`."""
        return next(one.f1 for one in self.cohort.pooled if one.rule == LABELS_ANY_OVERLAP)

    @property
    def seconds(self) -> float:
        """Mean of a case."""
        return float(np.mean(self.entry.seconds))

    def fits(self, limits: Limits) -> bool:
        """Whether it stays within the limits."""
        return (limits.seconds is None or self.seconds <= limits.seconds) and (
            limits.memory_mib is None or self.entry.peak_memory_mib <= limits.memory_mib
        )

    def plain(self) -> dict[str, object]:
        """Plain values for JSON."""
        sizes = next(one.by_size for one in self.cohort.pooled if one.rule == LABELS_ANY_OVERLAP)
        return {
            "model": self.entry.model,
            "processing": self.entry.processing,
            "pq": _plain(self.pq),
            "pq_gain_over_components": None if self.gain is None else _plain(self.gain),
            "f1": _plain(self.f1),
            "dice": _plain(self.cohort.means["dice"]),
            "by_size": [{**row.plain(), "below_mm3": plain_number(row.below_mm3)} for row in sizes],
            "expected_calibration_error": None if self.trust is None else _plain(self.trust.ece),
            "seconds_per_case": round(self.seconds, 3),
            "peak_memory_mib": round(self.entry.peak_memory_mib, 1),
        }


def standings(entries: Sequence[Entry]) -> tuple[Standing, ...]:
    """How the entries did, best PQ first."""
    peers = {entry.model: entry for entry in entries if entry.processing == COMPONENTS}
    found = [
        Standing(
            entry,
            summarise(entry.scores),
            _gain(entry, peers.get(entry.model)),
            _trust(entry),
        )
        for entry in entries
    ]
    return tuple(sorted(found, key=_rank))


def choose(found: Sequence[Standing], limits: Limits) -> tuple[Standing | None, str]:
    """The entry with the highest PQ within the limits, and why, as sentences for a person."""
    fitting = [one for one in found if one.fits(limits)]
    within = _within(limits)
    if not fitting:
        return None, f"No entry stays {within}; raise a limit, or bench a smaller model."
    best = min(fitting, key=_rank)
    why = (
        f"Of {len(fitting)} entries {within}, {best.name} has the highest PQ, {best.pq.value:.3f} "
        f"({PANOPTICA_IOU50}), in {best.seconds:.2f} s a case and "
        f"{best.entry.peak_memory_mib:.0f} MiB."
    )
    if best.entry.processing == COMPONENTS:
        why += " No way to split beats connected components on these cases."
    elif best.gain is not None:
        sure = "" if best.gain.low > 0 else ", which chance may explain: more cases would tell"
        why += (
            f" It gains {best.gain.value:.3f} ({best.gain.low:.3f} to {best.gain.high:.3f}) over "
            f"connected components of the same foreground{sure}."
        )
    left = [one for one in found if one not in fitting and _rank(one) < _rank(best)]
    if left:
        why += f" {left[0].name} would be better and does not stay within the limits."
    return best, why


def _rank(one: Standing) -> tuple[float, float, int, float]:
    """Best first; of equally good ways of a model the simplest, then the fastest."""
    pq, f1 = (-np.inf if np.isnan(x) else round(x, 9) for x in (one.pq.value, one.f1.value))
    return (-pq, -f1, SIMPLEST.index(one.entry.processing), one.seconds)


def _within(limits: Limits) -> str:
    parts = []
    if limits.seconds is not None:
        parts.append(f"{limits.seconds:g} s a case")
    if limits.memory_mib is not None:
        parts.append(f"{limits.memory_mib:g} MiB")
    return "within " + " and ".join(parts) if parts else "without limits"


def _gain(entry: Entry, peer: Entry | None) -> Interval | None:
    if peer is None or peer is entry:
        return None
    count = len(entry.scores)
    drawn = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    return interval(paired_pq(PANOPTICA_IOU50, entry.scores, peer.scores), drawn, _difference)


def _difference(table: np.ndarray) -> np.ndarray:
    """PQ of the first columns less that of the others."""
    iou, lesions, peer_iou, peer_lesions = np.moveaxis(table.sum(axis=1), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gained: np.ndarray = 2 * iou / lesions - 2 * peer_iou / peer_lesions
    return gained


def _trust(entry: Entry) -> Reliability | None:
    judged = [
        Judged(one.confidence, one.true, one.volumes_mm3)
        for one in (scores.candidates for scores in entry.scores)
        if one is not None
    ]
    return reliability(judged) if judged else None


def _plain(one: Interval) -> Mapping[str, object]:
    return {
        "value": plain_number(one.value),
        "low": plain_number(one.low),
        "high": plain_number(one.high),
    }
