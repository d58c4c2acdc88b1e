"""Measure the cost of an idle kernel and of its start; print tables in Markdown (see KERNEL.md).

    python benchmarks/kernel.py [--sessions 20] [--idle 10] [--preload MODULE ...]

Sessions are created one after another, each by a minimal call: by a fork, with an empty pool, and from a
warm pool. CPU time is that of all threads of a process, from its fork on. Memory is the proportional set
size (PSS), in which a page that n processes share counts as an n-th for each of them, so it decreases
with the number of sessions; and the private memory of the kernel. Linux only.
"""

import argparse
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import servers
from measuring import number, spread
from report import machine, table

CODE = "def run():\n    import os\n    return os.getpid()"
MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \S+ *(.*)")
WARM = 10
"""Number of new sessions that are measured with a warm pool."""
PAUSE = 0.5
"""Seconds between them, for refilling the pool."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=20, help="idle sessions (default %(default)s)")
    parser.add_argument("--idle", type=float, default=10, help="seconds of idleness (default %(default)s)")
    parser.add_argument("--preload", action="append", default=[], help="a module that the template imports")
    options = parser.parse_args()
    if sys.platform != "linux":
        parser.error("memory and CPU time are read from /proc, which only Linux has")
    preload = [f"--preload={name}" for name in options.preload]
    print("\n".join(machine("kernel.py")), end="\n\n")
    room = f"--max-sessions={options.sessions + WARM + 1}"
    with servers.owt_process("--pool-min=0", room, *preload) as (port, frontend):
        # The first call waits until the template has imported its modules.
        first(port, "first")
        forked = [first(port, f"s{n}") for n in range(options.sessions)]
        time.sleep(1)
        pids = [pid for pid, _ in forked]
        starts = [cpu(pid) for pid in pids]
        kinds = memory(pids[len(pids) // 2])
        sums = [sum(memory(pid).values(), Counter()) for pid in pids[:: max(1, len(pids) // 20)]]
        idle = idleness([frontend, *pids], options.idle)
        again = [first(port, f"s{n}") for n in range(options.sessions)]
        if [pid for pid, _ in again] != pids:
            raise RuntimeError("a session answered from another kernel than before")
    with servers.owt_process("--pool-min=1", room, *preload) as (port, _):
        first(port, "first")
        warm = []
        for n in range(WARM):
            time.sleep(PAUSE)
            warm.append(first(port, f"w{n}")[1])
    kernel_idle = idle[1:]
    rows = [
        ["first answer by fork, empty pool", f"{spread([ms for _, ms in forked])} ms"],
        ["first answer from the warm pool", f"{spread(warm)} ms"],
        ["CPU time of a kernel until it is idle again", f"{spread(starts)} ms"],
        [f"PSS of an idle session, of {len(pids)}", f"{spread([mib(sizes['Pss']) for sizes in sums])} MiB"],
        ["of this, private", f"{spread([mib(sizes['Private_Dirty']) for sizes in sums])} MiB"],
        ["next answer of each", f"{spread([ms for _, ms in again])} ms"],
        ["frontend, idle", f"{idle[0]:.3f} % of a core"],
        ["a kernel, idle", f"{statistics.mean(kernel_idle):.4f} % of a core"],
    ]
    print("\n".join(table(["what", "measured"], rows)), end="\n\n")
    largest_first = sorted(kinds.items(), key=lambda item: -item[1]["Pss"])
    names = ("Pss", "Private_Dirty", "Rss")
    sizes = [[kind, *(number(mib(of[name])) for name in names)] for kind, of in largest_first]
    print("\n".join(table(["mappings of one kernel, MiB", "PSS", "private", "resident"], sizes)))


def first(port: int, session: str) -> tuple[int, float]:
    """Call this session; return its kernel's process id and the milliseconds to the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    began = time.perf_counter()
    connection.request("GET", f"/?session={session}&code={quote(CODE)}")
    answer = connection.getresponse()
    text = answer.read().decode()
    took = time.perf_counter() - began
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"session {session}: {answer.status} {text}")
    return int(text), took * 1000


def cpu(pid: int) -> float:
    """Return the milliseconds of CPU time of all threads of a process."""
    used = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            used += int((thread / "schedstat").read_text().split()[0])
    return used / 1e6


def idleness(pids: Sequence[int], seconds: float) -> list[float]:
    """Return the share of a core, in per cent, that each process uses during some seconds."""
    began, before = time.monotonic(), [cpu(pid) for pid in pids]
    time.sleep(seconds)
    after = [cpu(pid) for pid in pids]
    took = (time.monotonic() - began) * 1000
    return [100 * (now - then) / took for now, then in zip(after, before, strict=True)]


def memory(pid: int) -> dict[str, Counter[str]]:
    """Return the sizes in KiB of each kind of mapping, by their names in smaps (proc(5))."""
    kinds: dict[str, Counter[str]] = {}
    sizes: Counter[str] = Counter()
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := MAPPING.fullmatch(line):
            sizes = kinds.setdefault(_kind(mapping[1], mapping[2]), Counter())
        elif line.endswith(" kB"):
            name, _, size = line.partition(":")
            sizes[name] += int(size.split()[0])
    return kinds


def _kind(rights: str, name: str) -> str:
    if not name:
        return "Python objects, stacks and heaps of threads (anonymous)"
    if name == "[heap]":
        return "larger objects, and those of libraries (heap)"
    if name.startswith("["):
        return "stack of the main thread, and the system's mappings"
    return "libraries' data" if "w" in rights else "code and other files"


def mib(kib: float) -> float:
    """Convert KiB to MiB."""
    return kib / 1024


if __name__ == "__main__":
    main()
