"""Sessions that do nothing: what they cost, and whether they are still there."""

import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import load
import psutil
import servers
from calls import echo
from goals import GOALS, IDLE_ANSWERING, IDLE_CPU, MANY, ONE_IDLE
from measuring import Effort, Measurement, Row, in_turns
from processes import cpu_seconds, family, pss
from stock import stock_kernel

IDLE_MEMORY = "idle sessions: memory of all and the server (PSS)"
IDLE_EACH = "idle sessions: memory of one among them"
IDLE_KERNELS_CPU = "idle sessions: the kernels' CPU time, together"
IDLE_P50 = "idle sessions: answer of one, p50"
IDLE_SLOWEST = "idle sessions: the slowest answer"
MAKING = "idle sessions: making one"

FEW = 20
CLIENTS = 4
WATCHED = 10.0
MB = 1e6
ROOM_FOR_EACH = int(32 * MB)
"""Bytes of memory that must be free for each session; to run out of it would harm more than this."""
STOCK = "stock kernel"


def one(effort: Effort) -> Iterator[object]:
    """One of a few sessions, each of which has answered one call."""
    with servers.owt() as port:
        for number in range(FEW):
            echo(port, f"few{number}")

        def own() -> float:
            return statistics.median(pss(session["pid"]) for session in servers.quiet(port)["sessions"]) / MB

        def stock() -> float:
            with stock_kernel() as kernel:
                kernel.execute('print("Hello, owt!")')
                return pss(kernel.pid) / MB

        figures = in_turns(effort.at_most(3), own, stock, warm=False)
    yield Row(ONE_IDLE, "MB", *figures, STOCK, GOALS[ONE_IDLE])


def many(effort: Effort) -> Iterator[object]:
    """Hundreds of sessions at once."""
    needed, free = effort.sessions * ROOM_FOR_EACH, psutil.virtual_memory().available
    if free < needed:
        raise RuntimeError(
            f"{effort.sessions} sessions may need {needed / 1e9:.0f} GB; {free / 1e9:.1f} GB are free"
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with servers.owt_process("--max-sessions", str(effort.sessions)) as (port, frontend):
            yield from _many(effort.sessions, port, frontend)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _many(count: int, port: int, frontend: int) -> Iterator[object]:
    call = echo(port, "s0")
    requests = [replace(call, fields={**(call.fields or {}), "session": f"s{n}"}) for n in range(count)]
    started = time.perf_counter()
    _answered(count, load.run("each", *requests, clients=CLIENTS, expected="Hello, owt!"))
    made = time.perf_counter() - started
    sessions = servers.quiet(port)["sessions"]
    if len(sessions) != count:
        raise RuntimeError(f"there are {len(sessions)} sessions instead of {count}")
    kernels = [session["pid"] for session in sessions]

    before = time.perf_counter(), cpu_seconds([frontend]), cpu_seconds(kernels)
    time.sleep(WATCHED)
    seconds, own, theirs = (
        after - then
        for after, then in zip(
            (time.perf_counter(), cpu_seconds([frontend]), cpu_seconds(kernels)), before, strict=True
        )
    )
    of_kernels = [pss(pid) for pid in kernels]
    total = sum(of_kernels) + sum(pss(pid) for pid in set(family(frontend)) - set(kernels))
    yield Row(IDLE_MEMORY, "MB", [total / MB])
    yield Row(IDLE_EACH, "MB", [statistics.median(of_kernels) / MB])
    yield Row(IDLE_CPU, "% of a core", [own / seconds * 100], goal=GOALS[IDLE_CPU])
    yield Row(IDLE_KERNELS_CPU, "% of a core", [theirs / seconds * 100])

    again = load.run("each", *requests, clients=1, expected="Hello, owt!")
    yield Row(IDLE_ANSWERING, "sessions", [len(again["times"])], goal=GOALS[IDLE_ANSWERING])
    yield Row(IDLE_P50, "ms", [statistics.median(again["times"]) * 1000])
    yield Row(IDLE_SLOWEST, "ms", [max(again["times"]) * 1000])
    yield Row(MAKING, "ms", [made / count * 1000])


def _answered(count: int, found: dict) -> Sequence[float]:
    """The times of calls all of which were answered. Raises RuntimeError."""
    if len(found["times"]) != count:
        raise RuntimeError(f"{count - len(found['times'])} of {count} calls failed: {found['problem']}")
    return found["times"]


MEASUREMENTS = (
    Measurement(
        "one-idle",
        (ONE_IDLE,),
        f"one of {FEW} sessions that have answered the echo call. Memory is the proportional set size: what "
        "processes share counts for each by its part",
        one,
    ),
    Measurement(
        "idle",
        (
            IDLE_ANSWERING,
            IDLE_CPU,
            IDLE_KERNELS_CPU,
            IDLE_MEMORY,
            IDLE_EACH,
            IDLE_P50,
            IDLE_SLOWEST,
            MAKING,
        ),
        f"{MANY} sessions are made by {CLIENTS} clients, watched for {WATCHED:g} s while nobody calls, and "
        "then each is called once more, one after another",
        many,
    ),
)
