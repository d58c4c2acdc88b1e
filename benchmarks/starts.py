"""Time to the first answer of a new session, and of the server itself."""

import time
from collections.abc import Callable, Iterator

import load
import peers
import servers
from calls import FLOOR, echo, fields
from connection import Request, once
from goals import BY_FORK, BY_FORK_HEAVY, FROM_POOL, FROM_POOL_HEAVY, GOALS
from measuring import Effort, Measurement, Row, in_turns
from stock import first_answer

COLD = "cold start: from the process to the first answer"
HEAVY = "numpy,pandas"
HEAVY_CODE = "import numpy, pandas\ndef run(name): return f'Hello, {name}!'"
STOCK = "stock kernel start"
COUNT = 8


def new_sessions(effort: Effort) -> Iterator[object]:
    """Measure the first answer of a new session, with a warm pool and with an empty one."""
    plain, heavy = fields(peers.ECHO, name="owt"), fields(HEAVY_CODE, name="owt")
    yield from _new_sessions(effort, plain, 'print("Hello, owt!")', (FROM_POOL, BY_FORK), STOCK)
    code = f"import {HEAVY}\nprint('Hello, owt!')"
    rows = (FROM_POOL_HEAVY, BY_FORK_HEAVY)
    yield from _new_sessions(effort, heavy, code, rows, f"{STOCK} and import", "--preload", HEAVY)


def _new_sessions(
    effort: Effort, call: dict, stock_code: str, rows: tuple[str, str], against: str, *options: str
) -> Iterator[Row]:
    with servers.owt("--pool-min", "1", *options) as warm, servers.owt("--pool-min", "0", *options) as empty:

        def p50(port: int, spares: int) -> Callable[[], float]:
            request = Request(port, "/", call)
            return lambda: load.run("new_sessions", request, count=COUNT, spares=spares)["p50"] * 1000

        def stock() -> float:
            return first_answer(stock_code) * 1000

        figures = in_turns(effort.rounds, p50(warm, 1), p50(empty, 0), stock)
    from_pool, by_fork, stocks = figures
    for what, own in zip(rows, (from_pool, by_fork), strict=True):
        yield Row(what, "ms", own, stocks, against, GOALS[what])


def cold(effort: Effort) -> Iterator[object]:
    """Measure the time from the start of a server to its first answer."""

    def owt() -> float:
        started = time.perf_counter()
        with servers.owt() as port:
            echo(port)
            return (time.perf_counter() - started) * 1000

    def floor() -> float:
        started = time.perf_counter()
        with servers.floor() as port:
            once(Request(port))
            return (time.perf_counter() - started) * 1000

    own, bare = in_turns(effort.rounds, owt, floor)
    yield Row(COLD, "ms", own, bare, FLOOR)


MEASUREMENTS = (
    Measurement(
        "sessions",
        (FROM_POOL, BY_FORK, FROM_POOL_HEAVY, BY_FORK_HEAVY),
        f"the echo adaptor in a session that the call creates and that is then deleted; and an adaptor that "
        f"imports `{HEAVY}`, which `--preload` has already imported. jupyter_client starts the stock kernel "
        "for one `execute`, with the same imports",
        new_sessions,
    ),
    Measurement(
        "cold",
        (COLD,),
        "`owt serve` is started, and the echo adaptor is called as soon as the server prints its address",
        cold,
    ),
)
