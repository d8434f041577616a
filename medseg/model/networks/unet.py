"""The network of the first bundles: the backbone alone, each tile normalised by itself.

Its weights lie on disk without the backbone's prefix, and every axis is halved whatever the
spacing, which is all that tells it from family `centre-offset` with `norm: crop`. Statistics of
training batches, kept for prediction, were tried: 0.5 against 0.6 Dice on `val` after the same 600
steps.
"""

from torch import Tensor, nn

from medseg.config import NetworkSettings
from medseg.model.networks.pyramid import CropNorm, Pyramid


class UNet(Pyramid):
    """Residual U-Net; its outputs are logits.

    Args:
        settings: Channels of each level, structures, heatmap or not.
        channels_in: Channels of the input, one for each role.
    """

    def __init__(self, settings: NetworkSettings, channels_in: int) -> None:
        channels = settings.channels
        halved = ((2, 2, 2),) * (len(channels) - 1)
        super().__init__(channels_in, channels, (1.0, 1.0, 1.0), halved, CropNorm)
        self.head = nn.Conv3d(channels[0], settings.logits, 1)
        # Few voxels are lesion or centre: start from saying so, or the first steps are spent on it.
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # logits, not features
        """Logits of each structure, then of the centre heatmap.

        Args:
            x: (N, C, I, J, K) in 0..1; each of I, J, K a multiple of `step`.

        Returns:
            (N, structures (+ 1), I, J, K).
        """
        logits: Tensor = self.head(super().forward(x)[0])
        return logits
