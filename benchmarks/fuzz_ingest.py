"""Damage real files at random and hold ingest to its promises.

Usage: python benchmarks/fuzz_ingest.py [--inputs 5000] [--seed 0] [--jobs 2] [--cases PATH ...]

Each input is one study of which one file was damaged (`fuzz_mutations`). Ingest may accept or
refuse it, but never crash, take more than 10 s of processor time, hold more than 1 GiB, raise what
is no InputError, or accept it with another geometry than the undamaged study has. It runs in
long-lived workers without its child process, so that what is caught here is caught by the readers
themselves.

Not every change of a geometry can be told: a NIfTI file that states its orientation once, or the
shared attributes of one enhanced object, contradict nothing when they change. Such inputs are
counted apart, with the reason. `changed` decides from the two files alone, without ingest.

Prints a table; exit status 1 if a promise was broken. `--only N` runs one input and shows it.
"""

import argparse
import itertools
import json
import multiprocessing
import resource
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
from fuzz_geometry import changed
from fuzz_mutations import mutate

from medseg.ingest.inspect import inspect
from medseg.ingest.inspection import InspectedSeries

SHARED = Path(__file__).resolve().parents[2] / "shared"
MOST_SECONDS = 10.0
MOST_MIB = 1024.0
HANGS_SECONDS = 90.0
"""Wall time after which a worker is ended; generous, because machines are shared."""

WORKER_BYTES = 6 * 2**30
"""Address space of a worker: what would take the machine down raises MemoryError instead."""

LARGE_BYTES = 2**22
"""Studies above it are drawn a tenth as often: they take a hundred times as long."""


@dataclass(frozen=True)
class Verdict:
    """What ingest made of one input.

    Attributes:
        number: Of the input; with the seed it names it.
        case: The undamaged study.
        damage: What was done to one of its files.
        outcome: accepted, refused, or the promise that was broken.
        detail: Class of the error, reason, or last line of a traceback.
        seconds: Processor time.
        mib: Peak of the resident memory.
    """

    number: int
    case: str
    damage: str
    outcome: str
    detail: str
    seconds: float = 0.0
    mib: float = 0.0

    @property
    def is_broken(self) -> bool:
        """Whether a promise was broken."""
        return self.outcome not in ("accepted", "refused", "cannot be told")


def studies(places: list[Path], folder: Path) -> list[Path]:
    """Files and folders that are one study each; archives are unpacked into the folder."""
    found: list[Path] = []
    for count, place in enumerate(places):
        root = place
        if place.name.endswith((".tar.xz", ".tar")):
            root = folder / str(count)
            with tarfile.open(place) as archive:
                archive.extractall(root, filter="data")
        manifest = root / "manifest.json"
        if manifest.is_file():
            found += [root / case["path"] for case in json.loads(manifest.read_text())]
        elif root.is_dir():
            found += [entry for entry in sorted(root.iterdir()) if entry.name != "manifest.json"]
        else:
            found.append(root)
    return found


def shared_places() -> list[Path]:
    """The real files that lie beside a checkout."""
    data = SHARED / "data"
    lesions = sorted((data / "pet_lesions" / "val").rglob("*.nii.gz"))[:4]
    flair = sorted((data / "ms_longitudinal").rglob("*.nii.gz"))[:1]
    return [SHARED / "acceptance" / "ingest_cases.tar.xz", *lesions, *flair]


def files_of(study: Path) -> list[Path]:
    """Its files in a fixed order."""
    return sorted(path for path in study.rglob("*") if path.is_file()) or [study]


def damaged(study: Path, number: int, seed: int, work: Path) -> tuple[Path, Path, Path, str]:
    """A copy of the study in which one file is damaged.

    Returns:
        The copy, the file that was damaged before and after, and what was done to it.
    """
    chance = np.random.default_rng([seed, number])
    files = files_of(study)
    # The first and the last slices are drawn more often: what is lost there leaves no gap.
    ends = [0, len(files) - 1]
    chosen = files[
        int(chance.choice(ends) if chance.random() < 0.2 else chance.integers(len(files)))
    ]
    word, content = mutate(chosen.read_bytes(), chance)
    for path in files:
        target = work / "study" / path.relative_to(study.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path == chosen:
            target.write_bytes(content)
            after = target
        else:
            target.symlink_to(path)
    return work / "study" / study.name, chosen, after, word


def judge(study: Path, number: int, seed: int, work: Path) -> Verdict:
    """Give one input to ingest."""
    copy, before, after, word = damaged(study, number, seed, work)
    name = study.name
    _forget_peak()
    begin = time.process_time()
    try:
        found = inspect(copy).series
    except BaseException as error:  # noqa: BLE001  whatever it is, it breaks a promise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
        return Verdict(number, name, word, "wrong exception", detail)
    seconds, mib = time.process_time() - begin, _peak_mib()
    outcome, detail = _compare(study, found, before, after)
    if seconds > MOST_SECONDS:
        outcome, detail = "too slow", f"{seconds:.1f} s, {outcome}"
    elif mib > MOST_MIB:
        outcome, detail = "too much memory", f"{mib:.0f} MiB, {outcome}"
    return Verdict(number, name, word, outcome, detail, seconds, mib)


def _compare(
    study: Path, found: tuple[InspectedSeries, ...], before: Path, after: Path
) -> tuple[str, str]:
    """Whether what was accepted lies where the undamaged study does."""
    accepted = [one for one in found if one.outcome == "ok"]
    if not accepted:
        return "refused", found[0].error or "" if found else "no image"
    expected = [one for one in known(study) if one.outcome == "ok"]
    strange = [one for one in accepted if not any(same_grid(one, other) for other in expected)]
    if not strange:
        return "accepted", "same geometry"
    if not expected:
        return "cannot be told", "the undamaged study is refused"
    reason = changed(before, after, strange[0])
    return ("cannot be told", reason) if reason else ("changed geometry", _grids(strange, expected))


KNOWN: dict[Path, tuple[InspectedSeries, ...]] = {}


def known(study: Path) -> tuple[InspectedSeries, ...]:
    """What ingest says of the undamaged study; remembered by a worker."""
    if study not in KNOWN:
        KNOWN[study] = inspect(study).series
    return KNOWN[study]


def same_grid(one: InspectedSeries, other: InspectedSeries) -> bool:
    """Whether the voxels are as many and every corner moved less than a third of a voxel."""
    if one.shape != other.shape or one.shape is None or other.spacing_mm is None:
        return False
    grid = np.array(list(itertools.product(*[(0, n - 1) for n in one.shape])), float)
    places = [
        grid @ np.array(series.affine_ras)[:3, :3].T + np.array(series.affine_ras)[:3, 3]
        for series in (one, other)
    ]
    moved = np.linalg.norm(places[0] - places[1], axis=1).max()
    return bool(moved < min(other.spacing_mm) / 3)


def _grids(strange: list[InspectedSeries], expected: list[InspectedSeries]) -> str:
    return "; ".join(
        f"{one.shape} {[round(mm, 3) for mm in one.spacing_mm or ()]}"
        for one in (*strange, *expected)
    )


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)


def work(pipe: Connection, seed: int) -> None:
    """A worker: judge inputs until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (WORKER_BYTES, WORKER_BYTES))
    while (job := pipe.recv()) is not None:
        study, number = job
        with tempfile.TemporaryDirectory() as folder:
            pipe.send(judge(study, number, seed, Path(folder)))


@dataclass
class Worker:
    """A process that judges, and what it is at."""

    process: multiprocessing.process.BaseProcess
    pipe: Connection
    job: tuple[Path, int]
    since: float


def start(job: tuple[Path, int], seed: int) -> Worker:
    """Start a worker on its first input."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, seed), daemon=True)
    process.start()
    theirs.close()
    ours.send(job)
    return Worker(process, ours, job, time.monotonic())


def run(jobs: Iterator[tuple[Path, int]], seed: int, count: int) -> Iterator[Verdict]:
    """Judge every input in so many processes; one that dies or hangs is replaced."""
    workers = [start(job, seed) for job in itertools.islice(jobs, count)]
    while workers:
        wait([worker.pipe for worker in workers], timeout=1)
        for worker in tuple(workers):
            verdict = _answer(worker)
            if verdict is None:
                continue
            yield verdict
            job = next(jobs, None)
            if worker.process.is_alive() and job is not None:
                worker.pipe.send(job)
                worker.job, worker.since = job, time.monotonic()
                continue
            worker.process.kill()
            workers.remove(worker)
            if job is not None:
                workers.append(start(job, seed))


def _answer(worker: Worker) -> Verdict | None:
    """The worker's verdict, ours where it died or hangs, or None."""
    study, number = worker.job
    if worker.pipe.poll():
        try:
            verdict: Verdict = worker.pipe.recv()
        except EOFError:
            worker.process.join()
            code = worker.process.exitcode
            return Verdict(number, study.name, "?", "crash", f"exit status {code}")
        return verdict
    if time.monotonic() - worker.since < HANGS_SECONDS:
        return None
    worker.process.kill()
    worker.process.join()
    return Verdict(number, study.name, "?", "hang", f"no answer in {HANGS_SECONDS:.0f} s")


def table(verdicts: list[Verdict]) -> str:
    """What was done, and what came of it."""
    outcomes = sorted({one.outcome for one in verdicts})
    damages = sorted({one.damage for one in verdicts})
    counts = Counter((one.damage, one.outcome) for one in verdicts)
    lines = ["damage".ljust(22) + "".join(outcome.rjust(18) for outcome in outcomes)]
    for damage in damages:
        row = "".join(str(counts[damage, outcome]).rjust(18) for outcome in outcomes)
        lines.append(damage.ljust(22) + row)
    total = Counter(one.outcome for one in verdicts)
    lines.append("all".ljust(22) + "".join(str(total[outcome]).rjust(18) for outcome in outcomes))
    for outcome in ("refused", "cannot be told"):
        reasons = Counter(one.detail for one in verdicts if one.outcome == outcome)
        lines += ["", f"{outcome}:"] + [f"  {n:6} {word}" for word, n in reasons.most_common()]
    slowest = max(one.seconds for one in verdicts)
    lines += ["", f"slowest {slowest:.2f} s, peak {max(one.mib for one in verdicts):.0f} MiB"]
    return "\n".join(lines)


def main() -> int:
    """Run, print, and say whether a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cases", type=Path, nargs="*", default=None)
    parser.add_argument("--only", type=int, default=None)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the input of --only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = studies(options.cases or shared_places(), Path(folder))
        sizes = [sum(path.stat().st_size for path in files_of(study)) for study in found]
        weights = np.array([0.1 if size > LARGE_BYTES else 1.0 for size in sizes])
        drawn = np.random.default_rng(options.seed).choice(
            len(found), options.inputs, p=weights / weights.sum()
        )
        numbers = range(options.inputs) if options.only is None else [options.only]
        if options.only is not None and options.keep is not None:
            damaged(found[drawn[options.only]], options.only, options.seed, options.keep)
        verdicts = []
        for one in run(((found[drawn[n]], n) for n in numbers), options.seed, options.jobs):
            verdicts.append(one)
            if one.is_broken or options.only is not None:
                print(f"{one.outcome}: input {one.number}, {one.case}, {one.damage}: {one.detail}",
                      flush=True)  # fmt: skip
    print(table(verdicts))
    broken = sum(one.is_broken for one in verdicts)
    print(f"{len(verdicts)} inputs, {broken} promises broken")
    return 1 if broken or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
