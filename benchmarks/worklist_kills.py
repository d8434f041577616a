"""A worklist under `medseg operate` whose flow, worker and server are killed again and again.

    python benchmarks/worklist_kills.py [--studies 100] [--real 20] [--kills 20] [--seed 0]

First an undisturbed run of the same studies, in a plain loop without Prefect. Then `medseg operate`
does them by a schedule of every minute, while SIGKILL hits the flow, the worker and the server in
turn at random moments; nothing is started by hand. At the end every run folder is compared byte for
byte: all files are equal but `run.json` in its timings and its peak memory, and the manifest in the
digest of that file. Real studies are PET crops of ../shared/data, the others phantoms.
"""

import argparse
import dataclasses
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import yaml

from medseg import manifest, run_folder
from medseg.phantom.body import small_phantom
from medseg.phantom.study import PHANTOM_PATIENT, write_study
from medseg.worklist import audit, lease, listing, work
from medseg.worklist.child import StudyProcess
from medseg.worklist.fingerprint import fingerprint
from medseg.worklist.outcome import Outcome
from pipelines.settings import database

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "pet_lesions"

STATES = ["RUNNING", "PENDING", "CANCELLING"]

TARGETS = ("flow", "worker", "server")


def make_studies(folder: Path, count: int, real: int) -> None:
    """Real PET crops, a folder each, and phantoms of different patients."""
    crops = sorted(DATA.resolve().glob("*/*_pet_suv.nii.gz"))[:real]
    for crop in crops:
        (folder / f"real-{crop.name[:12]}").mkdir(parents=True)
        shutil.copy(crop, folder / f"real-{crop.name[:12]}" / crop.name)
    phantom = small_phantom()
    for number in range(count - len(crops)):
        patient = dataclasses.replace(PHANTOM_PATIENT, patient_id=f"PHANTOM-{number}")
        write_study(folder / f"phantom-{number:03d}", phantom, patient)


def undisturbed(studies: Path, runs: Path) -> list[float]:
    """Do all in a plain loop; seconds of each."""
    took: list[float] = []
    with StudyProcess() as process:
        for study in listing.studies(studies):
            row = work.do_study(study, runs, process)
            if row.outcome is not Outcome.DONE:
                raise SystemExit(f"study {study.number}: {row}")
            took.append(row.seconds)
    return took


def contents(run: Path) -> dict[str, object]:
    """Every file of a run folder, less what two runs may differ in."""
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


def processes(home: Path) -> dict[str, list[int]]:
    """What runs of the operated machine with that home, by kind; nothing else on this one."""
    mark = f"PREFECT_HOME={home}/prefect".encode()
    found: dict[str, list[int]] = {target: [] for target in TARGETS}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
            ours = mark in (path.parent / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if not ours:
            continue
        line = " ".join(words)
        pid = int(path.parent.name)
        if "prefect server start" in line or "prefect.server.api.server:create_app" in line:
            found["server"].append(pid)
        elif "prefect worker start" in line:
            found["worker"].append(pid)
        elif "prefect" in line and ("flow-run execute" in line or "prefect.engine" in line):
            found["flow"].append(pid)
    return found


def kill(target: str, home: Path) -> bool:
    """SIGKILL every process of a kind; False where there is none now."""
    pids = processes(home)[target]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return bool(pids)


def running(settings: dict[str, object], home: Path) -> int | None:
    """How many flow runs say that they run; None where the server does not answer."""
    user, _, password = (home / "login").read_text().strip().partition(":")
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{settings['port']}/api/",
            auth=(user, password),
            trust_env=False,
            timeout=10,
        ) as client:
            token = client.get("csrf-token", params={"client": "benchmark"}).json()["token"]
            answer = client.post(
                "flow_runs/count",
                json={"flow_runs": {"state": {"type": {"any_": STATES}}}},
                headers={"Prefect-Csrf-Client": "benchmark", "Prefect-Csrf-Token": token},
            )
            return int(answer.json())
    except (httpx.HTTPError, ValueError, TypeError, KeyError):
        return None


def disturbed(folder: Path, studies: Path, runs: Path, kills: int, rng: random.Random) -> None:
    """Let `medseg operate` do all, and kill."""
    count, home = len(list(studies.iterdir())), folder / "home"
    settings: dict[str, object] = {
        "home": str(home),
        "inbox": str(folder / "inbox"),
        "runs": str(runs),
        "worklist": str(studies),
        "nightly": "* * * * *",
        "watch": "0 0 1 1 *",
        "port": 4391,
        "receiver": None,
    }
    (folder / "operate.yaml").write_text(yaml.safe_dump(settings))
    command = [Path(sys.executable).with_name("medseg"), "operate", folder / "operate.yaml"]
    begin, killed, waits = time.monotonic(), Counter[str](), 0
    with subprocess.Popen([*command, "--json"], stdout=subprocess.DEVNULL) as operate:
        try:
            while len(done := whole(runs)) < count or sum(killed.values()) < kills:
                if time.monotonic() - begin > 3600:
                    raise SystemExit(f"not done after an hour: {len(done)} of {count}")
                time.sleep(rng.uniform(2, 20))
                target = TARGETS[sum(killed.values()) % len(TARGETS)]
                if sum(killed.values()) < kills and processes(home)["flow"] and kill(target, home):
                    killed[target] += 1
                    print(f"  {time.monotonic() - begin:5.0f} s: {target} killed, {len(done)} done")
            print(f"  all done after {time.monotonic() - begin:.0f} s and {dict(killed)} kills")
            while running(settings, home) != 0:
                waits += 1
                if waits > 300:
                    raise SystemExit("a run is shown as running for ever")
                time.sleep(1)
            print(f"  no run is shown as running {waits} s later")
        finally:
            operate.terminate()
            operate.wait(60)
    print(f"  processes left: {sum(map(len, processes(home).values()))}")


def whole(runs: Path) -> list[Path]:
    """The run folders that are whole."""
    return [path for path in runs.glob("[0-9a-f]*") if (path / manifest.FILE).is_file()]


def compare(studies: Path, first: Path, second: Path) -> None:
    """Hold the two folders of runs against each other and the list."""
    digests = {fingerprint(study) for study in listing.studies(studies)}
    names = {work.run_name(digest) for digest in digests}
    there = {path.name for path in whole(second)}
    complete = sum(manifest.is_whole(second / work.run_name(one), one) for one in digests)
    equal = sum(contents(first / name) == contents(second / name) for name in names & there)
    left = [path for path in (second / lease.FOLDER).iterdir() if path.name != lease.MUTEX]
    made = list((second / work.WORK).iterdir())
    lines = [json.loads(line) for line in (second / audit.LOG).read_text().splitlines()]
    done = Counter(line["fingerprint"] for line in lines if line.get("outcome") == "done")
    twice = sum(number > 1 for number in done.values())
    print(f"{len(names)} studies; {len(there & names)} run folders, {len(there - names)} others")
    print(f"{complete} whole by their manifest, {equal} byte-equal to the undisturbed run's")
    print(f"{twice} done twice, {len(left)} leases left, {len(made)} half-made left")
    print(f"audit log: {audit.check(second)}")
    if not (complete == equal == len(names) == len(there)) or left or made or twice:
        raise SystemExit("NOT as it should be")


def main() -> None:
    """Run all of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--studies", type=int, default=100)
    options.add_argument("--real", type=int, default=20)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-kills-") as name:
        folder = Path(name)
        make_studies(folder / "studies", chosen.studies, chosen.real)
        took = undisturbed(folder / "studies", folder / "runs-a")
        print(f"undisturbed: {sum(took):.0f} s, median {statistics.median(took):.2f} s a study")
        print(f"with kills, on {'PostgreSQL' if database() else 'SQLite'}:")
        rng = random.Random(chosen.seed)  # noqa: S311
        disturbed(folder, folder / "studies", folder / "runs-b", chosen.kills, rng)
        compare(folder / "studies", folder / "runs-a", folder / "runs-b")


if __name__ == "__main__":
    main()
