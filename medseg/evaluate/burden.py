"""How much lesion there is in all: number, volume and, on an image, uptake."""

import numpy as np

from medseg.core.instances import InstanceMap
from medseg.core.volume import Volume


def burden(instances: InstanceMap, volume: Volume | None) -> dict[str, float]:
    """Lesions, their volume, and with an image on the same grid its intensity in them.

    Returns:
        `lesions`, `volume_mm3`; with an image `intensity_mean`, `intensity_max` (not a number
        without lesions) and `intensity_times_ml`, which of SUV is the total lesion glycolysis.
    """
    inside = instances.labels > 0
    volume_mm3 = int(inside.sum()) * instances.geometry.voxel_volume_mm3
    found = {"lesions": float(len(instances.instances)), "volume_mm3": volume_mm3}
    if volume is None:
        return found
    values = volume.data[inside].astype(np.float64)
    mean = float(values.mean()) if len(values) else np.nan
    return {
        **found,
        "intensity_mean": mean,
        "intensity_max": float(values.max(initial=-np.inf)) if len(values) else np.nan,
        "intensity_times_ml": mean * volume_mm3 / 1000 if len(values) else 0.0,
    }
