"""A worklist under `medseg operate` whose flow, worker and server are killed again and again.

    python benchmarks/worklist_kills.py [--studies 100] [--real 20] [--kills 20] [--seed 0]

First an undisturbed run of the same studies, in a plain loop without Prefect. Then `medseg operate`
does them by a schedule of every minute, while SIGKILL hits the flow, the worker and the server in
turn at random moments; nothing is started by hand. At the end every run folder is compared byte for
byte: all files are equal but `run.json` in its timings and its peak memory, and the manifest in the
digest of that file. Real studies are PET crops of ../shared/data, the others phantoms.
"""

import argparse
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

from pipelines.settings import database
from tests.orthanc import free_port
from tests.worklists import (
    Comparison,
    compare,
    do_undisturbed,
    processes_with,
    run_folders,
    write_phantoms,
)

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "pet_lesions"

STATES = ["RUNNING", "PENDING", "CANCELLING"]

TARGETS = ("flow", "worker", "server")


def make_studies(folder: Path, count: int, real: int) -> None:
    """Real PET crops, a folder each, and phantoms of different patients."""
    crops = sorted(DATA.resolve().glob("*/*_pet_suv.nii.gz"))[:real]
    for crop in crops:
        (folder / f"real-{crop.name[:12]}").mkdir(parents=True)
        shutil.copy(crop, folder / f"real-{crop.name[:12]}" / crop.name)
    write_phantoms(folder, count - len(crops))


def processes(home: Path) -> dict[str, list[int]]:
    """What runs of the operated machine with that home, by kind; nothing else on this one."""
    found: dict[str, list[int]] = {target: [] for target in (*TARGETS, "other")}
    for pid in processes_with(f"PREFECT_HOME={home}/prefect"):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        found[_kind(line.replace("\0", " "))].append(pid)
    return found


def _kind(line: str) -> str:
    if "prefect server start" in line or "prefect.server.api.server:create_app" in line:
        return "server"
    if "prefect worker start" in line:
        return "worker"
    if "prefect" in line and ("flow-run execute" in line or "prefect.engine" in line):
        return "flow"
    return "other"


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


def disturbed(folder: Path, studies: Path, runs: Path, kills: int, rng: random.Random) -> int:
    """Let `medseg operate` do all, and kill; how many of its processes outlive it."""
    count, home = len(list(studies.iterdir())), folder / "home"
    settings: dict[str, object] = {
        "home": str(home),
        "inbox": str(folder / "inbox"),
        "runs": str(runs),
        "worklist": str(studies),
        "nightly": "* * * * *",
        "watch": "0 0 1 1 *",
        "port": free_port(),
        "receiver": None,
    }
    (folder / "operate.yaml").write_text(yaml.safe_dump(settings))
    command = [Path(sys.executable).with_name("medseg"), "operate", folder / "operate.yaml"]
    begin, killed, waits = time.monotonic(), Counter[str](), 0
    with subprocess.Popen([*command, "--json"], stdout=subprocess.DEVNULL) as operate:
        try:
            while len(done := run_folders(runs)) < count or sum(killed.values()) < kills:
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
    until = time.monotonic() + 10  # a process of a study goes with its flow, not before it
    while (left := sum(map(len, processes(home).values()))) and time.monotonic() < until:
        time.sleep(0.1)
    print(f"  processes left: {left}")
    return left


def say(found: Comparison) -> None:
    """Print how the two folders of runs compare."""
    there = found.studies - found.missing
    print(f"{found.studies} studies; {there} run folders, {found.others} others")
    print(
        f"{found.whole} whole by their manifest, {found.equal} byte-equal to the undisturbed run's"
    )
    print(f"{found.made_twice} done twice, {found.leases} leases left, {found.half_made} half-made")
    print(f"audit log: {found.made_once} done once, {found.unnoted} not noted, {found.audit}")


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
        took = do_undisturbed(folder / "studies", folder / "runs-a")
        print(f"undisturbed: {sum(took):.0f} s, median {statistics.median(took):.2f} s a study")
        print(f"with kills, on {'PostgreSQL' if database() else 'SQLite'}:")
        rng = random.Random(chosen.seed)  # noqa: S311
        left = disturbed(folder, folder / "studies", folder / "runs-b", chosen.kills, rng)
        found = compare(folder / "studies", folder / "runs-a", folder / "runs-b")
        say(found)
        if left or not found.is_as_it_should_be:
            raise SystemExit("NOT as it should be")


if __name__ == "__main__":
    main()
