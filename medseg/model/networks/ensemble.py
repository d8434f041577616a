"""Several networks of one kind side by side, which speak as one: the mean of what they say."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Networks whose outputs are voxels' logits and offsets.

    In training each sees its own share of the batch, so that they err differently; what is said
    afterwards is the mean of their logits and of their offsets (Breiman 1996, Bagging predictors,
    Mach. Learn. 24, 123, doi 10.1007/BF00058655).

    Args:
        members: Networks that take and give the same shapes.
        judge: Speaks against what all of them say (`networks.judge`); None without.
    """

    def __init__(self, members: Sequence[nn.Module], judge: nn.Module | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.judge = judge

    def forward(self, x: Tensor, *surroundings: Tensor) -> Tensor:
        """What its members give: (N, ...) to (N, outputs, I, J, K); N at least as many in training.

        Args:
            x: As its members take it.
            surroundings: The context, where they take one.
        """
        if self.training:
            shares = zip(
                self.members,
                *(part.tensor_split(len(self.members)) for part in (x, *surroundings)),
                strict=True,
            )
            return torch.cat([member(*share) for member, *share in shares])
        said: Tensor = torch.stack([member(x, *surroundings) for member in self.members]).mean(0)
        return said
