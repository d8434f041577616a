"""What the terminal shows: progress on long work, and results as text or JSON."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from medseg.config import Calibration, ModelCard
from medseg.core.prediction import Progress


@contextmanager
def progress_shown() -> Iterator[Progress]:
    """Give a progress that draws bars on a terminal, and prints plain lines otherwise."""
    if not sys.stderr.isatty():
        yield _plain_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        rows: dict[str, TaskID] = {}

        def draw(stage: str, share: float) -> None:
            if stage not in rows:
                rows[stage] = bar.add_task(stage, total=1)
            bar.update(rows[stage], completed=share)

        yield draw


def as_json(values: Mapping[str, object]) -> str:
    """One JSON object for machines; a number that is not finite is null."""
    return json.dumps(_finite(values), indent=1, allow_nan=False)


def inspection_text(answer: Mapping[str, object]) -> str:
    """The object of `medseg inspect --json` as lines for a person."""
    lines = []
    series = answer["series"]
    assert isinstance(series, list)  # noqa: S101  the contract of DESIGN.md
    for row in series:
        name = f"Series {row['number']} ({row['modality'] or 'modality not stated'})"
        if row["outcome"] == "ok":
            shape = " x ".join(str(n) for n in row["shape"])
            spacing = " x ".join(f"{mm:.3g}" for mm in row["spacing_mm"])
            lines.append(
                f"{name}: ok, {shape} voxels of {spacing} mm, "
                f"{row['minimum']:.4g} to {row['maximum']:.4g} {row['unit']}"
            )
        else:
            lines.append(f"{name}: refused ({row['error']}). {row['problem']} {row['remedy']}")
        lines += [f"  {flag['code']}: {flag['message']}" for flag in row["flags"]]
    ignored = answer["ignored"]
    assert isinstance(ignored, list)  # noqa: S101  the contract of DESIGN.md
    lines += [f"Ignored: {row['reason']} ({row['files']})" for row in ignored]
    choice = answer.get("choice")
    if isinstance(choice, Mapping):
        lines += _choice_lines(choice)
    return "\n".join(lines)


def _choice_lines(choice: Mapping[str, object]) -> Iterator[str]:
    """How the roles of a protocol would be filled, a line for every series that was considered."""
    yield f"Protocol {choice['protocol']}:"
    roles = choice["roles"]
    assert isinstance(roles, Mapping)  # noqa: S101  made by ingest.select.Explanation
    for role, found in roles.items():
        yield f"  {found['reason'] or f'{role}: no choice.'}"
        for one in found["candidates"]:
            place = "-" if one["rank"] is None else one["rank"]
            name = f"series {one['number']} ({one['modality'] or 'modality not stated'})"
            yield f"    {place} {name}: {one['reason']}"
    if choice["problem"] is not None:
        yield f"  Refused ({choice['error']}). {choice['problem']} {choice['remedy']}"


def card_text(card: ModelCard) -> str:
    """A model card as lines for a person."""
    scores = [
        f"  {data}: " + ", ".join(f"{name} {value:g}" for name, value in named.items())
        for data, named in card.scores.items()
    ]
    limits = [f"  {limit}" for limit in card.limits]
    return "\n".join(
        [
            f"{card.name}: {card.title}",
            "Scores:",
            *scores,
            calibration_text(card.calibration),
            "Limits:",
            *limits,
            f"Data: {card.data}",
        ]
    )


def calibration_text(calibration: Calibration | None) -> str:
    """How far the confidence of lesions can be trusted, as lines for a person."""
    if calibration is None:
        return "Confidence: not calibrated, so it stays empty."
    low, high = calibration.expected_calibration_error_interval
    rows = [
        f"  {row.size}: {row.lesions} predicted, mean confidence {row.confidence:.2f}, "
        f"{row.precision:.0%} true"
        for row in calibration.reliability
        if row.confidence is not None and row.precision is not None
    ]
    return "\n".join(
        [
            f"Confidence ({calibration.rule}), on patients that were held out; expected "
            f"calibration error {calibration.expected_calibration_error:.3f} ({low:.3f} to "
            f"{high:.3f}):",
            *rows,
            f"  Fitted on {calibration.cases}.",
        ]
    )


def _plain_lines() -> Progress:
    """Print a line whenever another quarter of a stage is done, and none before the first."""
    last: dict[str, int] = {}

    def say(stage: str, share: float) -> None:
        quarter = int(share * 4)
        if quarter > last.get(stage, 0):
            last[stage] = quarter
            print(f"{stage}: {quarter * 25} %", file=sys.stderr, flush=True)

    return say


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
