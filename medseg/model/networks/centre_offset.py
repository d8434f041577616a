"""Foreground, centre heatmap and the way to the centre, for every voxel.

After Panoptic-DeepLab (Cheng et al. 2020, arXiv 1911.10194) and, for lesions in three dimensions,
ConfLUNet (arXiv 2505.22537).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.config import InputSettings, NetworkSettings
from medseg.model.networks.context import ContextEncoder, Joined
from medseg.model.networks.judge import Judge
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
        self.surroundings: ContextEncoder | None = None
        if seen.context is not None:
            step = settings.step(seen.spacing_mm)
            i, j, k = (n // seen.context.factor for n in step)
            self.surroundings = ContextEncoder(len(seen.roles), seen.context, (i, j, k), norm)
            self.joined = Joined(settings.channels[-1], seen.context.channels[1])
        self.judge = None if settings.judge is None else Judge(settings.judge, seen)
        self.head = nn.Conv3d(settings.channels[0], settings.logits, 1)
        # Few voxels are lesion or centre: start from saying so, or the first steps are spent on it.
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]
        self.offsets = nn.Conv3d(settings.channels[0], 3, 1) if settings.offsets else None
        self.coarse_head: nn.Module | None = None
        if settings.head_levels == 2:
            self.coarse_head = nn.Conv3d(settings.channels[1], settings.outputs, 1, bias=False)
        self.logits = settings.logits

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits of each structure, then of the centre heatmap, then offsets in mm.

        Args:
            x: (N, C, I, J, K), normalised; each of I, J, K a multiple of the network's step.
            context: (N, C, ...), normalised: the study around it on the coarse grid, where the
                input has a context.

        Returns:
            (N, structures (+ 1 (+ 3)), I, J, K).
        """
        levels = self.backbone.descend(x)
        deepest = levels[-1]
        if self.surroundings is not None and context is not None:
            i, j, k = deepest.shape[2:]
            deepest = self.joined(deepest, self.surroundings(context, (i, j, k)))
        features = self.backbone.ascend(levels, deepest)
        said: Tensor = self.head(features[0])
        if self.offsets is not None:
            said = torch.cat([said, self.offsets(features[0])], dim=1)
        if self.coarse_head is not None:
            coarse = self.coarse_head(features[1])
            said = said + functional.interpolate(coarse, size=said.shape[2:], mode="trilinear")
        if self.offsets is None:
            return said
        return torch.cat([said[:, : self.logits], said[:, self.logits :] * OFFSET_UNIT_MM], dim=1)
