"""Two stages: boxes proposed on the pyramid, then class, box and mask of each at once.

After Mask R-CNN (He et al. 2017, arXiv 1703.06870) and, for lesions in three dimensions, Retina
U-Net (Jaeger et al. 2020, arXiv 1811.08661), whose foreground head teaches the backbone. Anchors,
box coder and non-maximum suppression are MONAI's.
"""

from dataclasses import dataclass

import numpy as np
import torch
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.apps.detection.utils.box_coder import BoxCoder
from monai.data.box_utils import non_max_suppression
from torch import Tensor, nn

from medseg.config import InputSettings, NetworkSettings
from medseg.model.networks.candidate import Candidate, candidate
from medseg.model.networks.pyramid import NORMS, Pyramid
from medseg.model.networks.roi_align import paste, roi_align

Shape = tuple[int, int, int]

WIDTH = 32
"""Channels that every level is brought to."""

ANCHORS_MM = (14.0, 22.0)
"""Edges of the anchors at the finest proposing level; they double from level to level."""

BOX_BINS = (6, 6, 6)
MASK_BINS = (14, 14, 14)

MASK_MARGIN = 1.25
"""A mask is looked for in a box that much longer, as a box may be a little short."""

FIRST_KEPT = 64
"""Boxes of the first stage that go to non-maximum suppression."""

SECOND_KEPT = 24
"""Boxes of the first stage that the second one judges, in a tile."""

FIRST_OVERLAP = 0.6
"""Intersection over union above which two boxes of the first stage are one."""

LAST_OVERLAP = 0.4
"""The same at the end; two lesions that touch have boxes that overlap."""

LEAST_SCORE = 0.05

CODER = BoxCoder(weights=(1.0,) * 6)


@dataclass(frozen=True, eq=False)
class FirstStage:
    """What is said before any box is looked at.

    Attributes:
        foreground: (N, S, I, J, K) logits.
        fine: (N, C, I, J, K) features at full resolution.
        coarse: (N, WIDTH, ...) features of the next level.
        objectness: (N, M) logits of the anchors.
        deltas: (N, M, 6) from each anchor to the box.
        anchors: (M, 6) voxels, edge to edge.
        anchors_of_levels: How many places each level has.
    """

    foreground: Tensor
    fine: Tensor
    coarse: Tensor
    objectness: Tensor
    deltas: Tensor
    anchors: Tensor
    anchors_of_levels: tuple[int, ...]


class RegionNetwork(nn.Module):
    """The backbone with a region proposal network and a head for regions.

    Args:
        settings: Channels of each level, structures.
        seen: Roles and spacing of the input.
    """

    def __init__(self, settings: NetworkSettings, seen: InputSettings) -> None:
        super().__init__()
        strides, norm = settings.strides(seen.spacing_mm), NORMS[settings.norm]
        self.backbone = Pyramid(len(seen.roles), settings.channels, seen.spacing_mm, strides, norm)
        self.first_stride = strides[0]
        channels = settings.channels
        self.foreground = nn.Conv3d(channels[0], len(settings.structures), 1)
        self.lateral = nn.ModuleList(nn.Conv3d(n, WIDTH, 1) for n in channels[1:])
        self.rpn = nn.Sequential(nn.Conv3d(WIDTH, WIDTH, 3, padding=1), nn.ReLU())
        self.objectness = nn.Conv3d(WIDTH, len(ANCHORS_MM), 1)
        self.deltas = nn.Conv3d(WIDTH, 6 * len(ANCHORS_MM), 1)
        self.judge = nn.Sequential(
            nn.Conv3d(channels[0] + WIDTH, WIDTH, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(WIDTH * 4**3, 64),
            nn.ReLU(),
            nn.Linear(64, len(settings.structures) + 6),
        )
        self.mask = nn.Sequential(
            nn.Conv3d(channels[0] + WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(WIDTH, 1, 1),
        )
        # Few voxels are lesion and few anchors are right: start from saying so.
        for rare in (self.foreground, self.objectness):
            nn.init.constant_(rare.bias, -3.0)  # type: ignore[arg-type]
        shape = tuple(
            (edge / seen.spacing_mm[0], edge / seen.spacing_mm[1], edge / seen.spacing_mm[2])
            for edge in ANCHORS_MM
        )
        scales = tuple(2.0**level for level in range(len(strides)))
        self.anchors = AnchorGeneratorWithAnchorShape(scales, shape)
        self.structures = len(settings.structures)

    def forward(self, x: Tensor) -> FirstStage:
        """The first stage of (N, C, I, J, K), normalised."""
        levels = self.backbone(x)
        wide = [lateral(level) for lateral, level in zip(self.lateral, levels[1:], strict=True)]
        said = [self.rpn(level) for level in wide]
        return FirstStage(
            foreground=self.foreground(levels[0]),
            fine=levels[0],
            coarse=wide[0],
            objectness=torch.cat([by_anchor(self.objectness(s), 1) for s in said], 1).squeeze(2),
            deltas=torch.cat([by_anchor(self.deltas(s), 6) for s in said], dim=1),
            anchors=self.anchors(x, [level.float() for level in wide])[0],
            anchors_of_levels=tuple(level[0, 0].numel() for level in wide),
        )

    def boxes(self, stage: FirstStage, number: int) -> Tensor:
        """(R, 6) the likeliest boxes of one image, without repetitions, best first."""
        with torch.no_grad():
            objectness = stage.objectness[number].float()
            best = objectness.topk(min(FIRST_KEPT, len(objectness))).indices
            deltas = stage.deltas[number, best].float()
            found = CODER.decode_single(deltas, stage.anchors[best])
            found = clip(found, tuple(stage.fine.shape[2:]))
            kept = non_max_suppression(
                found, objectness[best].sigmoid(), FIRST_OVERLAP, SECOND_KEPT
            )
            return found[kept]

    def judged(self, stage: FirstStage, number: int, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (R, S) and deltas (R, 6) to better boxes."""
        said: Tensor = self.judge(self._inside(stage, number, boxes, BOX_BINS))
        return said[:, : self.structures], said[:, self.structures :]

    def masks(self, stage: FirstStage, number: int, boxes: Tensor) -> Tensor:
        """(R, *MASK_BINS) logits in the grown boxes."""
        said: Tensor = self.mask(self._inside(stage, number, grown(boxes), MASK_BINS))
        return said.squeeze(1)

    def propose(self, x: Tensor) -> list[Candidate]:
        """The instances of one tile, (1, C, I, J, K), normalised; best first."""
        stage = self(x)
        boxes = self.boxes(stage, 0)
        if not len(boxes):
            return []
        classes, deltas = self.judged(stage, 0, boxes)
        shape = (x.shape[2], x.shape[3], x.shape[4])
        boxes = clip(CODER.decode_single(deltas, boxes), shape)
        scores, structures = classes.sigmoid().max(dim=1)
        kept = non_max_suppression(boxes, scores, LAST_OVERLAP)
        kept = kept[scores[kept] >= LEAST_SCORE]
        logits = self.masks(stage, 0, boxes[kept])
        pasted = paste(logits.sigmoid(), grown(boxes[kept]), shape).cpu().numpy() >= np.float32(0.5)
        found = [
            candidate(float(scores[n]), int(structures[n]), mask)
            for n, mask in zip(kept.tolist(), pasted, strict=True)
        ]
        return [each for each in found if each is not None]

    def _inside(self, stage: FirstStage, number: int, boxes: Tensor, bins: Shape) -> Tensor:
        """(R, C, *bins) features of both levels in the boxes."""
        stride = torch.tensor(self.first_stride * 2, device=boxes.device)
        return torch.cat(
            [
                roi_align(stage.fine[number].float(), boxes, bins),
                roi_align(stage.coarse[number].float(), boxes / stride, bins),
            ],
            dim=1,
        )


def by_anchor(said: Tensor, values: int) -> Tensor:
    """(N, A * values, I, J, K) to (N, I * J * K * A, values), in the order of MONAI's anchors."""
    count, channels, *shape = said.shape
    apart = said.reshape(count, channels // values, values, *shape)
    return apart.permute(0, 3, 4, 5, 1, 2).flatten(1, 4)


def clip(boxes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Boxes cut to an image, each at least a voxel long."""
    most = torch.tensor(shape, dtype=boxes.dtype, device=boxes.device)
    low = torch.minimum(boxes[:, :3].clamp(min=0), most - 1)
    high = torch.maximum(torch.minimum(boxes[:, 3:], most), low + 1)
    return torch.cat([low, high], dim=1)


def grown(boxes: Tensor) -> Tensor:
    """Boxes with the margin that masks are looked for in."""
    middle = (boxes[:, :3] + boxes[:, 3:]) / 2
    half = (boxes[:, 3:] - boxes[:, :3]) / 2 * MASK_MARGIN + 0.5
    return torch.cat([middle - half, middle + half], dim=1)
