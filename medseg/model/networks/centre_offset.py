"""Foreground, centre heatmap and the way to the centre, for every voxel.

After Panoptic-DeepLab (Cheng et al. 2020, arXiv 1911.10194) and, for lesions in three dimensions,
ConfLUNet (arXiv 2505.22537).
"""

import torch
from torch import Tensor, nn

from medseg.config import InputSettings, NetworkSettings
from medseg.model.networks.pyramid import NORMS, Pyramid

OFFSET_UNIT_MM = 10.0
"""What the offset head says in units of about 1 becomes tens of mm."""


class CentreOffset(nn.Module):
    """The backbone with a head at full resolution.

    Args:
        settings: Channels of each level, structures, which heads.
        seen: Roles and spacing of the input.
    """

    def __init__(self, settings: NetworkSettings, seen: InputSettings) -> None:
        super().__init__()
        strides, norm = settings.strides(seen.spacing_mm), NORMS[settings.norm]
        self.backbone = Pyramid(len(seen.roles), settings.channels, seen.spacing_mm, strides, norm)
        self.head = nn.Conv3d(settings.channels[0], settings.logits, 1)
        # Few voxels are lesion or centre: start from saying so, or the first steps are spent on it.
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]
        self.offsets = nn.Conv3d(settings.channels[0], 3, 1) if settings.offsets else None

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each structure, then of the centre heatmap, then offsets in mm.

        Args:
            x: (N, C, I, J, K), normalised; each of I, J, K a multiple of the network's step.

        Returns:
            (N, structures (+ 1 (+ 3)), I, J, K).
        """
        features = self.backbone(x)[0]
        logits: Tensor = self.head(features)
        if self.offsets is None:
            return logits
        return torch.cat([logits, self.offsets(features) * OFFSET_UNIT_MM], dim=1)
