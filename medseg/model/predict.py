"""A network that predicts a whole study, tile by tile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg.config import ModelCard, NetworkSettings, Spacing, load_structures
from medseg.core.prediction import ModelInput, Progress, VoxelPrediction, silent
from medseg.core.structures import mirrored
from medseg.core.study import QualityFlag
from medseg.model.domain import doubts
from medseg.model.networks.context import coarse, margin
from medseg.model.networks.features import brain_features
from medseg.model.networks.judge import from_afar, judged
from medseg.model.networks.perceptron import VoxelPerceptron
from medseg.model.normalise import normalise, scaled
from medseg.model.tiling import corners, weights

NOTHING = -20.0
"""Logit of a voxel of which no tile says anything, because there is only air."""


@dataclass(frozen=True, eq=False)
class TiledModel:
    """A loaded network; satisfies `core.prediction.VoxelModel`.

    Attributes:
        card: What the network needs and says.
        network: With its weights, ready to predict.
        tile_overlap: Share of a tile that its neighbour covers too, 0 up to but not 1.
    """

    card: ModelCard
    network: nn.Module
    tile_overlap: float

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the volumes that become its channels, in order; the first sets the grid."""
        return self.card.input.roles

    @property
    def spacing_mm(self) -> Spacing:
        """Spacing of its grid along R, A and S."""
        return self.card.input.spacing_mm

    def predict(self, study: ModelInput, progress: Progress = silent) -> VoxelPrediction:
        """Probabilities and centres on the study's grid.

        The study is padded to a multiple of the network's step with the lowest intensity of each
        channel, as air surrounds a patient. The same study gives the same prediction, bit for
        bit, on one machine with one number of threads.

        Args:
            study: On a grid of the model's spacing, whatever its size.
            progress: Told `predict` and the share of the tiles that is done.

        Returns:
            The prediction on the study's grid.

        Raises:
            ValueError: The study has other channels than the model.
        """
        network = self.card.network
        data = scaled(study.data, self.card.input)
        if self.card.input.mirrored:
            outputs = self._of_both_sides(data, progress)
        else:
            outputs = self._outputs(data, progress)
        flags = (*doubts(study, self.card.input), *self._judge(outputs, data))
        values: NDArray[np.float32] = torch.from_numpy(outputs[: network.logits]).sigmoid_().numpy()
        return VoxelPrediction(
            probabilities=values[: len(network.structures)],
            structures=network.structures,
            geometry=study.geometry,
            centre_heatmap=values[-1] if network.centre_heatmap else None,
            offsets_mm=outputs[network.logits :] if network.offsets else None,
            flags=flags,
        )

    def _judge(
        self, outputs: NDArray[np.float32], data: NDArray[np.float32]
    ) -> tuple[QualityFlag, ...]:
        """Lower the first structure's logits to what is said from afar, where that is lower.

        What the judge's settings take off comes off after that.

        How long the scan is, is read off the model's grid, the only one that is known here: a
        scan whose slices are tilted against it counts as longer than it is.

        Returns:
            A flag where there is a judge and it was not asked.
        """
        network, judge = self.card.network, getattr(self.network, "judge", None)
        settings = network.judge if isinstance(network, NetworkSettings) else None
        if settings is None or judge is None:
            return ()
        extent_mm = data.shape[3] * self.spacing_mm[2]
        if extent_mm < settings.least_extent_mm:
            return (_not_judged(extent_mm, settings.least_extent_mm),)
        with out_of_memory():
            far = from_afar(data, self.spacing_mm)
            said = judged(judge, normalise(far, self.card.input), settings.factor)
        np.minimum(outputs[0], said, out=outputs[0])
        outputs[0] -= settings.taken_off
        return ()

    def _of_both_sides(self, data: NDArray[np.float32], progress: Progress) -> NDArray[np.float32]:
        """The mean of what is said of a study and of its mirror image, right for left."""
        network, structures = self.card.network, load_structures()
        as_it_is = self._outputs(data, lambda stage, share: progress(stage, share / 2))
        reversed_r = np.ascontiguousarray(data[:, ::-1])
        image = self._outputs(reversed_r, lambda stage, share: progress(stage, 0.5 + share / 2))
        order = [network.structures.index(mirrored(n, structures)) for n in network.structures]
        image = image[[*order, *range(len(order), len(image))], ::-1]
        if network.offsets:
            image[network.logits] *= -1  # a way to the right becomes one to the left
        as_it_is += image
        as_it_is /= 2
        return as_it_is

    def _outputs(self, data: NDArray[np.float32], progress: Progress) -> NDArray[np.float32]:
        """(outputs, I, J, K) means of what the tiles say, weighted by how central a voxel was."""
        network, shape = self.card.network, data.shape[1:]
        step = network.step(self.card.input.spacing_mm)
        # Two coarse voxels: one has no variance.
        whole = [max(2, -(-n // s)) * s for n, s in zip(shape, step, strict=True)]
        if self.card.input.whole_tiles:
            whole = [max(w, t) for w, t in zip(whole, self.card.input.tile, strict=True)]
        i, j, k = (min(t, n) for t, n in zip(self.card.input.tile, whole, strict=True))
        tile = (i, j, k)
        begin = self._begin(shape, whole)
        padded = self._padded(data, whole, begin)
        around = self._around(padded, tile)
        padded = self._channels(padded)
        total = np.zeros((network.outputs, *padded.shape[1:]), np.float32)
        weight = np.zeros(padded.shape[1:], np.float32)
        share = weights(tile)
        # Of a voxel that is seen alone every tile says the same.
        overlap = 0.0 if isinstance(self.network, VoxelPerceptron) else self.tile_overlap
        places = corners(padded.shape[1:], tile, overlap, step)
        for done, corner in enumerate(places, start=1):
            box = tuple(slice(c, c + t) for c, t in zip(corner, tile, strict=True))
            if padded[0][box].max() >= self.card.input.empty_below:
                said = self._tile(padded[(slice(None), *box)], self._surroundings(around, corner))
                total[(slice(None), *box)] += said * share
                weight[box] += share
            progress("predict", done / len(places))
        total /= np.maximum(weight, np.finfo(np.float32).tiny)
        total[: network.logits, weight == 0] = NOTHING
        inside = (slice(b, b + n) for b, n in zip(begin, shape, strict=True))
        return np.ascontiguousarray(total[(slice(None), *inside)])

    def _begin(self, shape: tuple[int, ...], whole: list[int]) -> list[int]:
        """Where the study begins in what is padded: in the middle, as crops were learnt from."""
        if not self.card.input.whole_tiles:
            return [0] * len(whole)
        return [(w - n) // 2 for w, n in zip(whole, shape, strict=True)]

    def _padded(
        self, data: NDArray[np.float32], whole: list[int], begin: list[int]
    ) -> NDArray[np.float32]:
        """The study with the lowest intensity of each channel beyond it."""
        padded = np.empty((len(data), *whole), np.float32)
        for channel, (low, _) in enumerate(self.card.input.clip):
            padded[channel] = low
        inside = (slice(b, b + n) for b, n in zip(begin, data.shape[1:], strict=True))
        padded[(slice(None), *inside)] = data
        return padded

    def _channels(self, padded: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network sees: intensities in 0..1, or the features of a brain's voxels."""
        if not isinstance(self.network, VoxelPerceptron):
            return normalise(padded, self.card.input)
        (image,), ((_, high),) = padded, self.card.input.clip
        return brain_features(np.minimum(image, high), self.network.prior, self.spacing_mm)

    def _around(
        self, padded: NDArray[np.float32], tile: tuple[int, int, int]
    ) -> NDArray[np.float32] | None:
        """The whole study on the coarse grid, normalised, with the margin of a tile around it."""
        context = self.card.input.context
        if context is None:
            return None
        small = normalise(coarse(padded, context.factor), self.card.input)
        return np.pad(small, [(0, 0), *((m, m) for m in margin(context, tile))])

    def _surroundings(
        self, around: NDArray[np.float32] | None, corner: tuple[int, int, int]
    ) -> NDArray[np.float32] | None:
        """The part of it that goes with the tile that begins at a corner."""
        context = self.card.input.context
        if around is None or context is None:
            return None
        begins = [c // context.factor for c in corner]
        box = tuple(slice(b, b + n) for b, n in zip(begins, context.tile, strict=True))
        return around[(slice(None), *box)]

    def _tile(
        self, data: NDArray[np.float32], surroundings: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        with torch.inference_mode(), out_of_memory():
            parts = [
                torch.from_numpy(np.ascontiguousarray(part))[None].to(
                    memory_format=torch.channels_last_3d
                )
                for part in (data, surroundings)
                if part is not None
            ]
            logits = self.network(*parts)
        values: NDArray[np.float32] = logits[0].contiguous().numpy()
        return values


def _not_judged(extent_mm: float, least_mm: float) -> QualityFlag:
    return QualityFlag(
        "short-scan",
        f"The scan is {extent_mm // 10:.0f} cm long from head to foot. The model tells lesions "
        "from normal uptake by the whole body, where it sees at least "
        f"{least_mm / 10:.0f} cm of it; on a shorter scan brain, heart, kidneys, bladder or gut "
        "are often called lesions.",
    )


@contextmanager
def out_of_memory() -> Iterator[None]:
    """Raise what torch says of a full memory as Python says it.

    Raises:
        MemoryError: The allocator of torch found no memory; it raises a bare `RuntimeError`.
    """
    try:
        yield
    except RuntimeError as error:
        if "allocate memory" in str(error) or isinstance(error, torch.OutOfMemoryError):
            raise MemoryError from None
        raise
