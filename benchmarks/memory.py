"""Measure the memory of a stream whose reader stands still; writes MEMORY.md and memory.svg beside this file.

    python benchmarks/memory.py [--reading 5] [--still 60]

An endless generator yields numbered chunks. A reader on a raw socket reads for a while, stands still,
reads on, and sees that no number is missing. Meanwhile the proportional set size (PSS) of the frontend
and of the kernel is taken twice a second. Each case has a server of its own, and all run at once.
Exit status 1 only when something did not work, not when a goal is missed.
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
"""Bytes by which a process may grow."""

SHORT_READING, SHORT_STILL = 2.0, 6.0
"""Seconds, where this is one part of all that is measured."""

EVERY = 0.5
"""Seconds between two samples."""


@dataclass
class Result:
    """What one case showed. Moments are in seconds since the first sample."""

    case: Case
    processes: list[Process]
    reads: float
    stands: float
    goes_on: float
    ends: float
    chunks: int

    def growth(self, process: Process) -> int:
        """By how many bytes more than before it there was at most while nobody read."""
        return process.most(self.stands, self.goes_on) - process.most(0, self.reads)

    def rows(self) -> list[list[str]]:
        return [
            [
                self.case.name,
                process.name,
                mib(process.most(0, self.reads)),
                mib(process.most(self.reads, self.stands)),
                mib(process.most(self.stands, self.goes_on)),
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
    """One case, with a server of its own."""
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
    """Make the session, wait until no kernel is starting any more, and give its kernel's process id."""
    once(Request(port, "/", {"session": "memory", "code": "1"}))
    # Kernels share their memory, so each that starts makes the others' part smaller.
    return servers.quiet(port)["sessions"][0]["pid"]


def all_cases(reading: float, still: float) -> list[Result]:
    """Every case, at the same time."""
    with ThreadPoolExecutor(len(CASES)) as workers:
        return list(workers.map(lambda case: measure(case, reading, still), CASES))


def stalled(effort: Effort) -> Iterator[object]:
    """What a stream costs whose reader stands still; the greatest growth of all cases."""
    results = all_cases(SHORT_READING, SHORT_STILL)
    for at, what in enumerate((STALLED_FRONTEND, STALLED_KERNEL)):
        most = max(result.growth(result.processes[at]) for result in results)
        yield Row(what, "MiB", [most / MIB], goal=GOALS[what])


def document(results: Sequence[Result], still: float) -> str:
    """The whole of MEMORY.md."""
    heading = ["stream", "process", "before", "most while it was read", "most while it was not", "growth"]
    rows = [row for result in results for row in result.rows()]
    lines = ["# Memory under backpressure", "", *machine("memory.py"), ""]
    lines += [
        f"A generator yields without end, and its reader stands still for {still:g} s. "
        f"Memory is PSS; the goal is the window ({mib(WINDOW)}) and 8 MiB more.",
        "",
    ]
    lines += [*table([*heading, "goal", ""], rows), ""]
    lines += ["Then the reader went on, and no chunk was missing or twice:", ""]
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
            before = process.most(0, result.reads)
            times, sizes = zip(*process.samples, strict=True)
            axes.plot(times, [(size - before) / MIB for size in sizes], label=process.name, linewidth=1.2)
        axes.axhline(GOAL / MIB, color="gray", linestyle="--", linewidth=0.8, label="goal")
        axes.axvspan(result.stands, result.goes_on, color="gray", alpha=0.15, label="not read")
        axes.set_title(result.case.name, fontsize=10)
        axes.set_ylabel("growth of PSS, MiB")
    axes.set_xlabel("seconds")
    axes.legend(fontsize=8)
    return figure


MEASUREMENTS = (
    Measurement(
        "stalled",
        (STALLED_FRONTEND, STALLED_KERNEL),
        f"three endless streams, each read for {SHORT_READING:g} s and then for {SHORT_STILL:g} s not; the "
        "greatest growth of PSS. For longer, and in each of them: [MEMORY.md](MEMORY.md)",
        stalled,
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the memory of a stream whose reader stands still.")
    parser.add_argument("--reading", type=float, default=5.0, help="seconds of reading, before and after")
    parser.add_argument("--still", type=float, default=60.0, help="seconds of standing still")
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
