"""How well a prediction agrees with a reference, under named rules."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan, nan

import cc3d
import numpy as np
from numpy.typing import NDArray

from medseg.core.instances import InstanceMap
from medseg.errors import GeometryMismatchError
from medseg.evaluate.match import Overlaps, match, overlaps

CC26_ANY_OVERLAP = "cc26-any-overlap"
"""Lesions are the 26-connected components of the voxels with a label, in both maps: the labels
themselves do not matter, so a binary mask will do, and lesions that touch count as one. A reference
lesion is found if a predicted one shares a voxel with it; a predicted one that shares none is
false."""

LABELS_ANY_OVERLAP = "labels-any-overlap"
"""The same, and each label is a lesion: lesions that touch count apart."""


@dataclass(frozen=True)
class Detection:
    """How many lesions were found under one rule.

    A share of nothing is not a number: recall without reference lesions, precision without
    predicted ones, F1 without either.

    Attributes:
        rule: Name of the rule.
        reference_lesions: Lesions of the reference.
        found_lesions: Those of them that the rule calls found.
        predicted_lesions: Lesions of the prediction.
        false_lesions: Those of them that the rule calls false.
    """

    rule: str
    reference_lesions: int
    found_lesions: int
    predicted_lesions: int
    false_lesions: int

    @property
    def recall(self) -> float:
        """Share of the reference lesions that were found."""
        return _share(self.found_lesions, self.reference_lesions)

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that are not false."""
        return _share(self.predicted_lesions - self.false_lesions, self.predicted_lesions)

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 0 if there are lesions and none is right."""
        if isnan(self.recall) and isnan(self.precision):
            return nan
        if not self.found_lesions:
            return 0.0
        return 2 * self.recall * self.precision / (self.recall + self.precision)


@dataclass(frozen=True)
class Match:
    """A reference lesion and the predicted one that was paired with it.

    Attributes:
        reference: Its label.
        prediction: The label of its partner.
        iou: Intersection over union of their voxels.
        dice: Twice the intersection over the sum of their voxels.
    """

    reference: int
    prediction: int
    iou: float
    dice: float


@dataclass(frozen=True)
class Scores:
    """One prediction against one reference.

    Attributes:
        dice: Of the voxels with any label; not a number where neither map has one.
        detections: Lesions found under each rule, `cc26-any-overlap` first.
        matches: One-to-one pairs of labels with the highest sum of IoU, by reference label.
        missed: Reference labels that no prediction overlaps.
        false: Predicted labels that overlap no reference.
        split: Reference labels that two or more predicted ones overlap.
        merged: Predicted labels that overlap two or more reference ones.
    """

    dice: float
    detections: tuple[Detection, ...]
    matches: tuple[Match, ...]
    missed: tuple[int, ...]
    false: tuple[int, ...]
    split: tuple[int, ...]
    merged: tuple[int, ...]

    def under(self, rule: str) -> Detection:
        """The lesions found under a rule. Raises: KeyError."""
        return {detection.rule: detection for detection in self.detections}[rule]

    def plain(self) -> Mapping[str, object]:
        """Plain values for JSON; not a number is None."""
        rules = {
            detection.rule: {
                **{name: value for name, value in asdict(detection).items() if name != "rule"},
                "recall": _plain(detection.recall),
                "precision": _plain(detection.precision),
                "f1": _plain(detection.f1),
            }
            for detection in self.detections
        }
        return {
            "dice": _plain(self.dice),
            "rules": rules,
            "matches": [asdict(pair) for pair in self.matches],
            "missed": list(self.missed),
            "false": list(self.false),
            "split": list(self.split),
            "merged": list(self.merged),
        }


def evaluate(prediction: InstanceMap, reference: InstanceMap) -> Scores:
    """Score a prediction against a reference on the same grid.

    Raises:
        GeometryMismatchError: The two grids differ.
    """
    if not prediction.geometry.matches(reference.geometry):
        raise GeometryMismatchError(
            "The prediction and the reference lie on different grids, so nothing was scored.",
            "Give both on the grid of the series that they were drawn on.",
        )
    labelled = overlaps(prediction.labels, reference.labels)
    components = overlaps(
        *(
            cc3d.connected_components(instances.labels > 0, connectivity=26)
            for instances in (prediction, reference)
        )
    )
    both = int(np.count_nonzero(prediction.labels)) + int(np.count_nonzero(reference.labels))
    return Scores(
        dice=_share(2 * int(labelled.voxels.sum()), both),
        detections=(
            _any_overlap(CC26_ANY_OVERLAP, components),
            _any_overlap(LABELS_ANY_OVERLAP, labelled),
        ),
        matches=_matches(labelled),
        missed=_labels(np.setdiff1d(labelled.reference_labels, labelled.reference)),
        false=_labels(np.setdiff1d(labelled.predicted_labels, labelled.predicted)),
        split=_labels(np.flatnonzero(np.bincount(labelled.reference) > 1)),
        merged=_labels(np.flatnonzero(np.bincount(labelled.predicted) > 1)),
    )


def _any_overlap(rule: str, found: Overlaps) -> Detection:
    predicted = len(found.predicted_labels)
    return Detection(
        rule=rule,
        reference_lesions=len(found.reference_labels),
        found_lesions=len(np.unique(found.reference)),
        predicted_lesions=predicted,
        false_lesions=predicted - len(np.unique(found.predicted)),
    )


def _matches(found: Overlaps) -> tuple[Match, ...]:
    rows = match(found)
    # Dice = 2 IoU / (1 + IoU) for one pair of sets.
    return tuple(
        Match(int(r), int(p), float(iou), float(2 * iou / (1 + iou)))
        for r, p, iou in zip(
            found.reference[rows], found.predicted[rows], found.iou[rows], strict=True
        )
    )


def _labels(numbers: NDArray[np.integer]) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else nan


def _plain(number: float) -> float | None:
    return None if isnan(number) else number
