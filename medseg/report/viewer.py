"""The slices as text inside the page, from which its script unpacks them."""

import base64
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medseg.core.report import SliceStack
from medseg.report.planes import DIRECTIONS


def packed(slices: SliceStack, organs: Mapping[int, str]) -> dict[str, object]:
    """What the page's script needs, as plain values.

    Arrays are bytes in the order of the last axis first (uint8, or uint16 with the low byte
    first), compressed by zlib (RFC 1950), as base64.

    Args:
        slices: Image and labels.
        organs: Label to the organ's name.
    """
    origin = np.array(slices.origin_mm)
    places = {
        label: np.clip(
            np.rint((np.array(place) - origin) @ DIRECTIONS.T / slices.spacing_mm),
            0,
            np.array(slices.voxels.shape) - 1,
        )
        for label, place in slices.places_mm.items()
    }
    return {
        "size": slices.voxels.shape,
        "spacing": slices.spacing_mm,
        "origin": slices.origin_mm,
        "levels": [float(f"{level:.5g}") for level in slices.levels],
        "unit": slices.unit,
        "inverted": slices.inverted,
        "places": {str(label): place.astype(int).tolist() for label, place in places.items()},
        "organs": {str(label): name for label, name in organs.items()},
        "voxels": _packed(slices.voxels),
        "lesions": _packed(slices.lesions.astype("<u2")),
        "organ_labels": _packed(slices.organs.astype("<u2")),
    }


def _packed(array: NDArray[np.generic]) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 6)).decode("ascii")
