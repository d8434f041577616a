"""The learning curve as a picture."""

from collections.abc import Sequence

from medseg.training.checkpoint import Validation

WIDTH, HEIGHT, MARGIN = 640, 360, 48


def draw_curve(history: Sequence[Validation]) -> str:
    """An SVG of the training loss and of the Dice on `val` over the steps."""
    last = max(entry.step for entry in history)
    most = max(1.0, max(entry.loss for entry in history))
    losses = [(entry.step / last, entry.loss / most) for entry in history]
    scores = [(entry.step / last, entry.val_dice) for entry in history]
    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{MARGIN} {MARGIN}V{bottom}H{right}V{MARGIN}" fill="none" stroke="black"/>',
        _line(losses, "#b03a2e"),
        _line(scores, "#1f618d"),
        f'<text x="{MARGIN}" y="{MARGIN - 12}" fill="#b03a2e">'
        f"training loss, 0 to {most:.2f}</text>",
        f'<text x="{right}" y="{MARGIN - 12}" fill="#1f618d" text-anchor="end">'
        f"mean Dice on val, 0 to 1 (last {history[-1].val_dice:.3f})</text>",
        f'<text x="{WIDTH // 2}" y="{HEIGHT - 16}" text-anchor="middle">steps, 0 to {last}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    places = " ".join(
        f"{MARGIN + x * (WIDTH - 2 * MARGIN):.1f},{HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN):.1f}"
        for x, y in points
    )
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'
