"""What is found at the price of how many false lesions: free-response ROC."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.evaluate.match import Overlaps
from medseg.evaluate.sizes import share

FALSE_PER_CASE = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""Where the curve is read; the mean of the seven is the score of LUNA16 (Setio et al. 2017,
doi 10.1016/j.media.2017.06.015)."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The predicted lesions of one case with their confidence, under `labels-any-overlap`.

    Attributes:
        confidence: (N,) of each predicted lesion.
        true: (N,) boolean: it overlaps a reference lesion.
        found_from: (F,) for each reference lesion that is overlapped the highest confidence of a
            predicted one that does.
        reference_lesions: All reference lesions.
        volumes_mm3: (N,) volume of each predicted lesion.
    """

    confidence: NDArray[np.float64]
    true: NDArray[np.bool_]
    found_from: NDArray[np.float64]
    reference_lesions: int
    volumes_mm3: NDArray[np.float64]


@dataclass(frozen=True)
class Froc:
    """A free-response ROC curve, read at seven places.

    Attributes:
        false_per_case: False lesions per case that are allowed.
        recall: The highest share of the reference lesions that any threshold on the confidence
            finds with so few false ones.
        score: Mean of the recalls.
    """

    false_per_case: tuple[float, ...]
    recall: tuple[float, ...]
    score: float


def candidates(
    found: Overlaps, confidence_of: dict[int, float], voxel_volume_mm3: float
) -> Candidates:
    """The predicted lesions of a case with their confidence.

    Args:
        found: Overlaps of labels.
        confidence_of: Label of every predicted lesion to its confidence.
        voxel_volume_mm3: Of their grid.
    """
    labels = found.predicted_labels
    references, row = np.unique(found.reference, return_inverse=True)
    best = np.zeros(len(references))
    np.maximum.at(best, row, [confidence_of[int(n)] for n in found.predicted])
    return Candidates(
        confidence=np.array([confidence_of[int(n)] for n in labels], float),
        true=np.isin(labels, found.predicted),
        found_from=best,
        reference_lesions=len(found.reference_labels),
        volumes_mm3=found.predicted_voxels[labels].astype(np.float64) * voxel_volume_mm3,
    )


def froc(cases: Sequence[Candidates]) -> Froc:
    """The curve of one or more cases, at least one."""
    false = np.sort(np.concatenate([case.confidence[~case.true] for case in cases]))
    found = np.sort(np.concatenate([case.found_from for case in cases]))
    total = sum(case.reference_lesions for case in cases)
    thresholds = np.unique(np.concatenate([false, found, [np.inf]]))[::-1]
    price = (len(false) - np.searchsorted(false, thresholds)) / len(cases)
    gain = [share(int(n), total) for n in len(found) - np.searchsorted(found, thresholds)]
    recall = tuple(gain[int(np.flatnonzero(price <= limit)[-1])] for limit in FALSE_PER_CASE)
    return Froc(FALSE_PER_CASE, recall, float(np.mean(recall)))
