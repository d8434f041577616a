"""How likely a predicted instance is a true lesion, calibrated on validation cases.

The mean of a network's output over an instance says how sure the network is of its voxels, not how
often such an instance is a lesion. A logistic regression on a few features, fitted where the truth
is known (`training.calibrate`), says the latter; its coefficients stand in the model card.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum
from scipy.special import expit, logit

from medseg.config import CONFIDENCE_FEATURES, Calibration
from medseg.segment.separate import Separated

SUREST = 1e-4
"""Probabilities closer to 0 or 1 count as that close: single precision knows no closer ones."""


def describe(
    separated: Separated, centre_heatmap: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    """What the confidence of each instance rests on.

    Args:
        separated: Instances on the model's grid.
        centre_heatmap: (I, J, K) on the same grid, or None where the model has none.

    Returns:
        (N, 4) in the order of `config.CONFIDENCE_FEATURES`: the logit of the highest probability,
        the mean logit, the decimal logarithm of the volume in mm3, and the highest value of the
        heatmap, 0 without one. Of an instance that was proposed, both logits are that of its score,
        and the last is the score.
    """
    count = len(separated.structures)
    where = np.flatnonzero(separated.labels)
    row = separated.labels.reshape(-1)[where] - 1
    size = np.bincount(row, minlength=count)
    sure = logit(
        np.clip(separated.foreground.reshape(-1)[where].astype(np.float64), SUREST, 1 - SUREST)
    )
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, row, sure)
    centre = np.zeros(count)
    if centre_heatmap is not None and count:
        centre = np.array(maximum(centre_heatmap, separated.labels, np.arange(1, count + 1)))
    mean = np.bincount(row, sure, count) / np.maximum(size, 1)
    if separated.scores is not None:
        centre = np.array(separated.scores, float)
        highest = mean = logit(np.clip(centre, SUREST, 1 - SUREST))
    columns = {
        "peak_logit": highest,
        "mean_logit": mean,
        "log_volume": np.log10(np.maximum(size, 1) * separated.geometry.voxel_volume_mm3),
        "centre": centre,
    }
    return np.column_stack([columns[name] for name in CONFIDENCE_FEATURES])


def sure_of(
    separated: Separated,
    centre_heatmap: NDArray[np.float32] | None,
    calibration: Calibration | None,
) -> tuple[float | None, ...]:
    """The confidence of each instance in the order of its labels; None without a calibration."""
    if calibration is None:
        return (None,) * len(separated.structures)
    return tuple(map(float, confidences(describe(separated, centre_heatmap), calibration)))


def confidences(features: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """The calibrated probability of each instance that it is a true lesion.

    Args:
        features: (N, 4) as from `describe`.
        calibration: Of the model card.
    """
    probability: NDArray[np.float64] = expit(
        features @ np.array(calibration.weights) + calibration.offset
    )
    return probability
