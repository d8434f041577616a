"""An instance network that looks at a whole study, tile by tile."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.config import ModelCard, Spacing
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput, Progress, Proposal, silent
from medseg.model.networks.candidate import Candidate, InstanceNetwork
from medseg.model.normalise import normalise, scaled
from medseg.model.predict import out_of_memory
from medseg.model.tiling import owner, starts

LEAST_OVERLAP = 0.5
"""Share of a tile that its neighbour covers too, at least: an instance up to half a tile long lies
whole in the tile that owns its centre."""


@dataclass(frozen=True, eq=False)
class ProposingModel:
    """A loaded instance network; satisfies `core.prediction.VoxelModel`.

    Attributes:
        card: What the network needs and says.
        network: With its weights, ready to predict.
        tile_overlap: Share of a tile that its neighbour covers too, 0 up to but not 1;
            `LEAST_OVERLAP` where it is less.
    """

    card: ModelCard
    network: InstanceNetwork
    tile_overlap: float

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the volumes that become its channels, in order; the first sets the grid."""
        return self.card.input.roles

    @property
    def spacing_mm(self) -> Spacing:
        """Spacing of its grid along R, A and S."""
        return self.card.input.spacing_mm

    def predict(self, study: ModelInput, progress: Progress = silent) -> tuple[Proposal, ...]:
        """The instances of a study, each from the one tile that owns its centre.

        Args:
            study: On a grid of the model's spacing, whatever its size.
            progress: Told `predict` and the share of the tiles that is done.

        Raises:
            ValueError: The study has other channels than the model.
        """
        data = normalise(scaled(study.data, self.card.input), self.card.input)
        padded, before = self._padded(data)
        begins = self._begins(padded.shape[1:])
        places = list(product(*begins))
        found: list[Proposal] = []
        for done, corner in enumerate(places, start=1):
            tile = [slice(c, c + t) for c, t in zip(corner, self.card.input.tile, strict=True)]
            part = padded[(slice(None), *tile)]
            if part[0].max() >= self.card.input.empty_below:
                for each in self._tile(part):
                    if self._owns(begins, corner, each):
                        here = [c - b for c, b in zip(corner, before, strict=True)]
                        found += self._placed(each, here, study.geometry)
            progress("predict", done / len(places))
        return tuple(found)

    def _padded(self, data: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[int]]:
        """The study with air around it, in at least one whole tile, and where it begins in that.

        It lies in the middle where crops were learnt from so (`input.whole_tiles`).
        """
        step = self.card.network.step(self.spacing_mm)
        sizes = zip(data.shape[1:], self.card.input.tile, step, strict=True)
        more = [max(t, -(-n // s) * s) - n for n, t, s in sizes]
        before = [n // 2 if self.card.input.whole_tiles else 0 for n in more]
        around = [(b, n - b) for b, n in zip(before, more, strict=True)]
        return np.pad(data, [(0, 0), *around]), before

    def _begins(self, shape: tuple[int, ...]) -> list[list[int]]:
        """Where the tiles of each axis begin."""
        overlap = max(self.tile_overlap, LEAST_OVERLAP)
        sizes = zip(
            shape, self.card.input.tile, self.card.network.step(self.spacing_mm), strict=True
        )
        return [starts(n, t, overlap, s) for n, t, s in sizes]

    def _owns(self, begins: list[list[int]], corner: tuple[int, ...], each: Candidate) -> bool:
        """Whether the tile at a corner is the one that owns the candidate's centre."""
        axes = zip(begins, self.card.input.tile, corner, each.centre, strict=True)
        return all(owner(b, tile, c + place) == c for b, tile, c, place in axes)

    def _tile(self, data: NDArray[np.float32]) -> list[Candidate]:
        with torch.inference_mode(), out_of_memory():
            x = torch.from_numpy(np.ascontiguousarray(data))[None]
            return self.network.propose(x.to(memory_format=torch.channels_last_3d))

    def _placed(self, each: Candidate, corner: list[int], geometry: Geometry) -> list[Proposal]:
        """The candidate on the study's grid; none where all of it lies in the padding.

        Args:
            each: In a tile.
            corner: Where the tile begins in the study; below 0 in the padding before it.
            geometry: Of the study.
        """
        first = [c + n for c, n in zip(corner, each.corner, strict=True)]
        begins = [max(0, n) for n in first]
        stops = [
            min(f + m, n) for f, m, n in zip(first, each.mask.shape, geometry.shape, strict=True)
        ]
        if any(stop <= begin for begin, stop in zip(begins, stops, strict=True)):
            return []
        i, j, k = (slice(a, b) for a, b in zip(begins, stops, strict=True))
        mask = each.mask[
            tuple(slice(a - f, b - f) for f, a, b in zip(first, begins, stops, strict=True))
        ]
        structure = self.card.network.structures[each.structure]
        return [Proposal(each.score, structure, (i, j, k), mask, geometry)] if mask.any() else []
