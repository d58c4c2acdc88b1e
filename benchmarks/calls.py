"""Short calls: owt, the floor, and other servers with the same task."""

import base64
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import load
import peers
import servers
from connection import Request, once
from goals import BARE as FLOOR
from goals import CPU_BY_LIVE_RUNS, CPU_FRONTEND, CPU_FRONTEND_64, CPU_KERNEL, GOALS, KWARGS, WARM, WARM_8
from measuring import MIB, Effort, Measurement, Row, Table, in_turns, number, short
from processes import cpu_seconds
from stock import stock_kernel

STOCK = "stock jupyter_client execute, no HTTP"
LENGTH = "def run(text): return str(len(text))"
CLIENTS = (1, 8, 64)
SESSIONS = (1, 4, 16)
LIVE_RUNS = (1, 8, 64, 1000)
CPU_TURNS = 3
"""Turns of a second, in place of one round, in which CPU times are compared. The other work of the machine
changes within seconds, and with it the processor's caches and the time that a call takes."""


def fields(code: str, session: str = "bench", **kwargs: object) -> dict:
    """Return a call's fields, in base64 as programs send them."""
    return {
        "session": session,
        "code_b64": base64.b64encode(code.encode()).decode(),
        "kwargs_b64": base64.b64encode(json.dumps(kwargs).encode()).decode(),
    }


def echo(port: int, session: str = "bench") -> Request:
    """Return the call that is compared. Raises ValueError if owt's answer is wrong."""
    request = Request(port, "/", fields(peers.ECHO, session, name="owt"))
    if (body := once(request).body) != b"Hello, owt!":
        raise ValueError(f"the echo adaptor answered {body[:200]!r}")
    return request


@dataclass
class Side:
    """One server of the comparison, with its figures: p50 in ms, and calls a second."""

    name: str
    measure: Callable[[int], dict] | None = None
    p50: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    rate_8: list[float] = field(default_factory=list)
    problem: str = ""
    most_clients: int = 8

    def turn(self, clients: int) -> None:
        """Measure once, unless there was a problem or this side cannot serve so many clients."""
        if self.measure is None or self.problem or clients > self.most_clients:
            return
        try:
            figures = self.measure(clients)
        except (OSError, RuntimeError, ValueError) as error:
            self.problem = str(error)
            return
        if clients == 1:
            self.p50.append(figures["p50"] * 1000)
            self.rate.append(figures["rate"])
        else:
            self.rate_8.append(figures["rate"])

    def cells(self, own: "Side") -> list[str]:
        """Return the line of the table, with owt's ratios."""
        if self.problem:
            return [self.name, short(self.problem), "", "", "", ""]
        cells = [self.name, f"{number(statistics.median(self.p50))} ms", number(statistics.median(self.rate))]
        cells.append(number(statistics.median(self.rate_8)) if self.rate_8 else "-")
        if self is own:
            return [*cells, "", ""]
        ratios = median_ratio(own.p50, self.p50), median_ratio(own.rate_8, self.rate_8)
        return [*cells, *(_times(ratio) for ratio in ratios)]


@dataclass(frozen=True)
class Comparison(Table):
    """Table of owt, the floor and the peers, with its figures for the plot."""

    sides: tuple[Side, ...] = ()

    def times(self, name: str) -> float | None:
        """Return owt's calls a second with 8 clients, divided by those of the side with this name."""
        [own] = [side for side in self.sides if side.name == "owt"]
        [other] = [side for side in self.sides if side.name == name]
        return None if other.problem else median_ratio(own.rate_8, other.rate_8)


def median_ratio(own: list[float], other: list[float]) -> float | None:
    """Return the median of the rounds' ratios, if the other side was measured."""
    return statistics.median(mine / its for mine, its in zip(own, other, strict=True)) if other else None


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def compare(effort: Effort) -> Iterator[object]:
    """Measure warm calls of all sides, by one client and by eight."""
    problems = peers.install()
    with ExitStack() as stack:
        floor = Request(stack.enter_context(servers.floor()))
        own = echo(stack.enter_context(servers.owt()))
        sides = [Side(FLOOR, _by_load(floor, effort.seconds)), Side("owt", _by_load(own, effort.seconds))]
        for peer in peers.PEERS:
            side = Side(peer.name, problem=problems.get(peer.name, ""))
            sides.append(side)
            if not side.problem:
                try:
                    side.measure = _by_load(stack.enter_context(peers.running(peer)), 1)
                except (OSError, RuntimeError) as error:
                    side.problem = str(error)
        kernel = stack.enter_context(stock_kernel())
        sides.append(Side(STOCK, lambda _: _executes(kernel.execute, effort.seconds / 2), most_clients=1))
        for _ in range(effort.rounds):
            for clients in (1, 8):
                for side in sides:
                    side.turn(clients)
        echo(own.port)
    bare, owt = sides[:2]
    if problem := bare.problem or owt.problem:
        raise RuntimeError(problem)
    yield Row(WARM, "ms", owt.p50, bare.p50, FLOOR, GOALS[WARM])
    yield Row(WARM_8, "calls/s", owt.rate_8, bare.rate_8, FLOOR, GOALS[WARM_8])
    heading = ["server", "p50, 1 client", "calls/s, 1 client", "calls/s, 8 clients"]
    heading += ["owt's p50 / its", "owt's calls/s / its, 8 clients"]
    lines = [side.cells(owt) for side in sides]
    yield Comparison("The same call elsewhere", heading, lines, tuple(sides))


def _by_load(request: Request, seconds: float) -> Callable[[int], dict]:
    return lambda clients: load.run("calls", request, clients=clients, seconds=seconds)


def _executes(execute: Callable[[str], float], seconds: float) -> dict:
    times: list[float] = []
    while sum(times) < seconds:
        times.append(execute('print("Hello, owt!")'))
    return {"p50": statistics.median(times), "rate": len(times) / sum(times)}


def latency(effort: Effort) -> Iterator[object]:
    """Measure many clients on many sessions."""
    with servers.floor() as floor, servers.owt() as owt:
        sessions = [echo(owt, f"s{number}") for number in range(max(SESSIONS))]
        servers.quiet(owt)
        rounds = effort.at_most(3)
        heading = ["clients", *(f"{_plural(count)}: p50, calls/s" for count in SESSIONS), f"{FLOOR}"]
        lines = []
        for clients in CLIENTS:
            sides = [sessions[:count] for count in SESSIONS] + [[Request(floor)]]

            def side(requests: list[Request], clients: int = clients) -> Callable[[], dict]:
                return lambda: load.run("calls", *requests, clients=clients, seconds=1)

            columns = in_turns(rounds, *(side(requests) for requests in sides), warm=False)
            lines.append([str(clients), *(_p50_and_rate(figures) for figures in columns)])
        yield Table("Clients and sessions", heading, lines)


def _plural(sessions: int) -> str:
    return "1 session" if sessions == 1 else f"{sessions} sessions"


def _p50_and_rate(figures: list[dict]) -> str:
    p50 = statistics.median(figure["p50"] for figure in figures) * 1000
    return f"{number(p50)} ms, {number(statistics.median(figure['rate'] for figure in figures))}"


def cpu(effort: Effort) -> Iterator[object]:
    """Measure the CPU time that a warm call costs each process. It depends on free cores less than times
    do."""
    with ExitStack() as stack:
        floor_port, floor_pid = stack.enter_context(servers.floor_process())
        port, frontend = stack.enter_context(servers.owt_process())
        floor, own = Request(floor_port), echo(port)
        [session] = servers.quiet(port)["sessions"]
        kernel: int = session["pid"]

        def cost(request: Request, clients: int, *pids: int) -> Callable[[], list[float]]:
            return lambda: _cpu_of_a_call(request, clients, pids)

        bare, eight, many = in_turns(
            CPU_TURNS * effort.rounds,
            cost(floor, 8, floor_pid),
            cost(own, 8, frontend, kernel),
            cost(own, 64, frontend),
        )
        of_bare, of_frontend = [figures[0] for figures in bare], [figures[0] for figures in eight]
        yield Row(CPU_FRONTEND, "µs", of_frontend, of_bare, FLOOR, GOALS[CPU_FRONTEND])
        of_kernel = [figures[1] for figures in eight]
        yield Row(CPU_KERNEL, "µs", of_kernel, of_bare, FLOOR, GOALS[CPU_KERNEL])
        of_many = [figures[0] for figures in many]
        yield Row(CPU_FRONTEND_64, "µs", of_many, of_frontend, "8 clients", GOALS[CPU_FRONTEND_64])


def _cpu_of_a_call(request: Request, clients: int, pids: Sequence[int]) -> list[float]:
    """Return the microseconds of CPU time that each of these processes uses for one call."""
    before = [cpu_seconds([pid]) for pid in pids]
    figures = load.run("calls", request, clients=clients, seconds=1)
    after = [cpu_seconds([pid]) for pid in pids]
    return [(end - start) / figures["count"] * 1e6 for start, end in zip(before, after, strict=True)]


def mebibyte(effort: Effort) -> Iterator[object]:
    """Measure a call with a large argument, and a handler that reads the same body without parsing it."""
    with servers.floor() as floor, servers.owt() as owt:
        own = Request(owt, "/", fields(LENGTH, text="x" * MIB))
        if (body := once(own).body) != str(MIB).encode():
            raise ValueError(f"a call with 1 MiB was answered with {body[:200]!r}")
        bare = Request(floor, "/", own.fields)

        def p50(request: Request) -> Callable[[], float]:
            return lambda: load.run("whole", request, count=20)["p50"] * 1000

        figures = in_turns(effort.rounds, p50(own), p50(bare))
    yield Row(KWARGS, "ms", *figures, f"{FLOOR}, the same body", GOALS[KWARGS])


def by_live_runs(effort: Effort) -> Iterator[object]:
    """Measure the frontend's CPU time of a warm call while other calls of another session run."""
    held = max(LIVE_RUNS)
    options = ("--max-runs", str(2 * held), "--queue", str(2 * held))
    with ExitStack() as stack:
        sides = []
        for live in LIVE_RUNS:
            port, frontend = stack.enter_context(servers.owt_process(*options))
            servers.create_session(port, "held", concurrency=held)
            sleep = {**fields("import asyncio\nawait asyncio.sleep(10**6)", "held"), "detach": True}
            for _ in range(live - 1):
                once(Request(port, "/", sleep))
            sides.append(partial(_cpu_of_a_call, echo(port), 8, [frontend]))
        rounds = in_turns(CPU_TURNS * effort.rounds, *sides)
    first, *others = ([figure for [figure] in figures] for figures in rounds)
    yield Row(_live_runs_row(LIVE_RUNS[0]), "µs", first)
    for live, figures in zip(LIVE_RUNS[1:], others, strict=True):
        row = _live_runs_row(live)
        yield Row(row, "µs", figures, first, "1 live run", GOALS.get(row))


def _live_runs_row(live: int) -> str:
    return CPU_BY_LIVE_RUNS.replace("1,000 live runs", "1 live run" if live == 1 else f"{live:,} live runs")


MEASUREMENTS = (
    Measurement(
        "calls",
        (WARM, WARM_8),
        "the echo adaptor `def run(name): …`, code and kwargs in base64 in a JSON POST; the floor is a "
        'handler that writes "hi" (`benchmarks/floor.py`)',
        compare,
    ),
    Measurement(
        "cpu",
        (CPU_FRONTEND, CPU_KERNEL, CPU_FRONTEND_64),
        "the echo adaptor; user and system time of each process (proc(5)), divided by the number of calls, "
        "in turns of a second",
        cpu,
    ),
    Measurement(
        "latency",
        (),
        "the same call by 1, 8 and 64 clients, spread over 1, 4 and 16 sessions",
        latency,
    ),
    Measurement(
        "live runs",
        tuple(map(_live_runs_row, LIVE_RUNS)),
        "the echo adaptor by 8 clients, while detached `async` calls of another session sleep; live runs are "
        "these and the one that is measured; in turns of a second",
        by_live_runs,
    ),
    Measurement(
        "kwargs",
        (KWARGS,),
        "a string of 1 MiB in JSON in base64, whose length the adaptor returns; the floor reads the body",
        mebibyte,
    ),
)
