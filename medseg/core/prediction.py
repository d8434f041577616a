"""What a model may return, and what one must offer to be used by `segment`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.study import QualityFlag

Progress = Callable[[str, float], None]
"""Told the name of a stage and the share of it that is done, 0 to 1."""


def silent(_stage: str, _share: float) -> None:
    """The progress of a caller that does not ask for any."""


@dataclass(frozen=True, eq=False)
class ModelInput:
    """The volumes of a study on the grid of a model, not yet normalised.

    Attributes:
        data: (C, I, J, K) float32, one channel for each role of the model, in its order.
        geometry: The model's grid: it exists only between prepare and restore.

    Raises:
        ValueError: The data is not float32 on the geometry's grid.
    """

    data: NDArray[np.float32]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.data.shape[1:] != self.geometry.shape or self.data.dtype != np.float32:
            raise ValueError(
                f"{self.data.dtype} {self.data.shape} on a grid of {self.geometry.shape}"
            )


@dataclass(frozen=True, eq=False)
class VoxelPrediction:
    """What a dense model says of every voxel of its grid.

    Attributes:
        probabilities: (S, I, J, K) float32 in 0..1: how likely a voxel belongs to each structure.
        structures: The S structures, in the order of the probabilities.
        geometry: The model's grid.
        centre_heatmap: (I, J, K) float32 in 0..1, 1 at the centre of an instance; None where the
            model has no such head, and then instances are separated by the probabilities alone.
        offsets_mm: (3, I, J, K) float32, from a voxel to the centre of its instance in RAS+ mm;
            None where the model has no such head.
        flags: What speaks against its use on this study.

    Raises:
        ValueError: An array is not float32 on the geometry's grid, or the structures do not match.
    """

    probabilities: NDArray[np.float32]
    structures: tuple[str, ...]
    geometry: Geometry
    centre_heatmap: NDArray[np.float32] | None = None
    offsets_mm: NDArray[np.float32] | None = None
    flags: tuple[QualityFlag, ...] = ()

    def __post_init__(self) -> None:
        grid = self.geometry.shape
        if self.probabilities.shape != (len(self.structures), *grid):
            raise ValueError(
                f"{self.probabilities.shape} for {len(self.structures)} structures on {grid}"
            )
        if self.centre_heatmap is not None and self.centre_heatmap.shape != grid:
            raise ValueError(f"a heatmap of {self.centre_heatmap.shape} on a grid of {grid}")
        if self.offsets_mm is not None and self.offsets_mm.shape != (3, *grid):
            raise ValueError(f"offsets of {self.offsets_mm.shape} on a grid of {grid}")
        for array in (self.probabilities, self.centre_heatmap, self.offsets_mm):
            if array is not None and array.dtype != np.float32:
                raise ValueError(f"{array.dtype} where float32 is needed")

    def of(self, names: Collection[str]) -> "VoxelPrediction | None":
        """What it says of these structures alone, in its own order; None where it knows none."""
        kept = [n for n, name in enumerate(self.structures) if name in names]
        if not kept:
            return None
        return replace(
            self,
            probabilities=self.probabilities[kept],
            structures=tuple(self.structures[n] for n in kept),
        )


@dataclass(frozen=True, eq=False)
class Proposal:
    """What an instance model says of one candidate.

    Attributes:
        score: How sure the model is, 0..1.
        structure: What kind of thing it is.
        box: Index ranges of the mask in the model's grid.
        mask: Boolean array of the box's shape.
        geometry: The model's whole grid.

    Raises:
        ValueError: The mask does not fill the box, or the score is no probability.
    """

    score: float
    structure: str
    box: tuple[slice, slice, slice]
    mask: NDArray[np.bool_]
    geometry: Geometry

    def __post_init__(self) -> None:
        shape = tuple(s.stop - s.start for s in self.box)
        if self.mask.shape != shape or self.mask.dtype != np.bool_:
            raise ValueError(f"a {self.mask.dtype} mask of {self.mask.shape} in a box of {shape}")
        if not 0 <= self.score <= 1:
            raise ValueError(f"a score of {self.score}")


class VoxelModel(Protocol):
    """What `segment` asks of a model; `medseg.model.predict` and a threshold in a test both do."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the volumes that become its channels, in order; the first sets the grid."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing of its grid along R, A and S."""

    def predict(
        self, study: ModelInput, progress: Progress = silent
    ) -> VoxelPrediction | tuple[Proposal, ...]:
        """Predict on a grid of its spacing, whatever its size."""
