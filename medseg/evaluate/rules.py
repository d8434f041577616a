"""The named rules under which lesions are matched and counted; `docs/evaluate.md` explains them."""

from collections.abc import Mapping
from types import MappingProxyType

CC26_ANY_OVERLAP = "cc26-any-overlap"
LABELS_ANY_OVERLAP = "labels-any-overlap"
PANOPTICA_IOU50 = "panoptica-iou50"
NNDET_IOU10 = "nndet-iou10"
BRATS_METS_2023 = "brats-mets-2023"
CC_DICE_MM = "cc-dice-mm"

RULES: Mapping[str, str] = MappingProxyType(
    {
        CC26_ANY_OVERLAP: (
            "Lesions are the 26-connected components of the voxels with a label, in both maps, so "
            "lesions that touch count as one. A reference lesion is found if a predicted one "
            "shares a voxel with it; a predicted one that shares none is false."
        ),
        LABELS_ANY_OVERLAP: (
            "The same, and each label is a lesion: lesions that touch count apart."
        ),
        PANOPTICA_IOU50: (
            "Each label is a lesion. Lesions are paired one to one where their IoU is at least "
            "0.5, as panoptica does; what has no partner is missed or false."
        ),
        NNDET_IOU10: (
            "Each label is a lesion. The most confident first, lesions are paired one to one where "
            "the IoU of their bounding boxes is at least 0.1, as nnDetection does."
        ),
        BRATS_METS_2023: (
            "Reference lesions are components after one dilation, predicted ones plain components "
            "(26-connected); those that meet after it are compared. Reference lesions up to 2 mm3 "
            "do not count, a missed or false lesion counts with Dice 0 and HD95 374 mm."
        ),
        CC_DICE_MM: (
            "Each reference lesion is compared with what is predicted nearer to it, in mm, than to "
            "any other; the Dice of these territories is averaged, so that each lesion counts the "
            "same (CC-Metrics)."
        ),
    }
)
"""Name of a rule to what it says."""
