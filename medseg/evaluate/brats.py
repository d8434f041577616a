"""Lesion-wise Dice and Hausdorff distance as the BraTS 2023 challenge on metastases counts them."""

from dataclasses import dataclass
from functools import reduce

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure

from medseg.core.geometry import Geometry
from medseg.evaluate.sizes import Counts, Side, SizeBin, bins, plain_number
from medseg.evaluate.surface import Surface, Surfaces, compare

DILATION = generate_binary_structure(3, 2)
"""Voxels within reach of one: by a face or an edge, once (challenge parameter of BraTS-MET)."""

LEAST_VOLUME_MM3 = 2.0
"""Reference lesions up to this volume are not scored (challenge parameter of BraTS-MET)."""

PENALTY_MM = 374.0
"""Hausdorff distance of a lesion that was missed or is false: the diagonal of a BraTS volume."""


@dataclass(frozen=True)
class LesionWise(Counts):
    """Scores of BraTS-METS 2023 (Moawad et al. 2023, arXiv 2306.00838).

    Attributes:
        rule: Name of the rule.
        lesion_wise_dice: Sum of the Dice of the scored reference lesions over the number of these
            and of false lesions; 1 where there are neither.
        lesion_wise_hd95_mm: The same of the Hausdorff distance, where a missed and a false lesion
            count as `PENALTY_MM`; 0 where there are neither.
        by_size: Lesions of each range of volumes.
    """

    rule: str
    lesion_wise_dice: float
    lesion_wise_hd95_mm: float
    by_size: tuple[SizeBin, ...]

    def plain(self) -> dict[str, object]:
        """Plain values for JSON."""
        values = super().plain()
        return {
            **{name: value for name, value in values.items() if name not in {"rule", "by_size"}},
            "lesion_wise_dice": plain_number(self.lesion_wise_dice),
            "lesion_wise_hd95_mm": plain_number(self.lesion_wise_hd95_mm),
        }


def lesion_wise(
    rule: str, prediction: NDArray[np.bool_], reference: NDArray[np.bool_], geometry: Geometry
) -> LesionWise:
    """Score masks under the rule of BraTS-METS 2023.

    Reference lesions are the 26-connected components of the reference after one dilation, without
    what the dilation added: what lies two voxels apart is one. Predicted lesions are 26-connected
    components. A reference lesion is compared with all predicted ones that its dilation meets,
    together; a predicted one that meets none is false.

    Args:
        rule: Name of the rule.
        prediction: Boolean (I, J, K).
        reference: Boolean on the same grid.
        geometry: Where that grid lies.
    """
    lesions = cc3d.connected_components(binary_dilation(reference, DILATION), connectivity=26)
    lesions[~reference] = 0
    predicted = cc3d.connected_components(prediction, connectivity=26)
    sizes = np.bincount(predicted.ravel())
    surfaces, rivals = Surfaces(lesions, geometry), Surfaces(predicted, geometry)
    met: set[int] = set()
    volumes, dices, distances, found = [], [], [], []
    for label, box in enumerate(find_objects(lesions), start=1):
        if box is None:
            continue
        mask = lesions[box] == label
        partners = _met(mask, box, predicted)
        met |= set(partners)
        found.append(bool(partners))
        volumes.append(int(mask.sum()) * geometry.voxel_volume_mm3)
        both = int(np.count_nonzero(predicted[box][mask]))
        dices.append(2 * both / (int(mask.sum()) + int(sizes[partners].sum())))
        distances.append(_distance(surfaces.of(label), [rivals.of(n) for n in partners]))
    return _scores(
        rule,
        np.array(volumes, float),
        np.array(dices, float),
        np.array(distances, float),
        np.array(found, bool),
        Side(
            sizes[1:].astype(np.float64) * geometry.voxel_volume_mm3,
            np.isin(np.arange(1, len(sizes)), list(met)),
        ),
    )


def _met(
    mask: NDArray[np.bool_], box: tuple[slice, ...], predicted: NDArray[np.integer]
) -> list[int]:
    """The predicted lesions that a lesion meets once it is dilated."""
    reach = binary_dilation(np.pad(mask, 1), DILATION)
    wide = tuple(
        slice(max(0, s.start - 1), min(n, s.stop + 1))
        for s, n in zip(box, predicted.shape, strict=True)
    )
    inside = tuple(
        slice(w.start - s.start + 1, w.stop - s.start + 1) for w, s in zip(wide, box, strict=True)
    )
    found = np.unique(predicted[wide][reach[inside]])
    return [int(n) for n in found if n]


def _distance(lesion: Surface, partners: list[Surface]) -> float:
    """HD95 from a lesion to its partners together; the penalty where there is none."""
    if not partners:
        return PENALTY_MM
    return compare(lesion, reduce(Surface.and_also, partners), 0.0).hd95_mm


def _scores(
    rule: str,
    volumes_mm3: NDArray[np.float64],
    dices: NDArray[np.float64],
    distances_mm: NDArray[np.float64],
    found: NDArray[np.bool_],
    predicted: Side,
) -> LesionWise:
    scored = volumes_mm3 > LEAST_VOLUME_MM3
    false = int((~predicted.right).sum())
    count = int(scored.sum()) + false
    reference = Side(volumes_mm3[scored], found[scored])
    total_mm = float(distances_mm[scored].sum()) + false * PENALTY_MM
    return LesionWise(
        reference_lesions=int(scored.sum()),
        found_lesions=int(found[scored].sum()),
        predicted_lesions=len(predicted.right),
        false_lesions=false,
        rule=rule,
        lesion_wise_dice=float(dices[scored].sum()) / count if count else 1.0,
        lesion_wise_hd95_mm=total_mm / count if count else 0.0,
        by_size=bins(reference, predicted),
    )
