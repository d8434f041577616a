"""What a trained model is measured by, through the line that a study takes."""

from collections.abc import Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray

from medseg.config import SegmentSettings, TrainingSettings
from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.model.predict import TiledModel
from medseg.segment.delineate import delineate
from medseg.training.datasets import Case
from medseg.training.sampling import draw_tumour
from medseg.training.synthesis import Scene, add, beside
from medseg.training.validate import dice

PAIR_SHAPE = (48, 48, 64)
"""Voxels of the scene that a synthetic pair is scored in."""

QUIET_SUV = 0.8
"""Soft tissue around a synthetic pair."""

SAME_DICE = 0.5
"""Dice from which a predicted instance is the reference instance and no other: two that both reach
it for one reference would overlap each other."""


def score_cases(
    model: TiledModel, cases: Sequence[Case], settings: SegmentSettings
) -> dict[str, float]:
    """How well the lesions of cases are outlined and found.

    Returns:
        Mean and least Dice of the foreground on the acquired grid; how many lesions there are, how
        many were found (any overlap) and delineated as one instance of their own (Dice 0.5 or
        more, one to one); false positives (no overlap with any lesion).
    """
    overlaps, found, own, false, lesions = [], 0, 0, 0, 0
    for case in cases:
        predicted = labels_of(model, case, settings)
        overlaps.append(dice(predicted > 0, case.labels > 0))
        lesions += len(case.lesions)
        found += len(np.unique(case.labels[(predicted > 0) & (case.labels > 0)]))
        own += count_same(predicted, case.labels)
        touched = np.unique(predicted[case.labels > 0])
        false += int(predicted.max()) - int((touched > 0).sum())
    return {
        "cases": len(cases),
        "mean_dice": round(float(np.mean(overlaps)), 4),
        "least_dice": round(min(overlaps), 4),
        "lesions": lesions,
        "lesions_found": found,
        "lesions_delineated_as_one": own,
        "false_positives": false,
    }


def score_outside(model: TiledModel, body: Case, settings: SegmentSettings) -> dict[str, float]:
    """What is called lesion of a whole body though it is none.

    Returns:
        Volume outside the known lesions in mL, and in how many instances that do not overlap any;
        Dice of the foreground.
    """
    predicted = labels_of(model, body, settings)
    outside = int(((predicted > 0) & (body.labels == 0)).sum())
    touched = set(np.unique(predicted[body.labels > 0]).tolist())
    apart = [n for n in range(1, int(predicted.max()) + 1) if n not in touched]
    volume_ml = body.geometry.voxel_volume_mm3 / 1000
    return {
        "dice": round(dice(predicted > 0, body.labels > 0), 4),
        "volume_outside_ml": round(outside * volume_ml, 1),
        "false_positives": len(apart),
        "false_positive_volume_ml": round(int(np.isin(predicted, apart).sum()) * volume_ml, 1),
    }


def score_pairs(
    model: TiledModel,
    cases: Sequence[Case],
    training: TrainingSettings,
    settings: SegmentSettings,
    count: int,
) -> dict[str, float]:
    """How often two tumours that touch become two instances, each with the voxels that are its own.

    Args:
        model: Scored.
        cases: Whose tumours are pasted side by side; not those that it learnt from.
        training: How tumours are drawn.
        settings: How instances are separated.
        count: Number of pairs.

    Returns:
        Pairs; those split rightly by the peaks of the prediction and by connected components
        alone; right means two instances, each with Dice 0.5 or more with a tumour of its own.
    """
    by_peaks = by_components = 0
    for seed in range(count):
        scene = touching_pair(cases, training, np.random.default_rng((7919, seed)))
        geometry = Geometry(PAIR_SHAPE, np.diag([*scene.spacing_mm, 1.0]))
        case = Case("pair", scene.image, scene.labels, geometry, ())
        predicted = labels_of(model, case, settings)
        together = cc3d.connected_components(predicted > 0, connectivity=26)
        by_peaks += _is_split(predicted, scene.labels)
        by_components += _is_split(together, scene.labels)
    return {
        "pairs": count,
        "split_by_peaks": by_peaks,
        "split_by_connected_components": by_components,
    }


def touching_pair(
    cases: Sequence[Case], training: TrainingSettings, rng: np.random.Generator
) -> Scene:
    """Two tumours that touch, in quiet tissue with the noise of a PET."""
    noise = rng.normal(0, 0.1, PAIR_SHAPE)
    image = (QUIET_SUV + noise).astype(np.float32)
    scene = Scene(image, np.zeros(PAIR_SHAPE, np.uint16), training.input.spacing_mm, ())
    offset = None
    while offset is None:
        first, second = (draw_tumour(cases, training, rng) for _ in range(2))
        offset = beside(first, second, rng.normal(size=3))
    start = np.array(PAIR_SHAPE) // 2 - np.array(first.mask.shape) // 2
    return add(add(scene, first, start.tolist()), second, (start + offset).tolist())


def labels_of(model: TiledModel, case: Case, settings: SegmentSettings) -> NDArray[np.uint16]:
    """The lesions of a case on its acquired grid, as a study would get them."""
    volume = Volume(case.image, case.geometry, IntensityUnit.SUV)
    volumes = dict.fromkeys(model.roles, volume)
    return delineate(volumes, model, settings, identity="score").lesions.labels


def count_same(prediction: NDArray[np.integer], reference: NDArray[np.integer]) -> int:
    """How many reference instances have a predicted one with Dice of `SAME_DICE` or more."""
    sizes = np.bincount(prediction.ravel())
    same = 0
    for label in np.unique(reference[reference > 0]):
        mask = reference == label
        shared = np.bincount(prediction[mask], minlength=len(sizes))
        overlap = 2 * shared / (sizes + int(mask.sum()))
        same += bool((overlap[1:] > SAME_DICE).any())
    return same


def _is_split(prediction: NDArray[np.integer], reference: NDArray[np.integer]) -> bool:
    return int(prediction.max()) == 2 and count_same(prediction, reference) == 2
