"""Fit how sure a model is of a lesion, where the truth is known and the model never learnt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from medseg.config import Calibration, ReliabilityRow, SegmentSettings
from medseg.core.prediction import VoxelModel, VoxelPrediction
from medseg.core.volume import Volume
from medseg.evaluate.reliability import Judged, Reliable, reliability
from medseg.evaluate.rules import LABELS_ANY_OVERLAP
from medseg.evaluate.sizes import BIN_DIAMETERS_MM
from medseg.segment.clean import cold_on
from medseg.segment.confidence import describe
from medseg.segment.delineate import is_lesion
from medseg.segment.dense import find_lesions
from medseg.segment.prepare import prepare
from medseg.segment.proposals import adopt
from medseg.segment.restore import restore

LEAST_LESIONS = 8
"""True lesions, and false ones, below which nothing is fitted: a coefficient needs some ten events
(Peduzzi et al. 1996, doi 10.1016/S0895-4356(96)00236-3), and the penalty stands for the rest."""

LEAST_PATIENTS = 5
"""Patients below which holding one out says too little."""

PENALTY = 1.0
"""Weight of the square of the coefficients of standardised features: a Gaussian of unit width
before the data are seen."""


@dataclass(frozen=True, eq=False)
class Described:
    """The predicted lesions of one patient whose truth is known.

    Attributes:
        patient: Name by which patients are held out; a synthetic case is named after the patient
            that its lesions are of.
        features: (N, 4) as from `segment.confidence.describe`.
        true: (N,) boolean: it overlaps a reference lesion.
        volumes_mm3: (N,) volume on the acquired grid.
    """

    patient: str
    features: NDArray[np.float64]
    true: NDArray[np.bool_]
    volumes_mm3: NDArray[np.float64]


def describe_case(
    patient: str,
    model: VoxelModel,
    volumes: Mapping[str, Volume],
    reference: NDArray[np.integer],
    settings: SegmentSettings,
) -> Described:
    """Predict one case, and say which of the predicted lesions are true.

    Args:
        patient: Name by which patients are held out.
        model: A dense one, or one that proposes.
        volumes: Role to volume.
        reference: (I, J, K) labels on the grid of the model's first role; 0 is background.
        settings: How instances are separated.

    Raises:
        ValueError: The model knows no lesions.
    """
    study = prepare(volumes, model.roles, model.spacing_mm)
    prediction = model.predict(study)
    geometry = volumes[model.roles[0]].geometry
    heatmap = None
    if isinstance(prediction, VoxelPrediction):
        lesions = prediction.of([name for name in prediction.structures if is_lesion(name)])
        if lesions is None:
            raise ValueError("the model knows no lesions")
        separated, _ = find_lesions(lesions, settings, cold_on(study.data[0], settings))
        heatmap = prediction.centre_heatmap
    else:
        separated = adopt(prediction, study.geometry, settings)
    labels, sources, _ = restore(separated, geometry)
    rows = np.array(sources, np.intp) - 1
    sizes = np.bincount(labels.ravel(), minlength=len(rows) + 1)[1:]
    touched = np.zeros(len(rows) + 1, bool)
    touched[np.unique(labels[reference > 0])] = True
    return Described(
        patient,
        describe(separated, heatmap)[rows],
        touched[1:],
        sizes.astype(np.float64) * geometry.voxel_volume_mm3,
    )


def calibrate(cases: Sequence[Described], named: str) -> Calibration | None:
    """Fit the confidence, and measure it on patients that were held out of the fit.

    Args:
        cases: Several may be of one patient.
        named: What the cases are, in words, for the card.

    Returns:
        The coefficients of all cases, with the reliability of those of all but one patient on that
        one; None where there are too few lesions to fit anything.
    """
    patients = sorted({case.patient for case in cases if len(case.true)})
    true = np.concatenate([case.true for case in cases]) if cases else np.zeros(0, bool)
    if min(true.sum(), (~true).sum()) < LEAST_LESIONS or len(patients) < LEAST_PATIENTS:
        return None
    held_out = [
        _judged(
            [case for case in cases if case.patient == patient],
            fit([case for case in cases if case.patient != patient]),
        )
        for patient in patients
    ]
    found = reliability(held_out)
    weights, offset = fit(cases)
    a, b, c, d = (float(w) for w in weights)
    return Calibration(
        rule=LABELS_ANY_OVERLAP,
        cases=named,
        patients=len(patients),
        weights=(a, b, c, d),
        offset=float(offset),
        reliability=tuple(
            _row(name, one)
            for name, one in zip(("all", *_sizes()), (found.all, *found.by_size), strict=True)
        ),
        expected_calibration_error=round(found.ece.value, 4),
        expected_calibration_error_interval=(round(found.ece.low, 4), round(found.ece.high, 4)),
    )


def fit(cases: Sequence[Described]) -> tuple[NDArray[np.float64], float]:
    """Logistic regression with a ridge penalty.

    Returns:
        (4,) weights of the features as they are, and the offset.
    """
    features = np.concatenate([case.features for case in cases])
    true = np.concatenate([case.true for case in cases])
    middle, width = features.mean(axis=0), features.std(axis=0)
    # A feature that never changes says nothing.
    x = (features - middle) / np.where(width > 0, width, np.inf)
    sign = np.where(true, 1.0, -1.0)

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (x @ theta[:-1] + theta[-1])
        push = -sign * expit(-margin)
        gradient = np.append(x.T @ push + PENALTY * theta[:-1], push.sum())
        value = np.logaddexp(0, -margin).sum() + PENALTY / 2 * (theta[:-1] ** 2).sum()
        return float(value), gradient

    theta = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="BFGS").x
    weights = theta[:-1] / np.where(width > 0, width, np.inf)
    return weights, float(theta[-1] - weights @ middle)


def _judged(cases: Sequence[Described], fitted: tuple[NDArray[np.float64], float]) -> Judged:
    weights, offset = fitted
    features = np.concatenate([case.features for case in cases])
    return Judged(
        expit(features @ weights + offset),
        np.concatenate([case.true for case in cases]),
        np.concatenate([case.volumes_mm3 for case in cases]),
    )


def _sizes() -> tuple[str, ...]:
    edges = [f"{d:g}" for d in BIN_DIAMETERS_MM]
    between = [f"{low} to {high}" for low, high in pairwise(edges)]
    return tuple(f"{size} mm" for size in (f"below {edges[0]}", *between, f"from {edges[-1]}"))


def _row(name: str, one: Reliable) -> ReliabilityRow:
    return ReliabilityRow(
        size=name,
        lesions=one.lesions,
        confidence=round(one.confidence, 3) if one.lesions else None,
        precision=round(one.precision, 3) if one.lesions else None,
    )
