"""How much memory a process has used."""

import resource
from pathlib import Path


def own_peak_kib() -> int:
    """Largest resident set of this process, without those of the processes that it started.

    Linux carries the peak of whoever started a process over into its `ru_maxrss` (exec keeps it),
    so that a run started from a large notebook would be recorded as that large; `VmHWM` begins
    anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
