"""What a killed worker leaves is found and ended, though it runs in a session of its own."""

import os
import subprocess
import sys
from pathlib import Path

SUPERVISOR = """
import os, signal, sys, time
from pathlib import Path
from pipelines.processes import Child, adopt, bury, end_orphans

adopt()
worker = Child("worker", ["sh", "-c", "setsid sh -c 'sleep 600 & echo $! $$; wait' & wait"])
other = Child("other", ["sleep", "600"])
for one in (worker, other):
    one.start(os.environ, Path(sys.argv[1]))
log = Path(sys.argv[1]) / "worker.log"
while len(log.read_text().split()) < 2:
    time.sleep(0.05)
os.kill(worker.process.pid, signal.SIGKILL)
worker.end()
flow = [int(pid) for pid in log.read_text().split()]
alive = [Path(f"/proc/{pid}").exists() for pid in flow]
end_orphans((worker, other))
left = [Path(f"/proc/{pid}").exists() for pid in flow]
print(alive, left, other.is_alive())
zombie = os.spawnlp(os.P_NOWAIT, "true", "true")
time.sleep(0.5)
bury((worker, other))
print(Path(f"/proc/{zombie}").exists())
other.end()
"""


def test_what_a_killed_worker_started_is_ended_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path)]
    said = subprocess.run(
        command, env=dict(os.environ), stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    assert said.stdout.split("\n")[:2] == ["[True, True] [False, False] True", "False"]
