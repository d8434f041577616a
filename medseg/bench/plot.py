"""The trade-off as a picture: PQ against seconds."""

from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, isnan, log10

from medseg.bench.choose import Limits, Standing

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 50, 60
"""Margins; names stand to the right of their points."""

COLOURS = {
    "components": "#666666",
    "necks": "#e69f00",
    "peaks": "#0072b2",
    "offsets": "#009e73",
    "proposals": "#cc79a7",
}
"""Told apart by colour-blind readers too (Okabe and Ito, 2008)."""

LINE_HEIGHT = 15

Scale = Callable[[float], float]
"""A value to its place in the picture."""


def draw(found: Sequence[Standing], chosen: Standing | None, limits: Limits) -> str:
    """An SVG: a point for each entry with the interval of its PQ, the chosen one ringed."""
    shown = [one for one in found if not isnan(one.pq.value)]
    seconds = [one.seconds for one in shown] + ([limits.seconds] if limits.seconds else [])
    low = floor(log10(max(min(seconds, default=0.1), 1e-3)) * 2) / 2
    high = max(ceil(log10(max(seconds, default=1.0)) * 2) / 2, low + 0.5)

    def x(value: float) -> float:
        return LEFT + (log10(max(value, 1e-3)) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" role="img">',
        "<title>Panoptic quality against seconds for a case</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="14">Panoptic quality (panoptica-iou50, all lesions '
        "together) against seconds for a case</text>",
        *_axes(low, high, x, y),
    ]
    if limits.seconds is not None:
        at = x(limits.seconds)
        lines.append(
            f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#b03a2e" '
            'stroke-dasharray="5 4"/>'
            f'<text x="{at + 4:.1f}" y="{TOP + 12}" fill="#b03a2e">limit</text>'
        )
    taken: list[float] = []
    for one in sorted(shown, key=lambda one: -one.pq.value):
        lines += _point(one, x(one.seconds), y, taken, ringed=one is chosen)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _axes(low: float, high: float, x: Scale, y: Scale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    lines = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="black"/>']
    for tenth in range(0, 11, 2):
        at = y(tenth / 10)
        lines.append(
            f'<path d="M{LEFT} {at:.1f}H{right}" stroke="#dddddd"/>'
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>'
        )
    for half in range(round(low * 2), round(high * 2) + 1):
        value = 10 ** (half / 2)
        lines.append(
            f'<path d="M{x(value):.1f} {bottom}v5" stroke="black"/>'
            f'<text x="{x(value):.1f}" y="{bottom + 20}" text-anchor="middle">{value:.2g}</text>'
        )
    middle = (LEFT + right) / 2
    lines.append(
        f'<text x="{middle}" y="{HEIGHT - 16}" text-anchor="middle">seconds for a case</text>'
    )
    return lines


def _point(one: Standing, at: float, y: Scale, taken: list[float], *, ringed: bool) -> list[str]:
    """A point with its interval, and its name where no other name is."""
    height = y(one.pq.value)
    name_at = max([height + 4, *(t + LINE_HEIGHT for t in taken)])
    taken.append(name_at)
    colour = COLOURS[one.entry.processing]
    lines = []
    if not isnan(one.pq.low):
        lines.append(
            f'<path d="M{at:.1f} {y(one.pq.low):.1f}V{y(one.pq.high):.1f}" stroke="{colour}" '
            'stroke-width="1.5"/>'
        )
    lines.append(f'<circle cx="{at:.1f}" cy="{height:.1f}" r="5" fill="{colour}"/>')
    if ringed:
        lines.append(
            f'<circle cx="{at:.1f}" cy="{height:.1f}" r="9" fill="none" stroke="black" '
            'stroke-width="1.5"/>'
        )
    edge = WIDTH - RIGHT + 12
    label = escape(one.name) + (" (chosen)" if ringed else "")
    lines.append(
        f'<path d="M{at + 6:.1f} {height:.1f}L{edge - 4} {name_at - 4:.1f}" stroke="#bbbbbb" '
        'stroke-width="0.7"/>'
        f'<text x="{edge}" y="{name_at:.1f}" fill="{colour}">{label}: '
        f"{one.pq.value:.3f}</text>"
    )
    return lines
