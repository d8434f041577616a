"""Two worklists that are started at once on the same studies: each study is done once.

    python benchmarks/worklist_twice.py [--studies 30] [--real 10]

Both are `python -m pipelines worklist` on one server. What was done is counted in the audit log,
which has a line for each delineation, and in what the two say themselves.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from worklist_kills import make_studies
from worklist_server import server

from medseg import manifest
from tests.worklists import half_made, leases, made


def main() -> None:
    """Run all of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--studies", type=int, default=30)
    options.add_argument("--real", type=int, default=10)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-twice-") as name:
        folder = Path(name)
        studies, runs = folder / "studies", folder / "runs"
        make_studies(studies, chosen.studies, chosen.real)
        command = [sys.executable, "-m", "pipelines", "worklist", studies, runs, "--json"]
        begin = time.perf_counter()
        with server(folder):
            both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
            said = [json.loads(one.communicate()[0]) for one in both]
        print(f"two worklists of {chosen.studies} studies in {time.perf_counter() - begin:.0f} s:")
        for one in said:
            print(f"  {one['counts']}, exit code {one['exit_code']}")
        check(runs, chosen.studies, said)


def check(runs: Path, studies: int, said: list[dict[str, list[dict[str, str]]]]) -> None:
    """Count what was done, and end with 1 where it is not once."""
    done = made(runs)
    rows = {row["fingerprint"]: row["run"] for one in said for row in one["studies"]}
    whole = sum(manifest.is_whole(runs / run, digest) for digest, run in rows.items())
    print(f"{sum(done.values())} delineations of {len(done)} studies, {whole} run folders whole")
    print(f"{leases(runs)} leases left, {half_made(runs)} half-made left")
    if not sum(done.values()) == len(done) == whole == studies or leases(runs) or half_made(runs):
        raise SystemExit("NOT as it should be")


if __name__ == "__main__":
    main()
