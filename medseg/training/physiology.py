"""Where normal uptake is: known of phantoms, and by rules of the one real whole body.

The rules are boxes and thresholds found by eye on the PET of STS_001 (Vallieres et al. 2015), so
they hold for this image alone. They make weak labels: good enough to learn from, never to score by.
"""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.errors import InputError

ORGANS = (
    "brain",
    "heart",
    "kidney_left",
    "kidney_right",
    "liver",
    "intestine",
    "bladder",
    "injection_site",
)
"""Structures that take up or hold FDG without being ill; n + 1 is the code of the n-th."""

PARTS = {
    "intestine": ("colon", "small_bowel"),
    "bladder": ("urinary_bladder",),
    **{name: (name,) for name in ORGANS if name not in ("intestine", "bladder")},
}
"""Structure to the organs of a phantom that make it up."""

MIRRORED = {
    ORGANS.index("kidney_left") + 1: ORGANS.index("kidney_right") + 1,
    ORGANS.index("kidney_right") + 1: ORGANS.index("kidney_left") + 1,
}
"""Code to what it is in a mirror."""


@dataclass(frozen=True)
class Rule:
    """One organ of a given image: the largest hot component in a box, a little grown.

    Attributes:
        organ: Its name.
        low_mm: Lowest R, A and S of the box.
        high_mm: Highest.
        suv: Threshold.
        grow_mm: How far the organ reaches beyond the threshold's component.
    """

    organ: str
    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    suv: float
    grow_mm: float = 0.0


STS_001 = (
    Rule("kidney_right", (15, -95, -530), (92, -22, -412), 2.2),
    Rule("kidney_left", (-132, -92, -516), (-55, -30, -418), 2.3),
    Rule("liver", (-30, -95, -475), (125, 80, -335), 1.7),
    Rule("heart", (-105, -35, -358), (15, 75, -250), 2.3),
    Rule("bladder", (-50, -90, -705), (26, 20, -645), 3.0, 3.0),
    Rule("brain", (-90, -30, -40), (45, 60, -5), 3.0, 2.0),
)
"""The rules for the whole body of STS_001, in the order in which they are applied."""

SMOOTH_MM = 4.5
"""Standard deviation of the blur before the thresholds: noise shall not make organs."""


def codes_of_masks(masks: dict[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Codes where the parts of each structure are known.

    Args:
        masks: Organ of a phantom to where it is.
    """
    codes = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for code, name in enumerate(ORGANS, start=1):
        for part in PARTS[name]:
            if part in masks:
                codes[masks[part]] = code
    return codes


def codes_by_rules(
    image: NDArray[np.float32], geometry: Geometry, rules: tuple[Rule, ...] = STS_001
) -> NDArray[np.uint8]:
    """Codes where rules find organs.

    Args:
        image: (I, J, K) SUV.
        geometry: Its grid.
        rules: For this image; a later one does not take voxels from an earlier one.

    Raises:
        InputError: A rule finds nothing: the image is another one.
    """
    smooth = ndimage.gaussian_filter(image, [SMOOTH_MM / mm for mm in geometry.spacing_mm])
    places = geometry.to_world(np.argwhere(np.ones(geometry.shape, bool)))
    places = places.reshape(*geometry.shape, 3)
    codes = np.zeros(geometry.shape, np.uint8)
    for rule in rules:
        inside = ((places >= rule.low_mm) & (places <= rule.high_mm)).all(axis=-1)
        found = cc3d.largest_k(inside & (smooth > rule.suv) & (codes == 0), k=1, connectivity=6) > 0
        if not found.any():
            raise InputError(
                f"No {rule.organ} was found by the rules for the whole body, so it is another "
                "image than they were made for.",
                "Train without `whole_body`, or give the study that the rules describe.",
            )
        found = ndimage.binary_fill_holes(found) & inside
        if rule.grow_mm:
            far = ndimage.distance_transform_edt(~found, sampling=geometry.spacing_mm)
            found = far <= rule.grow_mm
        codes[found & (codes == 0)] = ORGANS.index(rule.organ) + 1
    return codes
