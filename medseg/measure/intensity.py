"""Statistics of a region's intensities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Intensities:
    """Statistics of a region, in the unit of the volume.

    They are those of the Image Biomarker Standardisation Initiative (IBSI, Zwanenburg et al.,
    Radiology 295:328, 2020); its codes stand in brackets.

    Attributes:
        mean: Mean (Q4LE).
        std: Square root of the variance of the population, divided by N (ECT3).
        minimum, maximum: Smallest (1GSF) and largest (84IY).
        median: Half lie below (Y12H).
        p10, p90: 10th (QG58) and 90th (8DWT) percentile, interpolated linearly between ranks.
    """

    mean: float
    std: float
    minimum: float
    maximum: float
    median: float
    p10: float
    p90: float


def intensities(values: NDArray[np.float64]) -> Intensities:
    """Summarise the intensities of a region.

    Args:
        values: (N,) float64, at least one.
    """
    p10, median, p90 = np.percentile(values, (10, 50, 90)).tolist()
    return Intensities(
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        median=median,
        p10=p10,
        p90=p90,
    )
