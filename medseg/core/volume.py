"""One scalar image on one voxel grid."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry

MAX_VOXELS = 2**29
"""Bound for what a header may claim: 2 GiB of float32, twice a CT of 512 x 512 x 1000."""


class IntensityUnit(StrEnum):
    """What one step of intensity means."""

    HU = "HU"
    """Hounsfield unit (CT)."""
    SUV = "SUV"
    """Standardised uptake value by body weight, g/mL (PET)."""
    BQML = "Bq/mL"
    """Activity concentration of a PET whose tags do not allow SUV."""
    ARBITRARY = "arbitrary"
    """No physical meaning (MR), or none that the source states (NIfTI)."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One scalar image on one voxel grid.

    Attributes:
        data: (I, J, K) float32, finite, read-only.
        geometry: Where that grid lies in the patient, RAS+ mm.
        unit: What one step of intensity means.

    Raises:
        ValueError: The data is not float32 on the geometry's grid.
    """

    data: NDArray[np.float32]
    geometry: Geometry
    unit: IntensityUnit

    def __post_init__(self) -> None:
        if self.data.shape != self.geometry.shape or self.data.dtype != np.float32:
            raise ValueError(
                f"{self.data.dtype} {self.data.shape} on a grid of {self.geometry.shape}"
            )
        data = self.data.view()
        data.setflags(write=False)
        object.__setattr__(self, "data", data)
