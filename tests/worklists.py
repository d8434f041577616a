"""A worklist of phantoms, and what two folders of its runs must have in common."""

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medseg import manifest, run_folder
from medseg.phantom.body import small_phantom
from medseg.phantom.study import PHANTOM_PATIENT, write_study
from medseg.worklist import audit, lease, listing, work
from medseg.worklist.child import StudyProcess
from medseg.worklist.fingerprint import fingerprint
from medseg.worklist.outcome import Outcome

MADE = frozenset({str(Outcome.DONE), str(Outcome.REDONE)})


def write_phantoms(folder: Path, count: int) -> None:
    """Phantoms of different patients, a folder each."""
    phantom = small_phantom()
    for number in range(count):
        patient = dataclasses.replace(PHANTOM_PATIENT, patient_id=f"PHANTOM-{number}")
        write_study(folder / f"phantom-{number:03d}", phantom, patient)


def do_undisturbed(studies: Path, runs: Path) -> list[float]:
    """Do all in a plain loop; seconds of each."""
    took: list[float] = []
    with StudyProcess() as process:
        for study in listing.studies(studies):
            row = work.do_study(study, runs, process)
            assert row.outcome is Outcome.DONE, row
            took.append(row.seconds)
    return took


def run_folders(runs: Path) -> list[Path]:
    """The run folders that there are; each is whole from the moment it appears."""
    return [path for path in runs.glob("[0-9a-f]*") if (path / manifest.FILE).is_file()]


def contents(run: Path) -> dict[str, object]:
    """Every file of a run folder, less what two runs of a study may differ in.

    That are the times and the peak memory in `run.json`, and its digest in the manifest.
    """
    files: dict[str, object] = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file()
    }
    record = json.loads((run / run_folder.RUN_RECORD).read_bytes())
    record.pop("timings_seconds")
    record.pop("peak_memory_mib")
    files[run_folder.RUN_RECORD] = record
    whole = json.loads((run / manifest.FILE).read_bytes())
    whole["files"].pop(run_folder.RUN_RECORD)
    files[manifest.FILE] = whole
    return files


@dataclass(frozen=True)
class Comparison:
    """Runs that were disturbed, beside those that were not. Numbers of studies or files.

    Attributes:
        studies: In the worklist.
        whole: Whose run folder is as its manifest says.
        equal: Whose run folder is byte-equal to the undisturbed one.
        missing: Without a run folder.
        others: Run folders of no study.
        made_once: Of which the audit log says once that they were done. One that was killed between
            its run folder and its note is noted by the next who looks, as done already.
        made_twice: Of which it says so more often.
        unnoted: Of which it says nothing.
        leases: That are left.
        half_made: Folders that are left.
        audit: What the chain of the log says.
    """

    studies: int
    whole: int
    equal: int
    missing: int
    others: int
    made_once: int
    made_twice: int
    unnoted: int
    leases: int
    half_made: int
    audit: audit.Verdict

    @property
    def is_as_it_should_be(self) -> bool:
        """Whether the disturbance left nothing, lost nothing and doubled nothing."""
        wrong = (self.others, self.made_twice, self.unnoted, self.leases, self.half_made)
        return (
            self.studies == self.whole == self.equal
            and not any(wrong)
            and self.audit.broken_at is None
        )


def leases(runs: Path) -> int:
    """How many there are."""
    return sum(path.name != lease.MUTEX for path in (runs / lease.FOLDER).iterdir())


def half_made(runs: Path) -> int:
    """How many folders of what is being made there are."""
    return len(list((runs / work.WORK).iterdir()))


def noted(runs: Path) -> list[dict[str, str]]:
    """The lines of the audit log."""
    return [json.loads(line) for line in (runs / audit.LOG).read_text().splitlines()]


def made(runs: Path) -> Counter[str]:
    """How often each content was delineated, by the audit log."""
    return Counter(line["fingerprint"] for line in noted(runs) if line.get("outcome") in MADE)


def compare(studies: Path, undisturbed: Path, disturbed: Path) -> Comparison:
    """Hold two folders of runs of the same worklist against each other."""
    digests = [fingerprint(study) for study in listing.studies(studies)]
    names = {work.run_name(digest) for digest in digests}
    there = {path.name for path in run_folders(disturbed)}
    times = made(disturbed)
    known = {line["fingerprint"] for line in noted(disturbed)}
    return Comparison(
        studies=len(names),
        whole=sum(manifest.is_whole(disturbed / work.run_name(one), one) for one in digests),
        equal=sum(
            contents(undisturbed / name) == contents(disturbed / name) for name in names & there
        ),
        missing=len(names - there),
        others=len(there - names),
        made_once=sum(times[digest] == 1 for digest in digests),
        made_twice=sum(number > 1 for number in times.values()),
        unnoted=sum(digest not in known for digest in digests),
        leases=leases(disturbed),
        half_made=half_made(disturbed),
        audit=audit.check(disturbed),
    )


def processes_with(variable: str) -> list[int]:
    """Processes whose environment holds a variable, `NAME=VALUE`: what somebody of ours started."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
