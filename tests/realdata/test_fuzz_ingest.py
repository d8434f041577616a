"""A few damaged inputs; `benchmarks/fuzz_ingest.py` runs thousands."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz_ingest.py"


@pytest.mark.realdata
def test_damaged_files_are_refused_or_keep_their_geometry(shared_data):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--inputs", "150", "--seed", "7", "--jobs", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "150 inputs, 0 promises broken" in done.stdout
