"""What a training run asks of its task, and where each kind of task is read."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from torch import Tensor

from medseg.core.prediction import VoxelModel
from medseg.training import ms_lesions, organs, pet_lesions
from medseg.training.sample import Sample
from medseg.training.settings import TrainingSettings


class Task(Protocol):
    """The data of one run in memory, what is drawn from it, and how a model is measured on it."""

    def sample(self, rng: np.random.Generator) -> Sample:
        """One crop to learn from; the same for the same state of `rng`."""

    def computed(self) -> Mapping[str, Tensor]:
        """What of the network's state is computed from the data, not learnt; name to tensor."""

    def validate(self, model: VoxelModel) -> Mapping[str, float]:
        """A few scores on cases that are never learnt from; the first is the one that counts."""

    def scores(self, model: VoxelModel) -> dict[str, dict[str, float]]:
        """Every score of the model card: data set to named score."""

    def content(self) -> Iterator[bytes]:
        """All that samples depend on besides the settings, for the digest of a checkpoint."""


READERS: Mapping[str, Callable[[TrainingSettings], Task]] = {
    "organs": organs.read,
    "painted-lesions": ms_lesions.read,
    "pet-lesions": pet_lesions.read,
}
"""Kind of task to what reads its data."""


def read(settings: TrainingSettings) -> Task:
    """The task of a run with its data.

    Raises:
        InputError: The data cannot be read, or are not what the settings say.
    """
    return READERS[settings.task.kind](settings)
