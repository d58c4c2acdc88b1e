"""Idle sessions: their cost, and a check that they still answer."""

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
"""Bytes of memory that must be free for each session, so that the machine does not run out of memory."""
STOCK = "stock kernel"


def one(effort: Effort) -> Iterator[object]:
    """Measure one of a few sessions that have each answered one call."""
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
    """Measure hundreds of sessions at once."""
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
    _answered(count, load.run("every", *requests, clients=CLIENTS, expected="Hello, owt!"))
    creation = time.perf_counter() - started
    sessions = servers.quiet(port)["sessions"]
    if len(sessions) != count:
        raise RuntimeError(f"there are {len(sessions)} sessions instead of {count}")
    kernels = [session["pid"] for session in sessions]

    before = time.perf_counter(), cpu_seconds([frontend]), cpu_seconds(kernels)
    time.sleep(WATCHED)
    seconds, own, of_kernels = (
        after - then
        for after, then in zip(
            (time.perf_counter(), cpu_seconds([frontend]), cpu_seconds(kernels)), before, strict=True
        )
    )
    kernel_memory = [pss(pid) for pid in kernels]
    total = sum(kernel_memory) + sum(pss(pid) for pid in set(family(frontend)) - set(kernels))
    yield Row(IDLE_MEMORY, "MB", [total / MB])
    yield Row(IDLE_EACH, "MB", [statistics.median(kernel_memory) / MB])
    yield Row(IDLE_CPU, "% of a core", [own / seconds * 100], goal=GOALS[IDLE_CPU])
    yield Row(IDLE_KERNELS_CPU, "% of a core", [of_kernels / seconds * 100])

    again = load.run("every", *requests, clients=1, expected="Hello, owt!")
    yield Row(IDLE_ANSWERING, "sessions", [len(again["times"])], goal=GOALS[IDLE_ANSWERING])
    yield Row(IDLE_P50, "ms", [statistics.median(again["times"]) * 1000])
    yield Row(IDLE_SLOWEST, "ms", [max(again["times"]) * 1000])
    yield Row(MAKING, "ms", [creation / count * 1000])


def _answered(count: int, result: dict) -> Sequence[float]:
    """Return the times of the calls. Raises RuntimeError if one of them failed."""
    if len(result["times"]) != count:
        raise RuntimeError(f"{count - len(result['times'])} of {count} calls failed: {result['problem']}")
    return result["times"]


MEASUREMENTS = (
    Measurement(
        "one-idle",
        (ONE_IDLE,),
        f"one of {FEW} sessions that have answered the echo call. Memory is the proportional set size: a "
        "page that n processes share counts as an n-th for each",
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
        f"{CLIENTS} clients create {MANY} sessions; after {WATCHED:g} s without calls, each session is "
        "called once more, one after another",
        many,
    ),
)
