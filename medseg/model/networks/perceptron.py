"""Perceptrons on the features of each voxel by itself: for tasks with a handful of patients."""

import torch
from torch import Tensor, nn

from medseg.config import NetworkSettings
from medseg.model.networks.features import NAMES

BEYOND = -20.0
"""Logit beyond the brain, where the intensity is 0 and features say nothing."""

FARTHEST = 8.0
"""Standard deviations from its mean beyond which a feature is as far: nothing is known of there."""

AT_ONCE = 2**14
"""Voxels that are seen at once: each is seen alone, and small arrays are several times as fast as
those of a whole tile, whose memory is asked of the system anew each time."""


class VoxelPerceptron(nn.Module):
    """Every layer sees one voxel; what lies around it is in its features (`networks.features`).

    Several perceptrons stand side by side. In training each sees its own share of the voxels, so
    that they err differently; what is said afterwards is the mean of their logits (Breiman 1996,
    Bagging predictors, Mach. Learn. 24, 123, doi 10.1007/BF00058655).

    Attributes:
        prior: Knots of the map of where lesions are wont to lie; computed, not learnt.
        middle: (F,) mean of each feature in training; computed.
        width: (F,) its standard deviation; computed.

    Args:
        settings: Widths of the hidden layers (`channels`), how many perceptrons there are
            (`members`), structures, the prior's knots.
    """

    prior: Tensor
    middle: Tensor
    width: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        count = len(NAMES)
        self.logits = settings.logits
        self.register_buffer("prior", torch.zeros(settings.prior or (2, 2, 2)))
        self.register_buffer("middle", torch.zeros(count))
        self.register_buffer("width", torch.ones(count))
        self.members = nn.ModuleList(_perceptron(count, settings) for _ in range(settings.members))

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, I, J, K) features, the intensity first, to (N, logits, I, J, K)."""
        if not self.training:
            return self._of_each(x)
        middle, width = self.middle.view(-1, 1, 1, 1), self.width.view(-1, 1, 1, 1)
        usual = ((x - middle) / width).clamp(-FARTHEST, FARTHEST)
        shares = zip(self.members, usual.tensor_split(len(self.members), dim=2), strict=True)
        logits = torch.cat([member(share) for member, share in shares], dim=2)
        return torch.where(x[:, :1] > 0, logits, BEYOND)

    def _of_each(self, x: Tensor) -> Tensor:
        """The mean of all perceptrons, asked of the voxels of the brain alone."""
        inside = x[:, 0] > 0
        voxels = x.movedim(1, -1)[inside]
        usual = ((voxels - self.middle) / self.width).clamp(-FARTHEST, FARTHEST)
        logits = x.new_full((*inside.shape, self.logits), BEYOND)
        if len(usual):
            logits[inside] = torch.cat([self._mean(few) for few in torch.split(usual, AT_ONCE)])
        return logits.movedim(-1, 1)

    def _mean(self, voxels: Tensor) -> Tensor:
        """(V, logits) of (V, F) voxels."""
        as_image = voxels.T[None, :, :, None, None]
        said: Tensor = torch.stack([member(as_image) for member in self.members]).mean(dim=0)
        return said[0, :, :, 0, 0].T


def _perceptron(features: int, settings: NetworkSettings) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in zip((features, *settings.channels), settings.channels, strict=False):
        layers += [nn.Conv3d(before, after, 1), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv3d(settings.channels[-1], settings.logits, 1))
