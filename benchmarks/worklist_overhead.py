"""What Prefect costs a worklist, and how fast a thousand finished studies are recognised.

    python benchmarks/worklist_overhead.py [--studies 1000] [--anew 10] [--turns 5]

First some studies are delineated anew in each turn, by `stages.delineate` in a plain loop and by
the flow, one after the other in this process. Then come those that are finished: one phantom study
is delineated, the others are copies of it with a note beside the images, and their run folder is a
copy of the first's with a manifest of its own: recognising them is the same work as if each had
been delineated (every file of study and run is hashed). They are looked at by a plain loop and by
the flow in turn; the difference is Prefect's part.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from worklist_server import server

from medseg import manifest, stages
from medseg.phantom.body import small_phantom
from medseg.phantom.study import write_study
from medseg.worklist import listing, work
from medseg.worklist.child import StudyProcess
from medseg.worklist.fingerprint import fingerprint
from medseg.worklist.outcome import Outcome
from tests.worklists import write_phantoms


def delineated(studies: Path, runs: Path) -> float:
    """Seconds of the stages in a plain loop."""
    runs.mkdir()
    begin = time.perf_counter()
    for study in listing.studies(studies):
        stages.delineate(study.source, runs / str(study.number))
    return time.perf_counter() - begin


def make_finished(studies: Path, runs: Path, count: int) -> None:
    """Make studies, each with a whole run folder."""
    write_study(studies / "0000", small_phantom())
    for number in range(1, count):
        shutil.copytree(studies / "0000", studies / f"{number:04d}")
        (studies / f"{number:04d}" / "note.txt").write_text(str(number), encoding="ascii")
    listed = listing.studies(studies)
    with StudyProcess() as process:
        first = work.do_study(listed[0], runs, process)
    for study in listed[1:]:
        digest = fingerprint(study)
        made = runs / work.run_name(digest)
        shutil.copytree(runs / first.run, made)
        whole = json.loads((made / manifest.FILE).read_bytes())
        text = json.dumps({**whole, "fingerprint": digest}, indent=1)
        (made / manifest.FILE).write_text(text + "\n", encoding="utf-8")


def plain(studies: Path, runs: Path) -> float:
    """Seconds of a plain loop."""
    begin = time.perf_counter()
    with StudyProcess() as process:
        for study in listing.studies(studies):
            row = work.do_study(study, runs, process)
            if row.outcome is not Outcome.ALREADY_DONE:
                raise SystemExit(f"study {study.number}: {row.outcome}")
    return time.perf_counter() - begin


def flow(studies: Path, runs: Path) -> float:
    """Seconds of the flow, in this process, on a server of its own."""
    from pipelines.delineate_worklist import delineate_worklist

    begin = time.perf_counter()
    state = delineate_worklist(studies, runs, return_state=True)
    if state.name != "Completed":
        raise SystemExit(f"the flow ended as {state.name}")
    return time.perf_counter() - begin


def main() -> None:
    """Run all of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--studies", type=int, default=1000)
    options.add_argument("--anew", type=int, default=10)
    options.add_argument("--turns", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-overhead-") as name:
        folder = Path(name)
        with server(folder) as started:
            report_anew(folder, chosen.anew, chosen.turns)
            make_finished(folder / "studies", folder / "runs", chosen.studies)
            report(folder, chosen.studies, chosen.turns, started.pid)


def report_anew(folder: Path, count: int, turns: int) -> None:
    """Delineate anew in turn, and print; the first turn loads the model and is not counted."""
    write_phantoms(folder / "anew", count)
    each = []
    for turn in range(turns + 1):
        alone = delineated(folder / "anew", folder / f"plain-{turn}")
        ours = flow(folder / "anew", folder / f"flow-{turn}")
        if turn:
            each.append((ours - alone) / count)
            print(f"  stages {alone:.1f} s, flow {ours:.1f} s", flush=True)
    spread = f"{min(each):.3f} to {max(each):.3f}, {turns} turns"
    print(f"{count} studies anew, the flow's part: {statistics.median(each):.3f} s each ({spread})")


def report(folder: Path, studies: int, turns: int, pid: int) -> None:
    """Look at finished studies in turn, and print."""
    # The first look notes the copies in record and log.
    plain(folder / "studies", folder / "runs")
    pairs = []
    for _ in range(turns):
        alone = plain(folder / "studies", folder / "runs")
        pairs.append((alone, flow(folder / "studies", folder / "runs")))
        print(f"  plain {alone:.1f} s, flow {pairs[-1][1]:.1f} s", flush=True)
    each = [1000 * (ours - alone) / studies for alone, ours in pairs]
    ratios = [ours / alone for alone, ours in pairs]
    longest = max(ours for _, ours in pairs)
    print(f"{studies} finished studies are recognised in {longest:.1f} s at most")
    for name, found, unit in (("Prefect's part", each, " ms a study"), ("ratio", ratios, "")):
        spread = f"{min(found):.2f}-{max(found):.2f}, {turns} turns"
        print(f"{name}: {statistics.median(found):.2f}{unit} ({spread})")
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    memory = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    files = sum(one.stat().st_size for one in (folder / "prefect").glob("prefect.db*"))
    print(f"server: {int(memory) / 1024:.0f} MiB at most, database {files / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
