"""Sessions that outlive their server (`--keep`): the gap between two servers, and the price of keeping."""

import json
import os
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import load
import psutil
import servers
from calls import CPU_TURNS, echo, fields
from connection import Request, once
from goals import GAP, GOALS, KEEP_CHUNKS, KEEP_HOST, KEEP_IDLE, KEEP_WARM, RELOAD, WITHOUT_KEEP
from measuring import KIB, Effort, Measurement, Row, in_turns
from processes import family, pss
from streams import CHUNKS

SESSIONS = 20
CHUNK_COUNT = 20_000
MB = 1e6
COLD = "a cold start"


@contextmanager
def _options() -> Iterator[tuple[str, ...]]:
    """Yield the options of a server with a runtime directory of its own, whose path is short."""
    with tempfile.TemporaryDirectory() as folder:
        yield "--keep", "5m", "--runtime-dir", f"{folder}/r"


def gap(effort: Effort) -> Iterator[object]:
    """Measure the time from the start of a server to the first answer of a session of a killed one."""
    with _options() as options, ThreadPoolExecutor(1) as threads:
        with servers.owt_process(*options) as (port, frontend):
            requests = [echo(port, f"kept{number}") for number in range(SESSIONS)]
            servers.quiet(port)
            _kill(frontend)
        oldest = requests[0]

        def restart(*, last: bool = False) -> float:
            started = time.perf_counter()
            answered = threads.submit(_answered, oldest)
            with servers.owt_process(*options) as (_, frontend):
                seconds = answered.result() - started
                servers.quiet(port)
                if not last:
                    _kill(frontend)
            return seconds * 1000

        def cold() -> float:
            started = time.perf_counter()
            with servers.owt() as port:
                echo(port)
                return (time.perf_counter() - started) * 1000

        try:
            figures = in_turns(effort.rounds, restart, cold)
        finally:
            # This one ends the sessions.
            restart(last=True)
    yield Row(GAP, "ms", *figures, COLD, GOALS[GAP])


def _answered(request: Request) -> float:
    """Return the time of the answer to a request. Its connection waits for a server."""
    if (body := once(request).body) != b"Hello, owt!":
        raise ValueError(f"the session answered {body[:200]!r}")
    return time.perf_counter()


def _kill(frontend: int) -> None:
    """Kill a server, whose sessions go on, and wait for its end."""
    os.kill(frontend, signal.SIGKILL)
    psutil.Process(frontend).wait(servers.STOP)


def reload(effort: Effort) -> Iterator[object]:
    """Measure the slowest of the calls that are made one after the other while a server restarts itself."""
    with ExitStack() as stack:
        port, frontend = stack.enter_context(servers.owt_process(*stack.enter_context(_options())))
        requests = [echo(port, f"kept{number}") for number in range(SESSIONS)]
        servers.quiet(port)

        def slowest() -> float:
            before, over = _restarts(port), Event()
            with ThreadPoolExecutor(1) as threads:
                calling = threads.submit(_call_until, over, requests[0])
                try:
                    os.kill(frontend, signal.SIGHUP)
                    while _restarts(port) == before and not calling.done():
                        time.sleep(0.1)
                finally:
                    over.set()
                return max(calling.result()) * 1000

        [figures] = in_turns(effort.rounds, slowest)
    yield Row(RELOAD, "ms", figures, goal=GOALS[RELOAD])


def _restarts(port: int) -> int:
    return json.loads(once(Request(port, "/_owt/health")).body)["kept"]["restarts"]


def _call_until(over: Event, request: Request) -> list[float]:
    """Call on new connections until the event is set; return the seconds of each call."""
    times = []
    while not over.is_set():
        started = time.perf_counter()
        times.append(_answered(request) - started)
    return times


def price(effort: Effort) -> Iterator[object]:
    """Measure a server with --keep beside one without."""
    with ExitStack() as stack:
        kept, frontend = stack.enter_context(servers.owt_process(*stack.enter_context(_options())))
        plain = stack.enter_context(servers.owt())

        def p50(port: int) -> float:
            # Shorter turns, for the same reason as those of CPU times.
            return load.run("calls", echo(port), clients=1, seconds=effort.seconds / 2)["p50"] * 1000

        def rate(port: int) -> float:
            request = Request(port, "/", fields(CHUNKS, count=CHUNK_COUNT, size=KIB))
            return CHUNK_COUNT / load.run("stream", request, size=CHUNK_COUNT * KIB)["seconds"]

        rounds = CPU_TURNS * effort.rounds
        warm = in_turns(rounds, lambda: p50(kept), lambda: p50(plain))
        chunks = in_turns(rounds, lambda: rate(kept), lambda: rate(plain))
        yield Row(KEEP_WARM, "ms", *warm, WITHOUT_KEEP, GOALS[KEEP_WARM])
        yield Row(KEEP_CHUNKS, "chunks/s", *chunks, WITHOUT_KEEP, GOALS[KEEP_CHUNKS])
        yield from _memory(effort, kept, frontend)


def _memory(effort: Effort, port: int, frontend: int) -> Iterator[object]:
    for number in range(SESSIONS):
        echo(port, f"idle{number}")
    [host] = [pid for pid in family(frontend) if re.search(rb"owt\.host\.template", _command(pid))]
    sizes: list[Sequence[float]] = []
    for _ in range(effort.at_most(3)):
        sessions = [entry for entry in servers.quiet(port)["sessions"] if entry["name"].startswith("idle")]
        idle = statistics.median(pss(session["pid"]) for session in sessions)
        sizes.append((pss(host) / MB, idle / MB))
    hosts, idles = zip(*sizes, strict=True)
    yield Row(KEEP_HOST, "MB", hosts, goal=GOALS[KEEP_HOST])
    yield Row(KEEP_IDLE, "MB", idles, goal=GOALS[KEEP_IDLE])


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


MEASUREMENTS = (
    Measurement(
        "gap",
        (GAP,),
        f"a server with {SESSIONS} sessions is killed (SIGKILL) and started again, with `--keep`, while a "
        "connection with the echo call to one of the sessions waits",
        gap,
    ),
    Measurement(
        "reload",
        (RELOAD,),
        f"a server with `--keep` and {SESSIONS} sessions gets SIGHUP while the echo call is made again and "
        "again, each time on a new connection",
        reload,
    ),
    Measurement(
        "keep",
        (KEEP_WARM, KEEP_CHUNKS, KEEP_HOST, KEEP_IDLE),
        f"the echo adaptor and {CHUNK_COUNT:,} chunks of 1 KiB, with and without `--keep`, in turns; memory "
        f"of the process that keeps {SESSIONS} sessions, and of one of them",
        price,
    ),
)
