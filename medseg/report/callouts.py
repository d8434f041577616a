"""Numbers at the two sides of a picture, each tied to its lesion by a line."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.report import drawing

STEP, LEAST_STEP = 15.0, 9.0
"""Distance in units of two numbers below each other, and the least at which they are readable."""

MARGIN = 34.0
"""Room for numbers at each side, in units."""


@dataclass(frozen=True)
class Target:
    """What a number belongs to.

    Attributes:
        text: The number.
        href: Where it leads.
        left, right: Its leftmost and rightmost point in units of the drawing.
    """

    text: str
    href: str
    left: tuple[float, float]
    right: tuple[float, float]


def callouts(art: drawing.Canvas, targets: Sequence[Target], colour: str) -> int:
    """Write the numbers of the targets beside the picture.

    Args:
        art: A drawing with a margin of `MARGIN` at both sides.
        targets: The most important first: where room is short, the last ones get no number.
        colour: Of the lines.

    Returns:
        How many got one.
    """
    room = int(art.height // LEAST_STEP)
    numbered = sorted(targets[: 2 * room], key=lambda target: target.left[0] + target.right[0])
    middle = 2 * art.left + art.width
    split = sum(target.left[0] + target.right[0] < middle for target in numbered)
    comfortable = int(art.height // STEP)
    if max(split, len(numbered) - split) > comfortable:
        split = len(numbered) // 2
    for side, at_side in (("left", numbered[:split]), ("right", numbered[split:])):
        ordered = sorted(at_side, key=lambda target: getattr(target, side)[1])
        wanted = [getattr(target, side)[1] for target in ordered]
        for target, y in zip(ordered, spread(wanted, art.top, art.top + art.height), strict=True):
            _callout(art, target, side, y, colour)
    return len(numbered)


def spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Heights near those wanted, in the same order, with a step between any two.

    Args:
        wanted: Ascending.
        low: The least height.
        high: The greatest height; the step shrinks until all fit.
    """
    step = min(STEP, (high - low) / max(1, len(wanted)))
    rank = np.arange(len(wanted)) * step
    placed = np.maximum.accumulate(np.maximum(np.array(wanted), low + step / 2) - rank) + rank
    last = high - step / 2 - rank[::-1]
    heights: list[float] = np.minimum(placed, last).tolist()
    return heights


def _callout(art: drawing.Canvas, target: Target, side: str, y: float, colour: str) -> None:
    """One number and its line."""
    if side == "left":
        edge, at, anchor, text_x = art.left, target.left, "end", art.left - 9
    else:
        edge = art.left + art.width
        at, anchor, text_x = target.right, "start", edge + 9
    start = edge - 6 if side == "left" else edge + 6
    drawing.leader(art, ((start, y), (edge, y), at), colour)
    drawing.link(art, target.text, (text_x, y + 4.5), anchor=anchor, href=target.href)
