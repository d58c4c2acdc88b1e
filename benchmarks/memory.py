"""Measure the memory of a stream whose reader stands still; writes MEMORY.md and memory.svg beside this file.

    python benchmarks/memory.py [--reading 5] [--still 60]

An endless generator yields numbered chunks. A reader on a raw socket reads for a while, stands still,
reads on, and sees that no number is missing. Meanwhile the proportional set size (PSS) of the frontend
and of the kernel is taken twice a second. Each case has a server of its own, and all run at once.
Exit status 1 only when something did not work, not when a goal is missed.
"""

import argparse
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import servers
from load import Request
from report import machine, number, table

from owt.wire import sse

DOCUMENT = Path(__file__).with_name("MEMORY.md")
PLOT = Path(__file__).with_name("memory.svg")

KIB, MIB = 1024, 1024 * 1024
WINDOW = 4 * MIB
GOAL = WINDOW + 8 * MIB
"""Bytes by which a process may grow."""

EVERY = 0.5
"""Seconds between two samples."""

BYTES = """
def run(size):
    number = 0
    while True:
        yield b"%012d" % number + bytes(size - 12)
        number += 1
"""
TEXT = """
def run(size):
    number = 0
    while True:
        yield f"{number:012d}".ljust(size, "x")
        number += 1
"""


class Missing(ValueError):
    """A chunk came that is not the next one."""


@dataclass(frozen=True)
class Case:
    """A stream of chunks of `size` bytes, raw or as events."""

    name: str
    size: int
    events: bool = False

    def fields(self) -> dict:
        return {
            "session": "memory",
            "code": TEXT if self.events else BYTES,
            "kwargs": {"size": self.size},
            "stream": "sse" if self.events else "raw",
        }

    def numbers(self) -> Callable[[bytes], list[int]]:
        """A function that is fed the answer's body in pieces and gives the numbers of its chunks."""
        if self.events:
            decoder = sse.Decoder()
            return lambda data: [int(event.data[:12]) for event in decoder.feed(data)]
        kept = bytearray()

        def cut(data: bytes) -> list[int]:
            kept.extend(data)
            whole = len(kept) - len(kept) % self.size
            found = [int(kept[at : at + 12]) for at in range(0, whole, self.size)]
            del kept[:whole]
            return found

        return cut


CASES = (
    Case("1 KiB chunks", KIB),
    Case("1 MiB chunks", MIB),
    Case("1 KiB as events", KIB, events=True),
)


class Reader:
    """A client on a raw socket that reads only when it is told to. Chunked transfer is taken apart here."""

    def __init__(self, case: Case, port: int) -> None:
        self.chunks = 0
        self._numbers = case.numbers()
        self._pending = bytearray()
        self._left = 0
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.sendall(Request(port, "/", case.fields()).encode())
        while b"\r\n\r\n" not in self._pending:
            self._pending += self._receive()
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or b"\r\nTransfer-Encoding: chunked" not in head:
            raise ValueError(f"not an answer in chunks: {head!r}")

    def read(self, seconds: float) -> None:
        """Read for this long. Raises `Missing`, and ConnectionError when the stream ends."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._pending += self._receive()
            for piece in self._pieces():
                for each in self._numbers(piece):
                    if each != self.chunks:
                        raise Missing(f"after {self.chunks} chunks came number {each}")
                    self.chunks += 1

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        data = self._socket.recv(256 * KIB)
        if not data:
            raise ConnectionError(f"the answer ended after {self.chunks} chunks")
        return data

    def _pieces(self) -> Iterator[bytes]:
        """What `_pending` has of the body (RFC 9112, section 7.1)."""
        data, at = bytes(self._pending), 0
        while at < len(data):
            if self._left == 0:
                end = data.find(b"\r\n", at)
                if end < 0:
                    break
                # The line end after a chunk's data counts as a part of it, and is cut off below.
                self._left = int(data[at:end], 16) + 2
                at = end + 2
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            over = max(0, 2 - self._left)
            yield piece[: max(0, len(piece) - over)]
        del self._pending[:at]


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

    def rows(self) -> list[list[str]]:
        rows = []
        for process in self.processes:
            before = process.most(0, self.reads)
            still = process.most(self.stands, self.goes_on)
            growth = still - before
            rows.append(
                [
                    self.case.name,
                    process.name,
                    mib(before),
                    mib(process.most(self.reads, self.stands)),
                    mib(still),
                    mib(growth),
                    f"at most {mib(GOAL)}",
                    "reached" if growth <= GOAL else "not reached",
                ]
            )
        return rows


def pss(pid: int) -> int:
    """The proportional set size of a process, in bytes (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * KIB
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no PSS")


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
    request = Request(port, "/", {"session": "memory", "code": "1"})
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.encode())
        if not connection.recv(4096).startswith(b"HTTP/1.1 200 "):
            raise ValueError("the first call failed")
    deadline = time.monotonic() + 30
    while True:
        with urlopen(f"http://127.0.0.1:{port}/_owt/sessions", timeout=30) as answer:
            listed = json.load(answer)
        # Kernels share their memory, so each that starts makes the others' part smaller.
        if all(each["state"] == "idle" for each in (*listed["sessions"], *listed["pool"])):
            return listed["sessions"][0]["pid"]
        if time.monotonic() > deadline:
            raise RuntimeError(f"kernels are still starting: {listed}")
        time.sleep(0.1)


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
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib.figure import Figure

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
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the memory of a stream whose reader stands still.")
    parser.add_argument("--reading", type=float, default=5.0, help="seconds of reading, before and after")
    parser.add_argument("--still", type=float, default=60.0, help="seconds of standing still")
    options = parser.parse_args()
    try:
        with ThreadPoolExecutor(len(CASES)) as workers:
            results = list(workers.map(lambda case: measure(case, options.reading, options.still), CASES))
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
