"""What an instance model proposes, as instances on the model's grid."""

from collections.abc import Sequence

import numpy as np

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import Proposal
from medseg.segment.separate import Separated

MAX_TAKEN_SHARE = 0.5
"""A proposal that lost more of its voxels than this to surer ones is another view of them."""


def adopt(
    proposals: Sequence[Proposal], geometry: Geometry, settings: SegmentSettings
) -> Separated:
    """Turn proposals into instances that do not overlap.

    The surest takes its voxels first, and each one after it what is left. One whose voxels are
    mostly taken says nothing new and is dropped; so is one with a score below `min_peak`. Equal
    scores are served in the model's order.

    Args:
        proposals: Of one study, in any order.
        geometry: The model's grid, which no proposals at all do not tell.
        settings: Of the protocol.

    Raises:
        ValueError: A proposal lies on another grid.
    """
    if any(not proposal.geometry.matches(geometry) for proposal in proposals):
        raise ValueError("a proposal on another grid than the model's")
    labels = np.zeros(geometry.shape, np.int32)
    structures: list[str] = []
    scores: list[float] = []
    for proposal in sorted(proposals, key=lambda proposal: -proposal.score):
        if proposal.score < settings.min_peak:
            break
        region = labels[proposal.box]
        left = proposal.mask & (region == 0)
        size = np.count_nonzero(proposal.mask)
        if not left.any() or np.count_nonzero(left) < (1 - MAX_TAKEN_SHARE) * size:
            continue
        structures.append(proposal.structure)
        scores.append(proposal.score)
        region[left] = len(structures)
    foreground = (labels > 0).astype(np.float32)
    return Separated(labels, tuple(structures), foreground, 0.5, geometry, tuple(scores))
