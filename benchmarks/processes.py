"""Memory and CPU time of processes, as the operating system counts them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil


def pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no PSS")


def family(pid: int) -> list[int]:
    """Return the process ids of a process and all its descendants."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the total user and system CPU time of the processes."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(time.user + time.system for time in times)


@dataclass
class Process:
    """Memory of one process over time: pairs of seconds and bytes."""

    name: str
    pid: int
    samples: list[tuple[float, int]] = field(default_factory=list)

    def sample(self, at: float) -> None:
        self.samples.append((at, pss(self.pid)))

    def maximum(self, start: float, end: float) -> int:
        """Return the maximum sample between two times."""
        return max(size for at, size in self.samples if start <= at <= end)
