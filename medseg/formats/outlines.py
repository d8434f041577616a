"""The outline of a mask in one slice, along the edges of its pixels.

A mask is 1 in a pixel and 0 beside it, so that it passes 0.5 at the pixel's edge. The polygon holds
exactly the area of the pixels; an outline interpolated between pixel centres cuts every corner and
loses half of a single pixel.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Corner = tuple[int, int]
"""A corner of pixels: (0, 0) is the outer corner of the first."""

Loop = list[Corner]
"""Corners in order; the last one is joined to the first."""


STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Directions along the edges of pixels, each a left turn from the one before."""

LEFT_PIXELS = ((0, 0), (-1, 0), (-1, -1), (0, -1))
"""For each direction the pixel on the left of the edge that leaves a corner, from that corner."""


def outlines(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """The outline of each part of a mask; parts that touch by a corner only are two.

    A hole is joined to the outline by a channel without width (PS3.3 C.8.8.6.3, "keyhole"), so that
    each part is one polygon, the same under the even-odd and under the winding rule.

    Args:
        mask: (I, J) boolean.

    Yields:
        (N, 2) corners in index space, where pixel 0 reaches from -0.5 to 0.5.
    """
    parts, _ = ndimage.label(mask)
    outer: dict[int, Loop] = {}
    holes: dict[int, list[Loop]] = {}
    for loop, pixel in _loops(mask):
        part = int(parts[pixel])
        if _doubled_area(loop) > 0:
            outer[part] = loop
        else:
            holes.setdefault(part, []).append(loop)
    for part, loop in outer.items():
        joined = loop
        for hole in sorted(holes.get(part, []), key=min):
            joined = _joined(joined, hole)
        yield np.array(joined) - 0.5


def _loops(mask: NDArray[np.bool_]) -> Iterator[tuple[Loop, Corner]]:
    """Closed walks along the edges of pixels, the mask on the left; and a pixel on the left.

    Where two pixels touch by a corner, the walk turns left and stays with its own pixel.
    """
    around = np.pad(mask, 1)
    at = (around[1:, 1:], around[:-1, 1:], around[:-1, :-1], around[1:, :-1])
    leaves = np.stack([at[n] & ~at[n - 1] for n in range(4)], axis=-1)
    edges = [(int(i), int(j), int(d)) for i, j, d in np.argwhere(leaves)]
    exist, seen = set(edges), set()
    for start in edges:
        if start in seen:
            continue
        loop: Loop = []
        edge, last = start, -1
        while edge not in seen:
            seen.add(edge)
            i, j, d = edge
            if d != last:
                loop.append((i, j))
            last = d
            i, j = i + STEPS[d][0], j + STEPS[d][1]
            edge = next((i, j, turn % 4) for turn in (d + 1, d, d + 3) if (i, j, turn % 4) in exist)
        beside = LEFT_PIXELS[start[2]]
        yield loop, (start[0] + beside[0], start[1] + beside[1])


def _doubled_area(loop: Loop) -> int:
    """Twice the area inside; negative where the walk goes clockwise, around a hole."""
    corners = np.array(loop)
    ahead = np.roll(corners, -1, axis=0)
    return int((corners[:, 0] * ahead[:, 1] - corners[:, 1] * ahead[:, 0]).sum())


def _joined(loop: Loop, hole: Loop) -> Loop:
    """Join a hole to a loop by a channel from its first corner towards lower i.

    Holes further that way are part of the loop already, so that the channel ends at the first edge
    that it meets.
    """
    first = hole.index(min(hole))
    i, j = hole[first]
    meets = [
        (a[0], n)
        for n, (a, b) in enumerate(zip(loop, loop[1:] + loop[:1], strict=True))
        if a[0] == b[0] < i and min(a[1], b[1]) <= j <= max(a[1], b[1])
    ]
    edge_i, n = max(meets)
    door = (edge_i, j)
    return [*loop[: n + 1], door, *hole[first:], *hole[: first + 1], door, *loop[n + 1 :]]
