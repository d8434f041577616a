"""A perceptron on the features of each voxel by itself: for tasks with a handful of patients."""

import torch
from torch import Tensor, nn

from medseg.config import NetworkSettings
from medseg.model.networks.features import NAMES

BEYOND = -20.0
"""Logit beyond the brain, where the intensity is 0 and features say nothing."""

FARTHEST = 8.0
"""Standard deviations from its mean beyond which a feature is as far: nothing is known of there."""


class VoxelPerceptron(nn.Module):
    """Every layer sees one voxel; what lies around it is in its features (`networks.features`).

    Attributes:
        prior: Knots of the map of where lesions are wont to lie; computed, not learnt.
        middle: (F,) mean of each feature in training; computed.
        width: (F,) its standard deviation; computed.

    Args:
        settings: Widths of the hidden layers (`channels`), structures, the prior's knots.
    """

    prior: Tensor
    middle: Tensor
    width: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        count = len(NAMES)
        self.register_buffer("prior", torch.zeros(settings.prior or (2, 2, 2)))
        self.register_buffer("middle", torch.zeros(count))
        self.register_buffer("width", torch.ones(count))
        layers: list[nn.Module] = []
        for before, after in zip((count, *settings.channels), settings.channels, strict=False):
            layers += [nn.Conv3d(before, after, 1), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv3d(settings.channels[-1], settings.logits, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, I, J, K) features, the intensity first, to (N, logits, I, J, K)."""
        middle, width = self.middle.view(-1, 1, 1, 1), self.width.view(-1, 1, 1, 1)
        usual = ((x - middle) / width).clamp(-FARTHEST, FARTHEST)
        logits: Tensor = self.head(self.layers(usual))
        return torch.where(x[:, :1] > 0, logits, BEYOND)
