"""What operators see in Prefect of a worklist: how far it is, what became of each study, links."""

import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from medseg import run_folder
from medseg.worklist import batch
from medseg.worklist.outcome import StudyOutcome, in_words

SECONDS_BETWEEN = 1.0
"""Least time between two updates of the progress: a thousand finished studies take no longer."""

MOST_LINES = 500
"""Of studies in an artifact; the table on disk has all."""

MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]()<>#+-.!|~"})


class Progress:
    """How far a worklist is, as an artifact that is updated.

    Args:
        runs: Folder of the runs; the artifact is named after it, by a hash.
        total: How many studies there are.
    """

    def __init__(self, runs: Path, total: int) -> None:
        self._total = total
        self._told = time.monotonic()
        made = create_progress_artifact(
            0.0, key=f"worklist-progress-{_key(runs)}", description="Share of the studies"
        )
        self._artifact = made if isinstance(made, UUID) else None

    def tell(self, done: int) -> None:
        """Say how many studies are done; seldom enough to cost nothing."""
        now = time.monotonic()
        if done < self._total and now - self._told < SECONDS_BETWEEN:
            return
        self._told = now
        if self._artifact is not None:
            update_progress_artifact(self._artifact, 100.0 * done / self._total)


def publish(runs: Path, rows: Sequence[StudyOutcome]) -> None:
    """Make the table, and the summary with links to the reports."""
    create_table_artifact(
        key=f"worklist-table-{_key(runs)}",
        table=[
            {
                "study": row.name,
                "outcome": str(row.outcome),
                "lesions": row.lesions,
                "seconds": row.seconds,
                "flags": " ".join(row.flags),
                "error": row.error,
            }
            for row in rows[:MOST_LINES]
        ],
        description="What became of each study",
    )
    create_markdown_artifact(
        key=f"worklist-{_key(runs)}", markdown=summary(runs, rows), description="Links to reports"
    )


def summary(runs: Path, rows: Sequence[StudyOutcome]) -> str:
    """Counts by outcome, what needs a look first, and a link to each report."""
    lines = [
        f"**{len(rows)} studies**: {in_words(rows)}",
        "",
        f"[All studies]({(runs / batch.INDEX).absolute().as_uri()})",
        "",
        "| study | outcome | report | what is wrong and what to do |",
        "| --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: row.is_good)[:MOST_LINES]:
        report = (runs / row.run / run_folder.REPORT_HTML).absolute().as_uri()
        lines.append(
            f"| {_escaped(row.name)} | {row.outcome} "
            f"| {f'[report]({report})' if row.run else ''} "
            f"| {_escaped(f'{row.problem} {row.remedy}'.strip())} |"
        )
    if len(rows) > MOST_LINES:
        lines.append(f"\n{len(rows) - MOST_LINES} more are in the table on disk.")
    return "\n".join(lines)


def _key(runs: Path) -> str:
    return sha256(str(runs.absolute()).encode()).hexdigest()[:12]


def _escaped(text: str) -> str:
    """Text as one cell of a table: a new line would end its row."""
    return " ".join(text.split()).translate(MARKUP)
