"""A small mask transformer: each query asks for one instance and says what and where it is.

After Mask2Former (Cheng et al. 2022, arXiv 2112.01527): queries look at the features inside the
mask that they said last, from the coarsest level to finer ones in turn.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.config import InputSettings, NetworkSettings
from medseg.model.networks.candidate import Candidate, candidate
from medseg.model.networks.pyramid import NORMS, Pyramid

QUERIES = 24
"""Instances that a tile can hold at most."""

WIDTH = 64
HEADS = 4
EMBEDDING = 16
"""Channels of a voxel's and of a query's embedding, whose product is the mask's logit. Four more
say where the voxel lies."""

ROUNDS = 4
"""Times that each query looks at the features."""

LEAST_SCORE = 0.05


@dataclass(frozen=True, eq=False)
class Answer:
    """What the queries say after one round.

    Attributes:
        classes: (N, Q, S) logits; an instance of none is nothing.
        queries: (N, Q, EMBEDDING + 4), whose product with `Answers.voxels` is the mask's logit.
    """

    classes: Tensor
    queries: Tensor


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network says.

    Attributes:
        foreground: (N, S, I, J, K) logits.
        voxels: (N, EMBEDDING + 4, I, J, K).
        rounds: The last one counts; all are learnt from.
    """

    foreground: Tensor
    voxels: Tensor
    rounds: tuple[Answer, ...]


class QueryNetwork(nn.Module):
    """The backbone with a mask transformer on its two coarsest levels.

    Args:
        settings: Channels of each level, structures.
        seen: Roles and spacing of the input.
    """

    def __init__(self, settings: NetworkSettings, seen: InputSettings) -> None:
        super().__init__()
        channels, norm = settings.channels, NORMS[settings.norm]
        strides = settings.strides(seen.spacing_mm)
        self.backbone = Pyramid(len(seen.roles), channels, seen.spacing_mm, strides, norm)
        self.foreground = nn.Conv3d(channels[0], len(settings.structures), 1)
        # Few voxels are lesion: start from saying so.
        nn.init.constant_(self.foreground.bias, -3.0)  # type: ignore[arg-type]
        self.voxels = nn.Conv3d(channels[0], EMBEDDING, 1)
        self.coarse_voxels = nn.ConvTranspose3d(channels[1], EMBEDDING, strides[0], strides[0])
        self.memory = nn.ModuleList(nn.Conv3d(n, WIDTH, 1) for n in channels[-2:])
        self.queries = nn.Parameter(torch.randn(QUERIES, WIDTH))
        self.places = nn.Parameter(torch.randn(QUERIES, WIDTH))
        self.rounds = nn.ModuleList(Round() for _ in range(ROUNDS))
        self.norm = nn.LayerNorm(WIDTH)
        self.classes = nn.Linear(WIDTH, len(settings.structures))
        self.embedding = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, EMBEDDING + 4)
        )
        nn.init.constant_(self.classes.bias, -2.0)

    def forward(self, x: Tensor) -> Answers:
        """The answers for (N, C, I, J, K), normalised."""
        levels = self.backbone(x)
        told = (self.voxels(levels[0]) + self.coarse_voxels(levels[1])).float()
        voxels = torch.cat([told, whereabouts(told)], dim=1)
        memories = [
            grid(features).float() for grid, features in zip(self.memory, levels[-2:], strict=True)
        ]
        queries = self.queries.expand(len(x), -1, -1)
        answers = [self._answer(queries)]
        for number, look in enumerate(self.rounds):
            memory = memories[-1 - number % 2]
            seen = inside(mask_logits(answers[-1].queries, voxels.detach()), memory)
            queries = look(queries, self.places, memory, seen)
            answers.append(self._answer(queries))
        return Answers(self.foreground(levels[0]), voxels, tuple(answers))

    def propose(self, x: Tensor) -> list[Candidate]:
        """The instances of one tile, (1, C, I, J, K), normalised; best first.

        Where masks overlap, a voxel is the query's that is surest of it.
        """
        answers = self(x)
        last = answers.rounds[-1]
        scores, structures = last.classes[0].sigmoid().max(dim=1)
        order = torch.argsort(-scores, stable=True)
        order = order[scores[order] >= LEAST_SCORE]
        if not len(order):
            return []
        said = mask_logits(last.queries[:, order], answers.voxels)[0].sigmoid()
        owner = (said * scores[order].view(-1, 1, 1, 1)).argmax(dim=0)
        masks = [
            ((said[n] >= np.float32(0.5)) & (owner == n)).cpu().numpy() for n in range(len(order))
        ]
        found = [
            candidate(float(scores[n]), int(structures[n]), mask)
            for n, mask in zip(order.tolist(), masks, strict=True)
        ]
        return [each for each in found if each is not None]

    def _answer(self, queries: Tensor) -> Answer:
        normed = self.norm(queries.float())
        return Answer(self.classes(normed).float(), self.embedding(normed).float())


class Round(nn.Module):
    """Each query looks at the features, then at the other queries."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.agree = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.think = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(self, queries: Tensor, places: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        """(N, Q, WIDTH) to the same.

        Args:
            queries: What they know.
            places: (Q, WIDTH) what each looks for.
            memory: (N, WIDTH, i, j, k) features.
            seen: (N, Q, i * j * k) boolean, which of them each query may look at.
        """
        values = memory.flatten(2).transpose(1, 2)
        keys = values + positions(memory)
        hidden = ~seen.repeat_interleave(HEADS, dim=0)
        said, _ = self.look(queries + places, keys, values, attn_mask=hidden, need_weights=False)
        queries = self.norms[0](queries + said)
        asked = queries + places
        said, _ = self.agree(asked, asked, queries, need_weights=False)
        queries = self.norms[1](queries + said)
        found: Tensor = self.norms[2](queries + self.think(queries))
        return found


def mask_logits(queries: Tensor, voxels: Tensor) -> Tensor:
    """(N, Q, E) and (N, E, I, J, K) to (N, Q, I, J, K)."""
    return torch.einsum("nqe,neijk->nqijk", queries, voxels) - 1


def inside(logits: Tensor, memory: Tensor) -> Tensor:
    """Which places of the memory lie in each mask; all of them where none does.

    Args:
        logits: (N, Q, I, J, K) of the masks.
        memory: (N, C, i, j, k).

    Returns:
        (N, Q, i * j * k) boolean.
    """
    small = functional.adaptive_max_pool3d(logits.detach(), memory.shape[2:])
    seen = (small > 0).flatten(2)
    return seen | ~seen.any(dim=2, keepdim=True)


def whereabouts(voxels: Tensor) -> Tensor:
    """(N, 4, I, J, K): -2 to 2 along each axis, and the square of the distance from the middle.

    With them a query can say `around here`: two lesions that look the same differ in nothing else.
    """
    axes = [
        torch.linspace(-2, 2, n, dtype=voxels.dtype, device=voxels.device) for n in voxels.shape[2:]
    ]
    along = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    every = torch.cat([along, (along**2).sum(dim=0, keepdim=True)])
    return every.expand(len(voxels), -1, -1, -1, -1)


def positions(memory: Tensor) -> Tensor:
    """(i * j * k, C) sines and cosines of where each place lies, along each axis."""
    _, channels, *shape = memory.shape
    waves = channels // 6
    rates = torch.pi * 1.5 ** torch.arange(waves, device=memory.device)
    along = []
    for axis, voxels in enumerate(shape):
        place = (torch.arange(voxels, device=memory.device) + 0.5) / voxels
        angle = place[:, None] * rates
        wave = torch.cat([angle.sin(), angle.cos()], dim=1)
        spread = [1, 1, 1, wave.shape[1]]
        spread[axis] = voxels
        along.append(wave.view(spread).expand(*shape, wave.shape[1]))
    found = torch.cat(along, dim=3).flatten(0, 2)
    return functional.pad(found, (0, channels - found.shape[1]))
