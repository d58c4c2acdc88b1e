"""Memory and CPU time of processes, as the kernel of the system counts them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil


def pss(pid: int) -> int:
    """The proportional set size of a process, in bytes (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no PSS")


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_seconds(pids: Sequence[int]) -> float:
    """The CPU time that these processes have taken together, user's and system's."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


@dataclass
class Process:
    """The memory of one process over time: pairs of seconds and bytes."""

    name: str
    pid: int
    samples: list[tuple[float, int]] = field(default_factory=list)

    def sample(self, at: float) -> None:
        self.samples.append((at, pss(self.pid)))

    def most(self, start: float, end: float) -> int:
        """The greatest sample between two moments."""
        return max(size for at, size in self.samples if start <= at <= end)
