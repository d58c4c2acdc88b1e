"""Measure the memory of a stream whose reader stops; write MEMORY.md and memory.svg beside this file.

    python benchmarks/memory.py [--reading 5] [--still 60]

An endless generator yields numbered chunks. A reader on a raw socket reads for a while, stops, continues,
and checks that no number is missing. The proportional set size (PSS) of the frontend and of the kernel is
sampled twice a second. Each case has a server of its own, and all run at once. The exit status is 1 only
for a fault, not for a missed goal.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import servers
from connection import Request, once
from goals import GOALS, STALLED_FRONTEND, STALLED_KERNEL, WINDOW_MIB
from matplotlib.figure import Figure
from measuring import MIB, Effort, Measurement, Row, number
from plot import STYLE
from processes import Process
from reader import CASES, Case, Reader
from report import machine, table

DOCUMENT = Path(__file__).with_name("MEMORY.md")
PLOT = Path(__file__).with_name("memory.svg")

WINDOW = WINDOW_MIB * MIB
GOAL = int(GOALS[STALLED_FRONTEND].limit) * MIB
"""Maximum growth of a process, in bytes."""

SHORT_READING, SHORT_STILL = 2.0, 6.0
"""Seconds, if this is a part of `run.py`."""

EVERY = 0.5
"""Seconds between two samples."""


@dataclass
class Result:
    """Result of one case. Times are in seconds since the first sample."""

    case: Case
    processes: list[Process]
    reads: float
    stands: float
    goes_on: float
    ends: float
    chunks: int

    def growth(self, process: Process) -> int:
        """Return the maximum growth in bytes while the reader had stopped."""
        return process.maximum(self.stands, self.goes_on) - process.maximum(0, self.reads)

    def rows(self) -> list[list[str]]:
        return [
            [
                self.case.name,
                process.name,
                mib(process.maximum(0, self.reads)),
                mib(process.maximum(self.reads, self.stands)),
                mib(process.maximum(self.stands, self.goes_on)),
                mib(self.growth(process)),
                f"at most {mib(GOAL)}",
                "reached" if self.growth(process) <= GOAL else "not reached",
            ]
            for process in self.processes
        ]


def mib(size: int) -> str:
    return f"{number(size / MIB)} MiB"


def watch(processes: Sequence[Process], started: float, ended: threading.Event) -> None:
    """Take samples until `ended`."""
    while not ended.is_set():
        for process in processes:
            process.sample(time.monotonic() - started)
        ended.wait(EVERY)


def measure(case: Case, reading: float, still: float) -> Result:
    """Measure one case, with a server of its own."""
    with servers.owt_process("--window", str(WINDOW)) as (port, pid):
        kernel = ready(port)
        processes = [Process("frontend", pid), Process("kernel", kernel)]
        started = time.monotonic()
        ended = threading.Event()
        watching = threading.Thread(target=watch, args=(processes, started, ended))
        watching.start()
        try:
            time.sleep(4 * EVERY)
            moments = [time.monotonic() - started]
            reader = Reader(case, port)
            for step in (reader.read, time.sleep, reader.read):
                step(still if step is time.sleep else reading)
                moments.append(time.monotonic() - started)
            reader.close()
        finally:
            ended.set()
            watching.join()
        return Result(case, processes, *moments, chunks=reader.chunks)


def ready(port: int) -> int:
    """Create the session, wait until no kernel is starting, and return the process id of its kernel."""
    once(Request(port, "/", {"session": "memory", "code": "1"}))
    # Kernels share memory, so a starting kernel reduces the share of the others.
    return servers.quiet(port)["sessions"][0]["pid"]


def all_cases(reading: float, still: float) -> list[Result]:
    """Measure all cases at the same time."""
    with ThreadPoolExecutor(len(CASES)) as workers:
        return list(workers.map(lambda case: measure(case, reading, still), CASES))


def stalled(effort: Effort) -> Iterator[object]:
    """Measure the maximum growth of all cases while the reader has stopped."""
    results = all_cases(SHORT_READING, SHORT_STILL)
    for at, what in enumerate((STALLED_FRONTEND, STALLED_KERNEL)):
        growth = max(result.growth(result.processes[at]) for result in results)
        yield Row(what, "MiB", [growth / MIB], goal=GOALS[what])


def document(results: Sequence[Result], still: float) -> str:
    """Return the text of MEMORY.md."""
    heading = ["stream", "process", "before", "maximum while reading", "maximum while stopped", "growth"]
    rows = [row for result in results for row in result.rows()]
    lines = ["# Memory under backpressure", "", *machine("memory.py"), ""]
    lines += [
        f"A generator yields without end, and its reader stops for {still:g} s. "
        f"Memory is PSS; the goal is the window ({mib(WINDOW)}) and 8 MiB more.",
        "",
    ]
    lines += [*table([*heading, "goal", ""], rows), ""]
    lines += ["Then the reader continued, and no chunk was missing or repeated:", ""]
    lines += [f"- {result.case.name}: {result.chunks:,} chunks" for result in results]
    return "\n".join([*lines, "", "![PSS over time](memory.svg)"]) + "\n"


def plot(results: Sequence[Result]) -> None:
    """Draw memory.svg."""
    with matplotlib.rc_context(STYLE):
        _figure(results).savefig(PLOT, metadata={"Date": None, "Creator": None})


def _figure(results: Sequence[Result]) -> Figure:
    figure = Figure(figsize=(8, 2.4 * len(results)), layout="constrained")
    for axes, result in zip(figure.subplots(len(results), sharex=True), results, strict=True):
        for process in result.processes:
            before = process.maximum(0, result.reads)
            times, sizes = zip(*process.samples, strict=True)
            axes.plot(times, [(size - before) / MIB for size in sizes], label=process.name, linewidth=1.2)
        axes.axhline(GOAL / MIB, color="gray", linestyle="--", linewidth=0.8, label="goal")
        axes.axvspan(result.stands, result.goes_on, color="gray", alpha=0.15, label="reader stopped")
        axes.set_title(result.case.name, fontsize=10)
        axes.set_ylabel("growth of PSS, MiB")
    axes.set_xlabel("seconds")
    axes.legend(fontsize=8)
    return figure


MEASUREMENTS = (
    Measurement(
        "stalled",
        (STALLED_FRONTEND, STALLED_KERNEL),
        f"three endless streams, each read for {SHORT_READING:g} s, then not read for {SHORT_STILL:g} s; the "
        "maximum growth of PSS. [MEMORY.md](MEMORY.md) has each stream, over a longer time",
        stalled,
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the memory of a stream whose reader stops.")
    parser.add_argument("--reading", type=float, default=5.0, help="seconds of reading, before and after")
    parser.add_argument("--still", type=float, default=60.0, help="seconds without reading")
    options = parser.parse_args()
    try:
        results = all_cases(options.reading, options.still)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    text = document(results, options.still)
    DOCUMENT.write_text(text)
    plot(results)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
