"""A tournament, and what it writes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.bench.choose import Limits, Standing, choose, standings
from medseg.bench.compete import compete
from medseg.bench.plot import draw
from medseg.core.prediction import Progress, silent

TABLE, PICTURE = "bench.json", "bench.svg"


@dataclass(frozen=True)
class Tournament:
    """Every entry, best first, and the choice.

    Attributes:
        cases: Number of cases.
        found: Entries.
        limits: Of the user.
        chosen: None where none stays within them.
        why: Sentences for a person.
    """

    cases: int
    found: tuple[Standing, ...]
    limits: Limits
    chosen: Standing | None
    why: str

    def plain(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "cases": self.cases,
            "entries": [one.plain() for one in self.found],
            "max_seconds": self.limits.seconds,
            "max_memory_mib": self.limits.memory_mib,
            "chosen": None
            if self.chosen is None
            else {
                "model": self.chosen.entry.model,
                "processing": self.chosen.entry.processing,
            },
            "why": self.why,
        }


def tournament(
    folder: Path, models: Sequence[str], limits: Limits, progress: Progress = silent
) -> Tournament:
    """Let models compete on the cases of a folder.

    Raises:
        MedsegError: As `compete`.
    """
    cases, entries = compete(folder, models, progress)
    found = standings(entries)
    return Tournament(len(cases), found, limits, *choose(found, limits))


def write(folder: Path, found: Tournament) -> None:
    """Write the table as JSON and the trade-off as SVG."""
    table = json.dumps(found.plain(), indent=1, allow_nan=False) + "\n"
    (folder / TABLE).write_text(table, encoding="utf-8")
    picture = draw(found.found, found.chosen, found.limits)
    (folder / PICTURE).write_text(picture, encoding="utf-8")
