"""What a trained model is measured by, through the line that a study takes."""

from collections.abc import Sequence
from dataclasses import replace

import cc3d
import numpy as np
from numpy.typing import NDArray

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelModel
from medseg.training.datasets import Case
from medseg.training.sampling import Sources, body_view, corner_somewhere, draw_body, draw_tumour
from medseg.training.settings import TrainingSettings
from medseg.training.synthesis import Scene, add, beside
from medseg.training.validate import dice, labels_of

SAME_IOU = 0.5
"""Intersection over union above which a predicted instance is the reference instance; none can be
that of two, as instances do not overlap (Kirillov et al. 2019, doi 10.1109/CVPR.2019.00963)."""


def score_cases(
    model: VoxelModel, cases: Sequence[Case], settings: SegmentSettings
) -> dict[str, float]:
    """How well the lesions of cases are outlined and found.

    Returns:
        Mean and least Dice of the foreground on the acquired grid; how many lesions there are, how
        many were found (any overlap) and how many have an instance of their own (`SAME_IOU`);
        false positives (no overlap with any lesion).
    """
    overlaps, found, own, false, lesions = [], 0, 0, 0, 0
    for case in cases:
        predicted = labels_of(model, case, settings)
        overlaps.append(dice(predicted > 0, case.labels > 0))
        lesions += len(case.lesions)
        found += len(np.unique(case.labels[(predicted > 0) & (case.labels > 0)]))
        own += len(same_instances(predicted, case.labels))
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


def score_outside(model: VoxelModel, body: Case, settings: SegmentSettings) -> dict[str, float]:
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
    model: VoxelModel,
    sources: Sources,
    training: TrainingSettings,
    settings: SegmentSettings,
    count: int,
) -> dict[str, float]:
    """How often two tumours that touch become two instances, each with the voxels that are its own.

    Args:
        model: Scored.
        sources: Whose tumours are put side by side, in which bodies; none that it learnt from.
        training: How tumours are drawn.
        settings: How instances are separated.
        count: Number of pairs.

    Returns:
        Pairs; those split rightly by the peaks of the prediction and by connected components
        alone; right means that each tumour has an instance of its own (`SAME_IOU`).
    """
    by_peaks = by_components = 0
    for seed in range(count):
        scene = touching_pair(sources, training, np.random.default_rng((7919, seed)))
        geometry = Geometry(training.crop, np.diag([*scene.spacing_mm, 1.0]))
        predicted = labels_of(
            model, Case("pair", scene.image, scene.labels, geometry, ()), settings
        )
        together = cc3d.connected_components(predicted > 0, connectivity=26)
        by_peaks += same_instances(predicted, scene.labels) == {1, 2}
        by_components += same_instances(together, scene.labels) == {1, 2}
    return {
        "pairs": count,
        "split_by_peaks": by_peaks,
        "split_by_connected_components": by_components,
    }


def touching_pair(sources: Sources, training: TrainingSettings, rng: np.random.Generator) -> Scene:
    """Two tumours that touch, whole, somewhere in a body; only these two are labelled.

    Raises:
        ValueError: The scene is too small for two tumours.
    """
    for _ in range(1000):
        scene = body_view(draw_body(sources, rng), training, rng)
        scene = replace(scene, labels=np.zeros_like(scene.labels), placed=())
        first, second = (draw_tumour(sources.cases, training, rng) for _ in range(2))
        offset = beside(first, second, rng.normal(size=3))
        if offset is None:
            continue
        corner = corner_somewhere(scene, first, rng)
        scene = add(scene, first, corner)
        scene = add(scene, second, [c + o for c, o in zip(corner, offset, strict=True)])
        sizes = np.bincount(scene.labels.ravel(), minlength=3)[1:].tolist()
        if sizes == [int(first.mask.sum()), int(second.mask.sum())]:
            return scene
    raise ValueError(f"two tumours do not fit into {training.crop}")


def same_instances(prediction: NDArray[np.integer], reference: NDArray[np.integer]) -> set[int]:
    """Labels of the reference that have a predicted instance of their own, above `SAME_IOU`."""
    sizes = np.bincount(prediction.ravel())
    same = set()
    for label in np.unique(reference[reference > 0]):
        mask = reference == label
        shared = np.bincount(prediction[mask], minlength=len(sizes))
        union = sizes + int(mask.sum()) - shared
        if (shared[1:] > SAME_IOU * union[1:]).any():
            same.add(int(label))
    return same
