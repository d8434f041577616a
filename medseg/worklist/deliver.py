"""Results of a worklist on their way to a PACS, each once."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from medseg import run_folder, sending
from medseg.errors import ResourceError
from medseg.worklist import audit, lease
from medseg.worklist.outcome import Sent, StudyOutcome

FOLDER = ".sent"
"""Among the runs: a file for each run that a PACS took whole."""

SENT_LOG = "sent.jsonl"
"""Among the runs: a line for each object that was sent."""


def deliver(row: StudyOutcome, runs: Path, to: str) -> StudyOutcome:
    """Send the objects of a study that is done, unless that PACS has them.

    A run that was killed between the PACS's answer and its own note sends again; the objects are
    the same, with the same UIDs, and a PACS keeps one copy.

    Args:
        row: Of the study.
        runs: Folder of the runs.
        to: As of `sending.send`.

    Returns:
        The row, which says whether the PACS has its objects.

    Raises:
        MedsegError: As `sending.send` raises it; `ResourceError` may pass.
    """
    if not row.run:
        return row
    if not any((runs / row.run / run_folder.DICOM).glob("*.dcm")):
        return replace(row, sent=Sent.NOTHING)
    place = sha256(f"{row.fingerprint} {to}".encode()).hexdigest()
    record = runs / FOLDER / place
    with run_folder.machine_faults(), lease.held(runs, place) as mine:
        if mine is None:
            raise ResourceError(
                "Another worklist sends the results of the study.", "Look again when it is done."
            )
        if not record.is_file():
            record.parent.mkdir(exist_ok=True)
            done = sending.send(runs / row.run, to, sending.Sender(), runs / SENT_LOG)
            said = {"action": "send", "fingerprint": row.fingerprint, "objects": len(done)}
            audit.append(runs, said)
            time = datetime.now(UTC).isoformat(timespec="seconds")
            with run_folder.whole_file(record) as beside:
                beside.write_text(json.dumps({"time": time, **said}) + "\n", encoding="utf-8")
    return replace(row, sent=Sent.SENT)
