"""What a trained model is measured by, through the line that a study takes."""

from collections.abc import Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, tracking_uid
from medseg.core.prediction import VoxelModel
from medseg.evaluate.cohort import RESAMPLES, Interval, interval, summarise
from medseg.evaluate.rules import LABELS_ANY_OVERLAP, PANOPTICA_IOU50
from medseg.evaluate.scores import Scores, evaluate
from medseg.training.datasets import Case
from medseg.training.validate import dice, labels_of

SAME_IOU = 0.5
"""Intersection over union above which a predicted instance is the reference instance; none can be
that of two, as instances do not overlap (Kirillov et al. 2019, doi 10.1109/CVPR.2019.00963)."""


OUTLINE_MM = 10
"""Two voxels of the model's grid: farther from a lesion no doubt about its outline explains it."""


def score_cases(
    model: VoxelModel, cases: Sequence[Case], settings: SegmentSettings
) -> dict[str, float]:
    """How well the lesions of cases are outlined and found.

    Returns:
        Mean and least Dice of the foreground on the acquired grid, the mean with its 95 % interval
        by bootstrap over the cases where there are several; how many lesions there are, how
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
    drawn = np.random.default_rng(0).integers(0, len(cases), (RESAMPLES, len(cases)))
    mean = interval(np.array(overlaps), drawn, lambda values: values.mean(axis=-1))
    return {
        "cases": len(cases),
        "mean_dice": round(mean.value, 4),
        **interval_of(mean),
        "least_dice": round(min(overlaps), 4),
        "lesions": lesions,
        "lesions_found": found,
        "lesions_delineated_as_one": own,
        "false_positives": false,
    }


def interval_of(mean: Interval) -> dict[str, float]:
    """The ends of an interval, where there is one."""
    if np.isnan(mean.low):
        return {}
    return {"mean_dice_low": round(mean.low, 4), "mean_dice_high": round(mean.high, 4)}


def score_outside(model: VoxelModel, body: Case, settings: SegmentSettings) -> dict[str, float]:
    """What is called lesion of a whole body though it is none.

    Returns:
        What `outside` says, and Dice of the foreground.
    """
    predicted = labels_of(model, body, settings)
    return {
        "dice": round(dice(predicted > 0, body.labels > 0), 4),
        **{name: round(value, 1) for name, value in outside(predicted, body).items()},
    }


def outside(predicted: NDArray[np.uint16], body: Case) -> dict[str, float]:
    """Volume called lesion outside the known lesions of a body, in mL, and how much of it is where.

    Outlines differ by a voxel or two around every lesion; what lies farther off than
    `OUTLINE_MM`, or in an instance that overlaps no lesion (a false positive), is other tissue.
    """
    healthy = body.labels == 0
    wrong = (predicted > 0) & healthy
    touched = np.unique(predicted[~healthy])
    apart = wrong & ~np.isin(predicted, touched)
    far = np.ones_like(wrong)
    if body.lesions:  # without a voxel to be far from, scipy's distances mean nothing
        far = distance_transform_edt(healthy, sampling=body.geometry.spacing_mm) > OUTLINE_MM
    voxel_ml = body.geometry.voxel_volume_mm3 / 1000
    return {
        "volume_outside_ml": int(wrong.sum()) * voxel_ml,
        f"volume_beyond_{OUTLINE_MM}_mm_ml": int((wrong & far).sum()) * voxel_ml,
        "false_positives": len(np.unique(predicted[apart])),
        "false_positive_volume_ml": int(apart.sum()) * voxel_ml,
    }


def score_instances(
    model: VoxelModel, bodies: Sequence[Case], settings: SegmentSettings
) -> dict[str, float]:
    """How well lesions are told apart, by the rule `panoptica-iou50`, pooled over bodies.

    Connected components (26) of the same foreground are scored beside, as the peer to beat.

    Args:
        model: Scored.
        bodies: Synthetic whole bodies with every lesion known, none of which the model learnt from.
        settings: How instances are separated.

    Returns:
        Panoptic quality of both, 0 to 1, with 95 % intervals by bootstrap over the bodies where
        there are several; lesions, how many were found (any overlap), and the means over the
        bodies of what `outside` says.
    """
    ours: list[Scores] = []
    components: list[Scores] = []
    wrong: list[dict[str, float]] = []
    for body in bodies:
        reference = instances_of(body.labels, body.geometry)
        predicted = labels_of(model, body, settings)
        together = cc3d.connected_components(predicted > 0, connectivity=26)
        ours.append(evaluate(instances_of(predicted, body.geometry), reference))
        components.append(
            evaluate(instances_of(together.astype(np.uint16), body.geometry), reference)
        )
        wrong.append(outside(predicted, body))
    found = [one.under(LABELS_ANY_OVERLAP) for one in ours]
    scores: dict[str, float] = {
        "bodies": len(bodies),
        "lesions": sum(one.reference_lesions for one in found),
        "lesions_found": sum(one.found_lesions for one in found),
        **{
            f"{name}_mean": round(float(np.mean([one[name] for one in wrong])), 1)
            for name in wrong[0]
        },
    }
    for name, those in (("pq", ours), ("pq_of_connected_components", components)):
        (pooled,) = (one for one in summarise(those).pooled if one.rule == PANOPTICA_IOU50)
        scores[name] = round(pooled.pq.value, 4)
        if len(bodies) > 1:
            scores |= {
                f"{name}_low": round(pooled.pq.low, 4),
                f"{name}_high": round(pooled.pq.high, 4),
            }
    return scores


def instances_of(labels: NDArray[np.uint16], geometry: Geometry) -> InstanceMap:
    """Labels as lesions, for scoring."""
    rows = tuple(
        Instance(int(n), "lesion", "lesion", tracking_uid("score", "lesion", int(n)))
        for n in np.unique(labels[labels > 0])
    )
    return InstanceMap(labels, geometry, rows)


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
