"""How much faster a worklist is on two workers of Dask than in one process.

    python benchmarks/worklist_dask.py [--studies 24] [--real 8] [--turns 3]

The same studies are done in turn by `python -m pipelines worklist` in one process and on two local
workers, from the start of the command to its end: imports, the start of Dask and the loading of the
model are in it. Beside the seconds stands how many cores were busy on the mean, which says what
limits the ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from worklist_kills import make_studies
from worklist_server import server

from pipelines.runners import ADDRESS


def busy_seconds() -> float:
    """Seconds that the machine's cores have worked since it started."""
    user, nice, system = Path("/proc/stat").read_text(encoding="ascii").split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def done(studies: Path, runs: Path, address: str) -> tuple[float, float]:
    """Seconds that a worklist takes, and how many cores are busy meanwhile."""
    begin, worked = time.perf_counter(), busy_seconds()
    command = [sys.executable, "-m", "pipelines", "worklist", str(studies), str(runs), "--json"]
    said = subprocess.run(
        command, env={**os.environ, ADDRESS: address}, stdout=subprocess.PIPE, check=True
    )
    seconds = time.perf_counter() - begin
    counts = json.loads(said.stdout)["counts"]
    if counts != {"done": len(list(studies.iterdir()))}:
        raise SystemExit(f"not all done: {counts}")
    return seconds, (busy_seconds() - worked) / seconds


def main() -> None:
    """Run all of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--studies", type=int, default=24)
    options.add_argument("--real", type=int, default=8)
    options.add_argument("--turns", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-dask-") as name:
        folder = Path(name)
        make_studies(folder / "studies", chosen.studies, chosen.real)
        with server(folder):
            ratios = []
            for turn in range(chosen.turns):
                one, busy = done(folder / "studies", folder / f"one-{turn}", "")
                two, busy_two = done(folder / "studies", folder / f"two-{turn}", "local:2")
                ratios.append(one / two)
                print(
                    f"  one process {one:.1f} s ({busy:.2f} cores busy), two workers {two:.1f} s "
                    f"({busy_two:.2f})",
                    flush=True,
                )
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}, {chosen.turns} turns"
    rate = f"{statistics.median(ratios):.2f} times as fast ({spread})"
    print(f"{chosen.studies} studies: two workers are {rate}")


if __name__ == "__main__":
    main()
