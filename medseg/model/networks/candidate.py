"""What an instance network says of one tile."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One instance in a tile.

    Attributes:
        score: How sure the network is, 0..1.
        structure: Index of what it is.
        corner: Where the mask begins in the tile.
        mask: Boolean (I, J, K), with a voxel in every outermost plane.
    """

    score: float
    structure: int
    corner: Shape
    mask: NDArray[np.bool_]

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) mean of its voxels' indices in the tile."""
        mean: NDArray[np.float64] = np.argwhere(self.mask).mean(axis=0) + self.corner
        return mean


class InstanceNetwork(Protocol):
    """A network that finds instances rather than voxels."""

    def propose(self, x: Tensor) -> list[Candidate]:
        """The instances of one tile, (1, C, I, J, K), normalised."""


def candidate(score: float, structure: int, mask: NDArray[np.bool_]) -> Candidate | None:
    """A mask of a whole tile as a candidate; None where it is empty."""
    places = np.argwhere(mask)
    if not len(places):
        return None
    low, high = places.min(axis=0), places.max(axis=0) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return Candidate(score, structure, (int(low[0]), int(low[1]), int(low[2])), mask[box])
