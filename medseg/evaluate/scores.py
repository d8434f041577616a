"""How well a prediction agrees with a reference, under named rules."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan

import cc3d
import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap
from medseg.errors import GeometryMismatchError
from medseg.evaluate.boxes import boxes_of, pair_boxes
from medseg.evaluate.brats import LesionWise, lesion_wise
from medseg.evaluate.froc import Candidates, candidates, froc
from medseg.evaluate.match import Overlaps, at_least, match, overlaps, shared_voxels
from medseg.evaluate.rules import (
    BRATS_METS_2023,
    CC26_ANY_OVERLAP,
    CC_DICE_MM,
    LABELS_ANY_OVERLAP,
    NNDET_IOU10,
    PANOPTICA_IOU50,
)
from medseg.evaluate.sizes import Counts, Side, SizeBin, bins, plain_number, share
from medseg.evaluate.surface import Surfaces, SurfaceScores, compare
from medseg.evaluate.territories import TerritoryDice, territory_dice

TOLERANCE_MM = 2.0
"""Distance within which two surfaces agree, of surface Dice, where the user names none."""

MARGIN = 2
"""Voxels around all lesions that are looked at, so that what dilation does is the same."""


@dataclass(frozen=True)
class PairQuality:
    """How well the lesions that a rule pairs agree (Kirillov et al. 2019, arXiv 1801.00868).

    Attributes:
        pairs: Number of pairs, one to one.
        sq: Segmentation quality: mean IoU of the pairs.
        rq: Recognition quality: pairs over the mean number of lesions of both maps.
        pq: Panoptic quality: their product; 0 where there are lesions and no pair.
        instance_dice: Mean Dice of the pairs.
        surface_dice: Mean surface Dice of the pairs.
        hd95_mm: Mean 95 % Hausdorff distance of the pairs.
    """

    pairs: int
    sq: float
    rq: float
    pq: float
    instance_dice: float
    surface_dice: float
    hd95_mm: float


@dataclass(frozen=True)
class Detection(Counts):
    """How many lesions were found under one rule, and how well.

    Attributes:
        rule: Name of the rule.
        quality: Of the pairs.
        by_size: Lesions of each range of volumes.
    """

    rule: str
    quality: PairQuality
    by_size: tuple[SizeBin, ...]

    def plain(self) -> dict[str, object]:
        """Plain values for JSON."""
        values = super().plain()
        for name in ("rule", "quality", "by_size"):
            del values[name]
        quality = {name: plain_number(value) for name, value in asdict(self.quality).items()}
        return {**values, **quality, "by_size": [_plain_bin(one) for one in self.by_size]}


@dataclass(frozen=True)
class Match:
    """A reference lesion and the predicted one that was paired with it.

    Attributes:
        reference: Its label.
        prediction: The label of its partner.
        iou: Intersection over union of their voxels.
        dice: Twice the intersection over the sum of their voxels.
        surface_dice: Share of their surfaces within the tolerance of each other.
        hd95_mm: 95 % Hausdorff distance.
    """

    reference: int
    prediction: int
    iou: float
    dice: float
    surface_dice: float
    hd95_mm: float


@dataclass(frozen=True)
class Scores:
    """One prediction against one reference.

    Attributes:
        dice: Of the voxels with any label; not a number where neither map has one.
        surface: Of the surface of the voxels with any label.
        tolerance_mm: Within which surfaces agree.
        detections: Lesions found under each rule that counts, `cc26-any-overlap` first.
        lesion_wise: `brats-mets-2023`.
        territories: `cc-dice-mm`.
        matches: One-to-one pairs of labels with the highest sum of IoU, by reference label.
        missed: Reference labels that no prediction overlaps.
        false: Predicted labels that overlap no reference.
        split: Reference labels that two or more predicted ones overlap.
        merged: Predicted labels that overlap two or more reference ones.
        candidates: Predicted lesions with their confidence; None where it is not known.
    """

    dice: float
    surface: SurfaceScores
    tolerance_mm: float
    detections: tuple[Detection, ...]
    lesion_wise: LesionWise
    territories: TerritoryDice
    matches: tuple[Match, ...]
    missed: tuple[int, ...]
    false: tuple[int, ...]
    split: tuple[int, ...]
    merged: tuple[int, ...]
    candidates: Candidates | None

    def under(self, rule: str) -> Detection:
        """The lesions found under a rule that counts. Raises: KeyError."""
        return {detection.rule: detection for detection in self.detections}[rule]

    def plain(self) -> Mapping[str, object]:
        """Plain values for JSON; not a number, and infinity, are None."""
        rules: dict[str, object] = {one.rule: one.plain() for one in self.detections}
        rules[BRATS_METS_2023] = {
            **self.lesion_wise.plain(),
            "by_size": [_plain_bin(one) for one in self.lesion_wise.by_size],
        }
        rules[CC_DICE_MM] = {
            "reference_lesions": self.territories.reference_lesions,
            "dice": plain_number(self.territories.dice),
        }
        curve = None if self.candidates is None else asdict(froc([self.candidates]))
        return {
            "dice": plain_number(self.dice),
            "surface_dice": plain_number(self.surface.dice),
            "surface_tolerance_mm": self.tolerance_mm,
            "hd95_mm": plain_number(self.surface.hd95_mm),
            "rules": rules,
            "froc": curve and {name: _plain_share(value) for name, value in curve.items()},
            "matches": [asdict(pair) for pair in self.matches],
            "missed": list(self.missed),
            "false": list(self.false),
            "split": list(self.split),
            "merged": list(self.merged),
        }


def evaluate(
    prediction: InstanceMap, reference: InstanceMap, tolerance_mm: float = TOLERANCE_MM
) -> Scores:
    """Score a prediction against a reference on the same grid.

    The time grows with the number of lesions and with their surface, not with pairs of lesions.

    Args:
        prediction: What is scored; with the confidence of all its instances, or of none.
        reference: The expert's.
        tolerance_mm: Distance within which two surfaces agree.

    Raises:
        GeometryMismatchError: The two grids differ.
    """
    if not prediction.geometry.matches(reference.geometry):
        raise GeometryMismatchError(
            "The prediction and the reference lie on different grids, so nothing was scored.",
            "Give both on the grid of the series that they were drawn on.",
        )
    box = _box(prediction.labels, reference.labels)
    geometry = reference.geometry.crop(box)
    predicted, expected = prediction.labels[box], reference.labels[box]
    labels = _Compared(predicted, expected, geometry, tolerance_mm)
    parts, expected_parts = (
        cc3d.connected_components(a > 0, connectivity=26) for a in (predicted, expected)
    )
    components = _Compared(parts, expected_parts, geometry, tolerance_mm)
    confidence_of = _confidences(prediction.instances)
    found = labels.found
    return Scores(
        dice=share(
            2 * int(found.voxels.sum()),
            int(found.predicted_voxels.sum()) + int(found.reference_voxels.sum()),
        ),
        surface=compare(labels.predicted.whole(), labels.reference.whole(), tolerance_mm),
        tolerance_mm=tolerance_mm,
        detections=(
            components.any_overlap(CC26_ANY_OVERLAP),
            labels.any_overlap(LABELS_ANY_OVERLAP),
            labels.paired(PANOPTICA_IOU50, _pairs(at_least(found, 0.5))),
            labels.paired(
                NNDET_IOU10, _box_pairs(predicted, expected, confidence_of or {}, least_iou=0.1)
            ),
        ),
        lesion_wise=lesion_wise(BRATS_METS_2023, predicted > 0, expected > 0, geometry),
        territories=territory_dice(CC_DICE_MM, predicted > 0, expected_parts, geometry),
        matches=tuple(labels.matched(pair) for pair in _pairs(found)),
        missed=_plain_labels(np.setdiff1d(found.reference_labels, found.reference)),
        false=_plain_labels(np.setdiff1d(found.predicted_labels, found.predicted)),
        split=_plain_labels(np.flatnonzero(np.bincount(found.reference) > 1)),
        merged=_plain_labels(np.flatnonzero(np.bincount(found.predicted) > 1)),
        candidates=(
            None
            if confidence_of is None
            else candidates(found, confidence_of, geometry.voxel_volume_mm3)
        ),
    )


class _Compared:
    """Two label arrays on one grid, their overlaps, and the surfaces that were asked for."""

    def __init__(
        self,
        predicted: NDArray[np.unsignedinteger],
        reference: NDArray[np.unsignedinteger],
        geometry: Geometry,
        tolerance_mm: float,
    ) -> None:
        self.found = overlaps(predicted, reference)
        self.predicted = Surfaces(predicted, geometry)
        self.reference = Surfaces(reference, geometry)
        self._voxel_mm3 = geometry.voxel_volume_mm3
        self._tolerance_mm = tolerance_mm
        self._matched: dict[tuple[int, int], Match] = {}

    def any_overlap(self, rule: str) -> Detection:
        """Found is what overlaps anything; the pairs are those with the highest sum of IoU."""
        return self._detection(
            rule,
            np.isin(self.found.reference_labels, self.found.reference),
            np.isin(self.found.predicted_labels, self.found.predicted),
            _pairs(self.found),
        )

    def paired(self, rule: str, pairs: Sequence[tuple[int, int]]) -> Detection:
        """Found is what has a partner."""
        return self._detection(
            rule,
            np.isin(self.found.reference_labels, [r for r, _ in pairs]),
            np.isin(self.found.predicted_labels, [p for _, p in pairs]),
            pairs,
        )

    def matched(self, pair: tuple[int, int]) -> Match:
        """How well a reference label and a predicted one agree."""
        if pair not in self._matched:
            reference, predicted = pair
            both = shared_voxels(self.found, *pair)
            sizes = int(self.found.reference_voxels[reference]) + int(
                self.found.predicted_voxels[predicted]
            )
            surface = compare(
                self.predicted.of(predicted), self.reference.of(reference), self._tolerance_mm
            )
            self._matched[pair] = Match(
                reference=reference,
                prediction=predicted,
                iou=both / (sizes - both),
                dice=2 * both / sizes,
                surface_dice=surface.dice,
                hd95_mm=surface.hd95_mm,
            )
        return self._matched[pair]

    def _detection(
        self,
        rule: str,
        found: NDArray[np.bool_],
        right: NDArray[np.bool_],
        pairs: Sequence[tuple[int, int]],
    ) -> Detection:
        sizes = self.found.reference_voxels, self.found.predicted_voxels
        reference, prediction = (
            Side(voxels[voxels > 0].astype(np.float64) * self._voxel_mm3, flags)
            for voxels, flags in zip(sizes, (found, right), strict=True)
        )
        return Detection(
            reference_lesions=len(found),
            found_lesions=int(found.sum()),
            predicted_lesions=len(right),
            false_lesions=int((~right).sum()),
            rule=rule,
            quality=_quality([self.matched(p) for p in pairs], len(found) + len(right)),
            by_size=bins(reference, prediction),
        )


def _quality(matches: Sequence[Match], lesions: int) -> PairQuality:
    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else nan

    sq = mean([m.iou for m in matches])
    rq = share(2 * len(matches), lesions)
    return PairQuality(
        pairs=len(matches),
        sq=sq,
        rq=rq,
        pq=sq * rq if matches else rq,
        instance_dice=mean([m.dice for m in matches]),
        surface_dice=mean([m.surface_dice for m in matches]),
        hd95_mm=mean([m.hd95_mm for m in matches]),
    )


def _pairs(found: Overlaps) -> list[tuple[int, int]]:
    """(reference, predicted) labels paired one to one with the highest sum of IoU."""
    rows = match(found)
    return list(zip(found.reference[rows].tolist(), found.predicted[rows].tolist(), strict=True))


def _box_pairs(
    predicted: NDArray[np.integer],
    reference: NDArray[np.integer],
    confidence_of: Mapping[int, float],
    *,
    least_iou: float,
) -> list[tuple[int, int]]:
    """(reference, predicted) labels paired by their boxes; without confidence by label."""
    ours, theirs = boxes_of(predicted), boxes_of(reference)
    confidences = np.array([confidence_of.get(int(n), 0.0) for n in ours.labels], float)
    rows = pair_boxes(ours, theirs, confidences, least_iou)
    return sorted((int(theirs.labels[r]), int(ours.labels[p])) for p, r in rows)


def _confidences(instances: Sequence[Instance]) -> dict[int, float] | None:
    """Label to confidence; None unless all have one."""
    known = {row.label: row.confidence for row in instances if row.confidence is not None}
    return known if len(known) == len(instances) and known else None


def _box(*labels: NDArray[np.integer]) -> tuple[slice, slice, slice]:
    """Where either map has a label, with a margin; one voxel where neither has."""
    anywhere = labels[0] > 0
    for other in labels[1:]:
        anywhere |= other > 0
    ends = []
    for axis, size in enumerate(anywhere.shape):
        rest = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero(anywhere.any(axis=rest))
        low, high = (where[0], where[-1] + 1) if len(where) else (0, 1)
        ends.append(slice(max(0, int(low) - MARGIN), min(size, int(high) + MARGIN)))
    return (ends[0], ends[1], ends[2])


def _plain_labels(numbers: NDArray[np.integer]) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers)


def _plain_bin(one: SizeBin) -> dict[str, object]:
    return {**one.plain(), "below_mm3": plain_number(one.below_mm3)}


def _plain_share(value: float | tuple[float, ...]) -> object:
    if isinstance(value, tuple):
        return [plain_number(one) for one in value]
    return plain_number(value)
