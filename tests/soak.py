"""Soak of a live server: many mixed clients, while kernels are killed, stopped, restarted and deleted.

    python tests/soak.py --seconds 180 --clients 200 --seed 1

The load runs in two rounds of equal length. After each, the server must come to rest: no run is left, and the
second round leaves no more processes, descriptors and memory than the first. Every answer must be right, or
be a documented error; a response that was cut off must look cut off. A failure prints the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx
import psutil

from owt.testing import Bystander, LiveServer, wait_until
from owt.wire.sse import Decoder, Event

OPTIONS = [
    *("--pool-max", "3", "--max-sessions", "30", "--queue", "64", "--window", "128KiB"),
    *("--run-journal", "256KiB", "--run-retention", "20s", "--journal-total", "16MiB", "--drain", "1s"),
    *("--kill-after", "1s", "--resume-window", "1s"),
]

SESSIONS = [f"soak-{number}" for number in range(8)]

PATIENCE = 60.0
"""Seconds after which a call without an answer counts as hung."""

MEMORY_GROWTH = 24 << 20
"""Bytes by which the frontend may grow in the second round: buffers that the allocator keeps."""

ERRORS = {
    (404, "no-such-run"),
    (404, "no-such-session"),
    (410, "answer-lost"),
    (410, "events-lost"),
    (499, "cancelled"),
    (499, "interrupted"),
    (502, "kernel-died"),
    (502, "kernel-not-ready"),
    (503, "busy"),
    (504, "timeout"),
}
"""Statuses and types of the problems that the chaos may cause (docs/reference/errors.md)."""

CUT_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, ConnectionError)
"""Exceptions of a client whose response was visibly cut off."""

MAY_BE_CUT_OFF = {"streamed", "large", "leaving", "half-open"}
"""Actions with a response that is sent in parts, which a failure after the first can only cut off."""

BLOCK = "".join(f"{number:07}\n" for number in range(1024))


class Wrong(Exception):
    """An answer that is neither right nor a documented error."""


@dataclass
class Soak:
    """Load on one server, with the counts of outcomes and what was wrong."""

    server: LiveServer
    clients: int
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stopped: set[int] = field(default_factory=set)
    """Kernels that were stopped with SIGSTOP and not continued."""
    numbers: set[tuple[str, int]] = field(default_factory=set)
    """Numbers that the counters in the sessions have returned, with the id of the kernel."""
    ending: bool = False

    async def load(self, seconds: float, round: int) -> None:
        """Run all clients and the chaos for this time."""
        self.ending = False
        # Shorter than --connection-idle: a request that crosses the end of its connection gets no answer.
        limits = httpx.Limits(max_connections=None, keepalive_expiry=1)
        async with (
            httpx.AsyncClient(
                base_url=self.server.url, timeout=PATIENCE, limits=limits, trust_env=False,
                headers={"Accept": "application/problem+json, */*;q=0.5"},
            ) as http,
            asyncio.TaskGroup() as group,
        ):
            for number in range(self.clients):
                group.create_task(self._act(http, random.Random(f"{self.seed} {round} {number}")))
            chaos = random.Random(f"{self.seed} {round} chaos")
            group.create_task(asyncio.to_thread(self._disturb, chaos))
            await asyncio.sleep(seconds)
            self.ending = True
        self.continue_all()

    def continue_all(self) -> None:
        """Continue all kernels that were stopped and still exist."""
        for pid in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.stopped.clear()

    async def _act(self, http: httpx.AsyncClient, choose: random.Random) -> None:
        names = list(ACTIONS)
        weights = [weight for _, weight in ACTIONS.values()]
        while not self.ending:
            [name] = choose.choices(names, weights)
            action, _ = ACTIONS[name]
            try:
                async with asyncio.timeout(PATIENCE):
                    outcome = await action(self, http, choose)
            except CUT_OFF as error:
                outcome = "cut off"
                if name not in MAY_BE_CUT_OFF:
                    url = error.request.url if isinstance(error, httpx.TransportError) else ""
                    self.wrong.append(f"{name}: no end of the answer: {error!r} {url}")
            except Wrong as error:
                self.wrong.append(f"{name}: {error}")
                outcome = "wrong"
            except (TimeoutError, httpx.TimeoutException):
                self.wrong.append(f"{name}: no answer after {PATIENCE:g} s")
                outcome = "hung"
            self.outcomes[f"{name}: {outcome}"] += 1

    def _disturb(self, choose: random.Random) -> None:
        """Kill, stop, restart, interrupt and delete, and ask for the server's health meanwhile."""
        server = self.server
        while not self.ending:
            act = choose.choice(["kill", "stop", "pause", "restart", "interrupt", "delete", "health"])
            session = choose.choice(SESSIONS)
            if act in ("kill", "stop", "pause"):
                pid = choose.choice([0, *self._victims()])
                if pid:
                    self._signal(pid, act, choose.uniform(0, 0.5))
            elif act == "delete":
                server.ask("DELETE", f"/_owt/sessions/{session}")
            elif act == "health":
                for page in ("health/live", "runs", "metrics"):
                    server.ask("GET", f"/_owt/{page}").raise_for_status()
            else:
                server.ask("POST", f"/_owt/sessions/{session}/{act}")
            self.outcomes[f"chaos: {act}"] += 1
            time.sleep(choose.uniform(0.05, 0.3))

    def _victims(self) -> list[int]:
        """Return the process ids of the kernels, except the bystander's."""
        listing = self.server.ask("GET", "/_owt/sessions").json()
        kernels = (*listing["sessions"], *listing["pool"])
        return [kernel["pid"] for kernel in kernels if kernel.get("name") != "bystander" and kernel["pid"]]

    def _signal(self, pid: int, act: str, pause: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if act == "kill" else signal.SIGSTOP)
            if act == "stop":
                self.stopped.add(pid)
            elif act == "pause":
                time.sleep(pause)
                os.kill(pid, signal.SIGCONT)


def place(choose: random.Random) -> dict[str, str]:
    """Return the field of a session, or no field for the pool."""
    return {} if choose.random() < 0.3 else {"session": choose.choice(SESSIONS)}


def documented(answer: httpx.Response) -> str:
    """Return the type of a documented problem. Raises `Wrong` for any other answer."""
    text = answer.text
    try:
        problem = answer.json()
        kind = problem["type"].removeprefix("urn:owt:")
    except (ValueError, KeyError, TypeError):
        raise Wrong(f"{answer.status_code} {text[:300]!r}") from None
    if (answer.status_code, kind) not in ERRORS or answer.status_code != problem["status"]:
        raise Wrong(f"{answer.status_code} {text[:600]}")
    return f"{answer.status_code} {kind}"


def judge(answer: httpx.Response, right: str) -> str:
    """Return the outcome of a whole answer. Raises `Wrong`."""
    if answer.status_code != 200:
        return documented(answer)
    if answer.text != right:
        raise Wrong(f"{answer.text[:100]!r} and not {right[:100]!r}")
    return "right"


async def whole(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Call a function in a session or in the pool."""
    number = choose.randrange(10**6)
    body = {"code": "def run(n): return n * 2", "kwargs": {"n": number}, **place(choose)}
    return judge(await http.post("/", json=body), str(number * 2))


async def large(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Send and get a body that is larger than the window."""
    data = choose.randbytes(300_000).hex()
    headers = {"Content-Type": "application/octet-stream"}
    params = {"code": "data()", **place(choose)}
    return judge(await http.post("/", params=params, content=data.encode(), headers=headers), data)


async def counted(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Count in a session's state: no call may run twice, and none may see another kernel's state."""
    code = (
        "def run():\n"
        "    if not hasattr(state, 'kernel'):\n"
        "        import os\n"
        "        state.kernel, state.count = os.urandom(8).hex(), 0\n"
        "    state.count += 1\n"
        "    return [state.kernel, state.count]"
    )
    answer = await http.post("/", json={"code": code, "session": choose.choice(SESSIONS)})
    if answer.status_code != 200:
        return documented(answer)
    kernel, count = answer.json()
    if (kernel, count) in soak.numbers:
        raise Wrong(f"the state of kernel {kernel} was {count} twice")
    soak.numbers.add((kernel, count))
    return "right"


async def raising(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Call a function that raises."""
    answer = await http.post("/", json={"code": "def run(): return 1 / 0", **place(choose)})
    if answer.status_code == 500 and answer.json()["exception"] == "ZeroDivisionError":
        return "right"
    return documented(answer)


async def late(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Let a call run into its timeout."""
    code = "def run():\n    import time\n    time.sleep(100)"
    answer = await http.post("/", json={"code": code, "timeout": 0.05, **place(choose)})
    if answer.status_code == 200:
        raise Wrong("a call of 100 s was answered")
    return documented(answer)


async def dying(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """End the kernel from within a call."""
    code = "def run():\n    import os\n    os._exit(3)"
    answer = await http.post("/", json={"code": code, **place(choose)})
    if answer.status_code == 200:
        raise Wrong("a call that ended its kernel was answered")
    return documented(answer)


STREAM = "def run(blocks, block):\n    for number in range(blocks): yield block"


async def streamed(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Read a stream, sometimes slowly."""
    blocks = choose.randrange(1, 60)
    slow = choose.random() < 0.1
    body = {"code": STREAM, "kwargs": {"blocks": blocks, "block": BLOCK}, **place(choose)}
    async with http.stream("POST", "/", json=body) as answer:
        if answer.status_code != 200:
            await answer.aread()
            return documented(answer)
        parts = []
        async for part in answer.aiter_text():
            parts.append(part)
            if slow:
                await asyncio.sleep(0.01)
    if "".join(parts) != BLOCK * blocks:
        raise Wrong(f"a stream of {blocks} blocks had {len(''.join(parts))} characters")
    return "right"


EVENTS = """
def run(count):
    for number in range(count):
        print("line", number)
        yield number
"""


def judge_events(events: list[Event], count: int) -> str:
    """Return the outcome of a complete list of events. Raises `Wrong`."""
    kinds = [event.event for event in events]
    if not kinds or kinds[-1] != "done" or kinds.count("done") != 1:
        raise Wrong(f"the events end with {events[-2:]}")
    values = [event.data for event in events if event.event == "message"]
    lines = "".join(event.data for event in events if event.event == "stdout")
    errors = [json.loads(event.data) for event in events if event.event == "error"]
    if errors:
        kind = errors[0]["type"].removeprefix("urn:owt:")
        if len(errors) > 1 or (errors[0]["status"], kind) not in ERRORS:
            raise Wrong(f"events with the errors {errors}")
        if values != [str(number) for number in range(len(values))]:
            raise Wrong(f"the values before an error were {values}")
        return f"event {kind}"
    expected = "".join(f"line {number}\n" for number in range(count))
    if values != [str(number) for number in range(count)] or lines != expected:
        raise Wrong(f"the values {values} and the lines {lines!r} of {count}")
    return "right"


async def events(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Read events, leave in their midst, and resume after the last one."""
    count = choose.randrange(1, 300)
    body = {"code": EVENTS, "kwargs": {"count": count}, "stream": "sse", **place(choose)}
    leave_after = choose.randrange(count * 4)
    received: list[Event] = []
    decoder = Decoder()
    async with http.stream("POST", "/", json=body) as answer:
        if answer.status_code != 200:
            await answer.aread()
            return documented(answer)
        run = answer.headers["Owt-Run"]
        async for part in answer.aiter_bytes():
            received += decoder.feed(part)
            if len(received) > leave_after:
                break
    if received and received[-1].event == "done":
        return judge_events(received, count)
    after = received[-1].id.rpartition("-")[2] if received else "0"
    answer = await http.get(f"/_owt/runs/{run}/events", params={"after": after})
    if answer.status_code != 200:
        return documented(answer)
    received += Decoder().feed(answer.content)
    return f"resumed: {judge_events(received, count)}"


async def detached(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Start a run without a reader, and get its answer or cancel it."""
    number = choose.randrange(10**6)
    body = {"code": f"def run(): return {number}", "detach": True, **place(choose)}
    answer = await http.post("/", json=body)
    if answer.status_code != 202:
        return documented(answer)
    run = answer.json()["url"]
    if choose.random() < 0.3:
        answer = await http.delete(run)
        return "cancelled" if answer.is_success else documented(answer)
    return judge(await http.get(f"{run}/answer"), str(number))


async def leaving(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Disconnect while a call is queued or runs."""
    code = choose.choice([
        "def run():\n    import time\n    time.sleep(100)",
        "def run():\n    while True: yield 'x' * 1000",
        "import asyncio\nasync def run(): await asyncio.sleep(100)",
        "def run():\n    while True: print('x' * 1000)",
    ])
    with contextlib.suppress(httpx.TimeoutException):
        body = {"code": code, **place(choose), **choose.choice([{}, {"stream": "sse"}])}
        timeout = httpx.Timeout(PATIENCE, read=choose.uniform(0.01, 0.2))
        async with http.stream("POST", "/", json=body, timeout=timeout) as answer:
            if answer.status_code != 200:
                await answer.aread()
                return documented(answer)
            await anext(answer.aiter_raw())
    return "left"


async def half_open(soak: Soak, http: httpx.AsyncClient, choose: random.Random) -> str:
    """Send a part of a request, wait for a while, and disconnect with a FIN or a reset."""
    body = urlencode({"code": "1 + 1", **place(choose)}).encode()
    request = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", soak.server.port)
    try:
        writer.write(request[: choose.randrange(len(request))])
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), choose.choice([0.01, 0.1, 1, 3]))
        if choose.random() < 0.5:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    finally:
        writer.close()
    return "left"


Action = Callable[[Soak, httpx.AsyncClient, random.Random], Awaitable[str]]

ACTIONS: dict[str, tuple[Action, int]] = {
    "whole": (whole, 30),
    "large": (large, 3),
    "counted": (counted, 20),
    "raising": (raising, 8),
    "late": (late, 3),
    "dying": (dying, 1),
    "streamed": (streamed, 8),
    "events": (events, 10),
    "detached": (detached, 8),
    "leaving": (leaving, 5),
    "half-open": (half_open, 5),
}
"""What clients do, and how often."""


def come_to_rest(server: LiveServer) -> None:
    """End all sessions but the bystander's, and wait until no run is left and the pool is idle."""

    def at_rest() -> bool:
        listing = server.ask("GET", "/_owt/sessions").json()
        for session in listing["sessions"]:
            if session["name"] != "bystander":
                server.ask("DELETE", f"/_owt/sessions/{session['name']}")
        runs = server.ask("GET", "/_owt/health").json()["runs"]
        states = {kernel["state"] for kernel in listing["pool"]}
        return len(listing["sessions"]) == 1 and states <= {"idle"} and runs == 0

    wait_until(at_rest, PATIENCE)


@dataclass(frozen=True)
class Resources:
    """Resources of the server at rest."""

    processes: int
    descriptors: int
    memory: int

    @classmethod
    def of(cls, server: LiveServer) -> Resources:
        """Measure the frontend and count its processes, without those of the pool, whose number varies."""
        frontend = psutil.Process(server.pid)
        pool = {kernel["pid"] for kernel in server.ask("GET", "/_owt/sessions").json()["pool"]}
        children = [child for child in frontend.children(recursive=True) if child.pid not in pool]
        connections = 3 * len(pool)
        return cls(len(children), frontend.num_fds() - connections, frontend.memory_full_info().uss)


def no_more(now: Resources, before: Resources) -> bool:
    """Return True if the server has no more processes and descriptors than before."""
    return now.processes <= before.processes and now.descriptors <= before.descriptors


def faults(log: str) -> list[str]:
    """Return the lines of a server's log that report a fault of the server."""
    words = r"^\S+ \S+ [EC] .*$|^Traceback.*$|^.*Uncaught.*$|^.*never (?:awaited|retrieved).*$"
    return re.findall(words, log, re.MULTILINE)


def run(seconds: float, clients: int, seed: int) -> Counter[str]:
    """Run the soak, and return the counts of the outcomes. Raises `AssertionError` for what was wrong."""
    with LiveServer(*OPTIONS) as server:
        soak = Soak(server, clients, seed)
        rests = []
        try:
            for number in range(2):
                with Bystander(server) as other:
                    asyncio.run(soak.load(seconds / 2, number))
                soak.outcomes["bystander: right"] += other.calls
                come_to_rest(server)
                if rests:
                    # For a moment, kernels that are being replaced are no members of the pool, and
                    # connections of clients that have disconnected are open.
                    wait_until(lambda: no_more(Resources.of(server), rests[0]))
                rests.append(Resources.of(server))
        finally:
            soak.continue_all()
        assert soak.wrong == [], "\n".join([f"seed {seed}", *soak.wrong[:20]])
        first, second = rests
        assert second.processes <= first.processes, rests
        assert second.descriptors <= first.descriptors, rests
        assert second.memory <= first.memory + MEMORY_GROWTH, rests
        assert faults(server.log()) == []
        assert server.call("1 + 1").text == "2"
        processes = psutil.Process(server.pid).children(recursive=True)
        assert processes != []
        assert server.stop(signal.SIGTERM) == 0
        wait_until(lambda: not any(process.is_running() for process in processes))
    return soak.outcomes


def main() -> int:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=180, help="time of the load (default: 180)")
    parser.add_argument("--clients", type=int, default=200, help="number of clients (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the clients' choices (default: 1)")
    options = parser.parse_args()
    started = time.monotonic()
    outcomes = run(options.seconds, options.clients, options.seed)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:8}  {outcome}")
    print(f"all {outcomes.total()} answers were right or documented, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
