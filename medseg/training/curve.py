"""The learning curve as a picture."""

from collections.abc import Sequence
from html import escape

from medseg.training.checkpoint import Validation

WIDTH, HEIGHT, MARGIN, LINE = 640, 400, 48, 16

LOSS_COLOUR = "#b03a2e"
SCORE_COLOURS = ("#1f618d", "#117864", "#7d3c98", "#b9770e", "#566573")


def draw_curve(history: Sequence[Validation]) -> str:
    """An SVG of the training loss and of every validation score over the steps.

    The loss is drawn on a scale of its own, and so is each score that exceeds 1.
    """
    last = max(entry.step for entry in history)
    series = {"training loss": ([entry.loss for entry in history], LOSS_COLOUR)}
    for number, name in enumerate(history[-1].scores):
        colour = SCORE_COLOURS[number % len(SCORE_COLOURS)]
        series[name] = ([entry.scores[name] for entry in history], colour)
    top, bottom, right = LINE * (len(series) + 1), HEIGHT - MARGIN, WIDTH - MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{MARGIN} {top}V{bottom}H{right}" fill="none" stroke="black"/>',
    ]
    for row, (name, (values, colour)) in enumerate(series.items(), start=1):
        most = max(1.0, *values)
        points = [
            (MARGIN + entry.step / last * (right - MARGIN), bottom - v / most * (bottom - top))
            for entry, v in zip(history, values, strict=True)
        ]
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines += [
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{right}" y="{LINE * row}" fill="{colour}" text-anchor="end">'
            f"{escape(name)}, 0 to {most:.4g} (last {values[-1]:.3f})</text>",
        ]
    lines += [
        f'<text x="{WIDTH // 2}" y="{HEIGHT - 16}" text-anchor="middle">steps, 0 to {last}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
