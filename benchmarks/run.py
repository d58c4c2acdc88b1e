"""Measure owt against bare Tornado on this machine, and write RESULTS.md beside this file.

    python benchmarks/run.py [--rounds 5] [--seconds 2]

Both servers run all the time and are measured in turns, so that whatever else the machine does
meets both. Exit status 1 only when something did not work, not when a goal is missed.
"""

import argparse
import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path

import load
import servers
from floor import CHUNK, SILENCE
from load import Request
from report import Goal, Row, document, number
from stock import execute_round_trip

RESULTS = Path(__file__).with_name("RESULTS.md")

ECHO = 'def run(name): return f"Hello, {name}!"'
PRINT = f"import time\ndef run():\n    print('first')\n    time.sleep({SILENCE})\n"
YIELD = f"import time\ndef run():\n    yield 'first'\n    time.sleep({SILENCE})\n"
CHUNKS = f"def run(count):\n    for _ in range(count): yield b'x' * {len(CHUNK) - 1} + b'\\n'\n"

STREAMED = 30_000
FIRSTS = 40
# Of how many flushes bare Tornado awaits one; the fastest counts.
BATCHES = (1, 32)

Measure = Callable[[], float]


def fields(code: str, **kwargs: object) -> dict:
    """A call's fields, in base64 as programs send them, all to one session."""
    arguments = json.dumps(kwargs).encode()
    return {
        "session": "bench",
        "code_b64": base64.b64encode(code.encode()).decode(),
        "kwargs_b64": base64.b64encode(arguments).decode(),
    }


def in_turns(rounds: int, own: Measure, floor: Measure) -> tuple[list[float], list[float]]:
    """Figures of both, measured one after the other in each round; one turn of each does not count."""
    own(), floor()
    pairs = [(own(), floor()) for _ in range(rounds)]
    return [mine for mine, _ in pairs], [bare for _, bare in pairs]


def warm_call(owt: int, floor: int, rounds: int, seconds: float) -> Row:
    own, bare = Request(owt, "/", fields(ECHO, name="owt")), Request(floor)

    def p50(request: Request) -> float:
        return load.run("calls", request, clients=1, seconds=seconds)["p50"] * 1000

    figures = in_turns(rounds, lambda: p50(own), lambda: p50(bare))
    return Row("warm call, 1 client, p50", "ms", *figures, Goal(4, at_most=True))


def warm_calls(owt: int, floor: int, rounds: int, seconds: float) -> Row:
    own, bare = Request(owt, "/", fields(ECHO, name="owt")), Request(floor)

    def rate(request: Request) -> float:
        return load.run("calls", request, clients=8, seconds=seconds)["rate"]

    figures = in_turns(rounds, lambda: rate(own), lambda: rate(bare))
    return Row("warm calls, 8 clients on one session", "calls/s", *figures, Goal(0.5, at_most=False))


def first_output(what: str, code: str, owt: int, floor: int, rounds: int) -> Row:
    own, bare = Request(owt, "/", {**fields(code), "stream": "sse"}), Request(floor, "/event")

    def p50(request: Request) -> float:
        return load.run("first", request, needle="data: first", count=FIRSTS)["p50"] * 1000

    figures = in_turns(rounds, lambda: p50(own), lambda: p50(bare))
    return Row(f"first {what} to reach a client, p50", "ms", *figures, Goal(2, at_most=True, absolute=True))


def chunks(owt: int, floor: int, rounds: int) -> Row:
    own = Request(owt, "/", fields(CHUNKS, count=STREAMED))
    bare = [Request(floor, f"/chunks?count={STREAMED}&batch={batch}") for batch in BATCHES]

    def rate(request: Request) -> float:
        return STREAMED / load.run("stream", request, size=STREAMED * len(CHUNK))["seconds"]

    figures = in_turns(rounds, lambda: rate(own), lambda: max(rate(request) for request in bare))
    return Row("1 KiB chunks from a generator", "chunks/s", *figures, Goal(0.4, at_most=False))


def check_echo(port: int) -> None:
    """Measuring wrong answers would be easy; raises ValueError for one."""
    _, _, answer = load.Connection(port).ask(Request(port, "/", fields(ECHO, name="owt")))
    if not answer.endswith(b"Hello, owt!"):
        raise ValueError(f"the echo adaptor answered {answer[-300:]!r}")


def measure(rounds: int, seconds: float) -> str:
    """Run everything; the text of RESULTS.md."""
    with servers.floor() as floor, servers.owt() as owt:
        check_echo(owt)
        rows = []
        for row in (
            lambda: warm_call(owt, floor, rounds, seconds),
            lambda: warm_calls(owt, floor, rounds, seconds),
            lambda: first_output("print", PRINT, owt, floor, rounds),
            lambda: first_output("yield", YIELD, owt, floor, rounds),
            lambda: chunks(owt, floor, rounds),
        ):
            rows.append(row())
            print(" | ".join(rows[-1].cells()), flush=True)
        check_echo(owt)
    stock = execute_round_trip(200) * 1000
    generator = "wrk, one thread" if load.WRK else "Python (asyncio), since wrk is not installed"
    return document(
        rows,
        [
            "The floor is a bare Tornado handler in a process of its own (`benchmarks/floor.py`).",
            f"Calls were made by {generator}; everything else by blocking sockets in a process of its own.",
            "",
            "For reference: an `execute` round trip of stock jupyter_client, without HTTP, "
            f"takes {number(stock)} ms.",
        ],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure owt against bare Tornado.")
    parser.add_argument("--rounds", type=int, default=5, help="times that each pair is measured")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each measurement of calls")
    options = parser.parse_args()
    try:
        text = measure(options.rounds, options.seconds)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    RESULTS.write_text(text)
    print(f"\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
