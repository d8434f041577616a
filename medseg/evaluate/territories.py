"""Dice of every reference lesion on its own territory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.spatial import KDTree

from medseg.core.geometry import Geometry
from medseg.evaluate.sizes import share

TIE_MM2 = 1e-6
"""Squared distances that differ by less than this are equal."""


@dataclass(frozen=True)
class TerritoryDice:
    """Dice on the territories of the reference lesions (CC-Metrics).

    Attributes:
        rule: Name of the rule.
        reference_lesions: Lesions of the reference, which are as many territories.
        dice: Mean Dice of the territories. Without reference lesions 1 if nothing was predicted,
            else 0.
        by_lesion: Dice of each, largest lesion first.
    """

    rule: str
    reference_lesions: int
    dice: float
    by_lesion: tuple[float, ...]


def territory_dice(
    rule: str,
    prediction: NDArray[np.bool_],
    reference: NDArray[np.integer],
    geometry: Geometry,
) -> TerritoryDice:
    """Dice of each reference lesion with what is predicted nearer to it than to any other, in mm.

    A voxel's territory is that of the lesion with the nearest voxel; of lesions equally near, the
    larger one's, so that the order of storage does not matter (Jaus et al. 2024, arXiv 2410.18684,
    where it is the first one's, and distances are in voxels).

    Args:
        rule: Name of the rule.
        prediction: Boolean (I, J, K).
        reference: (I, J, K) labels of the lesions; 0 is background.
        geometry: Where that grid lies.
    """
    sizes = np.bincount(reference.ravel())
    sizes[0] = 0
    lesions = np.flatnonzero(sizes)
    lesions = lesions[np.argsort(-sizes[lesions], kind="stable")]
    if not len(lesions):
        return TerritoryDice(rule, 0, 0.0 if prediction.any() else 1.0, ())
    rank = np.zeros(len(sizes), np.intp)
    rank[lesions] = np.arange(len(lesions))
    inside = prediction & (reference > 0)
    shared = np.bincount(rank[reference[inside]], minlength=len(lesions))
    outside = np.argwhere(prediction & (reference == 0))
    beyond = np.bincount(_nearest(outside, reference, rank, geometry), minlength=len(lesions))
    dice = 2 * shared / (sizes[lesions] + shared + beyond)
    return TerritoryDice(
        rule, len(lesions), share(float(dice.sum()), len(lesions)), tuple(map(float, dice))
    )


def _nearest(
    voxels: NDArray[np.intp],
    reference: NDArray[np.integer],
    rank: NDArray[np.intp],
    geometry: Geometry,
) -> NDArray[np.intp]:
    """The rank of the lesion that is nearest to each voxel; of equally near ones the lowest."""
    # The nearest voxel of a lesion has a neighbour that is not of it.
    low, high = (f(reference, 3, mode="constant") for f in (minimum_filter, maximum_filter))
    rim = (reference > 0) & (low != high)
    places = np.argwhere(rim)
    ranks = rank[reference[tuple(places.T)]]
    # A fourth coordinate that grows with the rank settles what is equally near in the patient.
    step = np.sqrt(TIE_MM2 * ranks / max(1, int(ranks.max(initial=0))))
    tree = KDTree(np.column_stack([geometry.to_world(places), step]))
    query = np.column_stack([geometry.to_world(voxels), np.zeros(len(voxels))])
    found: NDArray[np.intp] = ranks[tree.query(query)[1]] if len(voxels) else np.zeros(0, np.intp)
    return found
