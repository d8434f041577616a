"""What became of one study of a worklist, and what that asks of a person."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from medseg.core.study import KEY_LENGTH
from medseg.errors import (
    ExportMismatchError,
    InputError,
    MedsegError,
    ModelError,
    ResourceError,
    RunFolderError,
    SettingsError,
    StudyCrashedError,
    StudyTimedOutError,
)


class Outcome(StrEnum):
    """How it ended. The values are those of the batch table."""

    DONE = "done"
    """Delineated now; its run folder is there."""

    REDONE = "redone"
    """Delineated now, because the run folder that was there had been damaged."""

    ALREADY_DONE = "already-done"
    """Its run folder was there, whole, from an earlier worklist."""

    BUSY = "busy"
    """Another worklist is at it."""

    REFUSED = "refused"
    """The study is at fault; it is not tried again until it changes."""

    SETTINGS_ERROR = "settings-error"
    MODEL_ERROR = "model-error"

    MISMATCH = "mismatch"
    """An export was not what had been measured: a fault of medseg."""

    RESOURCE = "resource"
    """The machine is at fault: disk or memory full, or the folder of the runs cannot be used."""

    TIMED_OUT = "timed-out"
    """It took longer than its limit, and was stopped."""

    CRASHED = "crashed"
    """Its process died by itself."""


class Sent(StrEnum):
    """Whether a PACS has the objects of a study."""

    NOT_ASKED = ""
    SENT = "sent"

    NOTHING = "nothing-to-send"
    """Its source was no DICOM, so there are no objects."""

    FAILED = "failed"
    """Not yet; the next worklist tries again."""


GOOD = frozenset({Outcome.DONE, Outcome.REDONE, Outcome.ALREADY_DONE})
"""Nobody must look."""

EXIT_CODES = {
    Outcome.MISMATCH: ExportMismatchError.exit_code,
    Outcome.CRASHED: ExportMismatchError.exit_code,
    Outcome.MODEL_ERROR: ModelError.exit_code,
    Outcome.SETTINGS_ERROR: SettingsError.exit_code,
    Outcome.RESOURCE: ResourceError.exit_code,
    Outcome.TIMED_OUT: ResourceError.exit_code,
    Outcome.BUSY: ResourceError.exit_code,
    Outcome.REFUSED: InputError.exit_code,
}
"""Exit code of a worklist that holds one; of several, the one that stands first here."""


@dataclass(frozen=True)
class StudyOutcome:
    """One row of the batch table. It holds no identifier of a patient and no path of the source.

    Attributes:
        number: Of the study in its worklist, from 1.
        fingerprint: Content hash of all that determines the result, 64 hexadecimal digits; empty
            where the study could not be read.
        outcome: How it ended.
        error: Class of the error of ours, or "".
        problem, remedy: Its two sentences, or "".
        run: Name of its run folder among the runs; "" where there is none.
        study_key, patient_key: Pseudonyms, as in `run.json`; "" where there is no run folder.
        protocol: Name of the protocol, as in `run.json`, or "".
        lesions, organs: How many instances; None without a run folder.
        flags: Codes of the quality flags.
        seconds: That this worklist spent on it.
        peak_memory_mib: Of the process that delineated it; None without a run folder.
        sent: Whether a PACS has its objects.
        ended: When it was last worked on, ISO 8601 in UTC; "" where it was only looked at.
    """

    number: int
    fingerprint: str
    outcome: Outcome
    error: str = ""
    problem: str = ""
    remedy: str = ""
    run: str = ""
    study_key: str = ""
    patient_key: str = ""
    protocol: str = ""
    lesions: int | None = None
    organs: int | None = None
    flags: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_memory_mib: float | None = None
    sent: Sent = Sent.NOT_ASKED
    ended: str = ""

    @classmethod
    def failed(
        cls, number: int, fingerprint: str, error: MedsegError, seconds: float = 0.0
    ) -> Self:
        """The row of a study that an error of ours ended."""
        return cls(
            number,
            fingerprint,
            outcome_of(error),
            type(error).__name__,
            error.problem,
            error.remedy,
            seconds=seconds,
        )

    @property
    def name(self) -> str:
        """What people call the study: its pseudonym, else the beginning of its fingerprint.

        One that could not be read has neither, and is called by its number in the worklist.
        """
        return self.study_key or self.fingerprint[:KEY_LENGTH] or f"number {self.number}"

    @property
    def is_good(self) -> bool:
        """Whether nobody must look."""
        return self.outcome in GOOD and self.sent is not Sent.FAILED


def counts(rows: Iterable[StudyOutcome]) -> dict[str, int]:
    """How many studies ended how, in the order of the names."""
    return dict(sorted(Counter(str(row.outcome) for row in rows).items()))


def in_words(rows: Iterable[StudyOutcome]) -> str:
    """The counts as one line."""
    return ", ".join(f"{count} {outcome}" for outcome, count in counts(rows).items())


def outcome_of(error: MedsegError) -> Outcome:
    """How a study ends over which an error of ours was raised."""
    kinds: tuple[tuple[type[MedsegError], Outcome], ...] = (
        (StudyTimedOutError, Outcome.TIMED_OUT),
        (StudyCrashedError, Outcome.CRASHED),
        (ResourceError, Outcome.RESOURCE),
        (RunFolderError, Outcome.RESOURCE),
        (InputError, Outcome.REFUSED),
        (SettingsError, Outcome.SETTINGS_ERROR),
        (ModelError, Outcome.MODEL_ERROR),
        (ExportMismatchError, Outcome.MISMATCH),
    )
    return next((outcome for kind, outcome in kinds if isinstance(error, kind)), Outcome.CRASHED)


def exit_code(outcomes: Iterable[StudyOutcome]) -> int:
    """0 where nobody must look, else the code of the gravest outcome."""
    rows = tuple(outcomes)
    there = {row.outcome for row in rows}
    unsent = ResourceError.exit_code if any(row.sent is Sent.FAILED for row in rows) else 0
    return next((code for outcome, code in EXIT_CODES.items() if outcome in there), unsent)
