"""Streamed answers: time to the first output, and throughput."""

import statistics
from collections.abc import Callable, Iterator

import load
import servers
from calls import FLOOR, fields
from connection import Request, once
from floor import SILENCE
from goals import CHUNKS_1K, CHUNKS_1M, CHUNKS_64K, FIRST_PRINT, FIRST_YIELD, GOALS
from measuring import KIB, MIB, Effort, Measurement, Row, in_turns
from stock import stock_kernel

STOCK_PRINT = "first print, beside a stock kernel's"
EVENTS = "events of a stream (SSE)"
BUSY = "first yield while another session computes, p50"

PRINT = f"import time\ndef run():\n    print('first')\n    time.sleep({SILENCE})\n"
YIELD = f"import time\ndef run():\n    yield 'first'\n    time.sleep({SILENCE})\n"
CHUNKS = "def run(count, size):\n    chunk = bytes(size)\n    for _ in range(count): yield chunk\n"
NUMBERS = "def run(count):\n    for number in range(count): yield number\n"
COMPUTE = "def run():\n    number = 0\n    while True: number += 1\n"
# ipykernel sends printed output every 0.2 s, or at the end of the cell.
STOCK_SILENCE = 0.4

FIRSTS = 40
EVENT_COUNT = 30_000
# Bare Tornado awaits one of this many flushes; the faster variant counts.
BATCHES = (1, 32)
STREAMS = {CHUNKS_1K: (KIB, 30_000), CHUNKS_64K: (64 * KIB, 4_000), CHUNKS_1M: (MIB, 256)}


def _p50(request: Request) -> Callable[[], float]:
    return lambda: load.run("first", request, needle="data: first", count=FIRSTS)["p50"] * 1000


def first(effort: Effort) -> Iterator[object]:
    """Measure the first output of a call, as an event."""
    with servers.floor() as floor, servers.owt() as owt, stock_kernel() as kernel:
        bare = _p50(Request(floor, "/event"))
        calls = (Request(owt, "/", fields(code) | {"stream": "sse"}) for code in (PRINT, YIELD))
        printed, yielded = map(_p50, calls)
        stocks = PRINT.replace(str(SILENCE), str(STOCK_SILENCE)) + "run()"

        def stock() -> float:
            return statistics.median(kernel.first_print(stocks) for _ in range(2)) * 1000

        sides = (printed, yielded, bare, stock)
        prints, yields, floors, stock_prints = in_turns(effort.rounds, *sides)
    yield Row(FIRST_PRINT, "ms", prints, floors, f"{FLOOR}'s first event", GOALS[FIRST_PRINT])
    yield Row(FIRST_YIELD, "ms", yields, floors, f"{FLOOR}'s first event", GOALS[FIRST_YIELD])
    yield Row(STOCK_PRINT, "ms", prints, stock_prints, "stock kernel")


def chunks(effort: Effort) -> Iterator[object]:
    """Measure the throughput of a generator's chunks to a fast client."""
    with servers.floor() as floor, servers.owt() as owt:
        for what, (size, count) in STREAMS.items():
            own = Request(owt, "/", fields(CHUNKS, count=count, size=size))
            bare = [Request(floor, f"/chunks?count={count}&size={size}&batch={batch}") for batch in BATCHES]
            unit, scale = ("chunks/s", count) if size == KIB else ("MB/s", size * count / 1e6)

            def rate(request: Request, scale: float = scale, size: int = size * count) -> float:
                return scale / load.run("stream", request, size=size)["seconds"]

            figures = in_turns(
                effort.rounds,
                lambda own=own, rate=rate: rate(own),
                lambda bare=bare, rate=rate: max(rate(request) for request in bare),
            )
            yield Row(what, unit, *figures, FLOOR, GOALS[what])


def events(effort: Effort) -> Iterator[object]:
    """Measure small yielded values, each of which becomes an event with an id."""
    with servers.floor() as floor, servers.owt() as owt:
        own = Request(owt, "/", fields(NUMBERS, count=EVENT_COUNT) | {"stream": "sse"})
        bare = [Request(floor, f"/events?count={EVENT_COUNT}&batch={batch}") for batch in BATCHES]

        def rate(request: Request) -> float:
            return EVENT_COUNT / load.run("stream", request, size=EVENT_COUNT * 10)["seconds"]

        figures = in_turns(effort.rounds, lambda: rate(own), lambda: max(rate(request) for request in bare))
        yield Row(EVENTS, "events/s", *figures, FLOOR)


def beside_a_busy_session(effort: Effort) -> Iterator[object]:
    """Measure the first output of a call while another session's kernel uses a whole core."""
    with servers.floor() as floor, servers.owt() as owt:
        yielded = Request(owt, "/", fields(YIELD) | {"stream": "sse"})
        once(yielded)
        servers.quiet(owt)
        once(Request(owt, "/", fields(COMPUTE, "busy") | {"detach": True}))
        figures = in_turns(effort.rounds, _p50(yielded), _p50(Request(floor, "/event")))
        [busy] = [entry for entry in servers.listed(owt)["sessions"] if entry["name"] == "busy"]
        if busy["state"] != "busy":
            raise RuntimeError(f"the session that should compute all the time is {busy['state']}")
        once(Request(owt, "/_owt/sessions/busy", method="DELETE"))
    yield Row(BUSY, "ms", *figures, f"{FLOOR}'s first event, beside the same")


MEASUREMENTS = (
    Measurement(
        "first",
        (FIRST_PRINT, FIRST_YIELD, STOCK_PRINT),
        f"a call with events prints or yields, then runs for another {SILENCE * 1000:g} ms; the stock "
        f"kernel's runs for another {STOCK_SILENCE * 1000:g} ms, and its output is read from IOPub",
        first,
    ),
    Measurement(
        "chunks",
        tuple(STREAMS),
        "one answer of 30 to 268 MB; the floor flushes each chunk inside its handler and awaits every flush "
        "or every 32nd, whichever is faster",
        chunks,
    ),
    Measurement(
        "events",
        (EVENTS,),
        f"{EVENT_COUNT:,} yielded numbers; the floor writes and flushes as many events",
        events,
    ),
    Measurement(
        "busy",
        (BUSY,),
        "the first yield as above, while another session's kernel runs an endless loop",
        beside_a_busy_session,
    ),
)
