"""Storm on a server with --keep: its frontend is killed again and again, and clients must not notice.

    python tests/storm.py --kills 100 --seed 1

Runs stream all the time, in sessions and in the pool: half of them as events, to clients that resume, and
half detached, whose answers are fetched. Other sessions count, each by several clients at once, so that calls
wait: by plain calls, which are repeated under the ids of their runs, by events, and by detached calls. The
frontend is killed while it serves, while it starts, and before it has served anything. At the end no event,
run or count may be missing or doubled, no connection was refused, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from soak import faults

from owt.client import AsyncClient
from owt.errors import OwtError
from owt.host.reaper import MARK, marked
from owt.server.child import Child
from owt.testing import wait_until

OPTIONS = [
    *("--port", "0", "--keep", "10m", "--max-sessions", "100", "--pool-max", "4", "--kill-after", "60s"),
    *("--resume-window", "120s", "--run-retention", "10m", "--drain", "1s"),
]

PATIENCE = 120.0
"""Seconds for which a client repeats a request, and after which an answer counts as lost."""

STREAMS_OF_A_SESSION = 8

CLIENTS_OF_A_COUNTER = 3

GROWTH = 3 << 20
"""Bytes by which the host, and a session's kernel on average, may grow from the first tenth of the kills to
the last: buffers that the allocator keeps."""

COUNT = "n += 1\nn"
COUNT_AND_BLOCK = f"x = 7 ** 1_000_000\n{COUNT}"
"""Adaptor that keeps all threads of its kernel from running for a while."""

STREAM = """
import asyncio
async def run(count, pause):
    for number in range(count):
        if number % 10 == 0:
            print("line", number)
        yield f"{number}\\n"
        await asyncio.sleep(pause)
"""

IDENTITY = "import os\n[os.getpid(), os.environ['OWT_KERNEL_ID']]"


class Wrong(Exception):
    """Something that was lost or doubled."""


@dataclass
class Storm:
    """One storm: its size, the frontend that lives, and what was counted.

    A stream has up to `length` values. `counts` has the numbers that the counter of a session has returned,
    `gaps` the seconds from the kill of a frontend to the readiness of the next one that was not killed
    before, and `memory` the private bytes of each process, first and last.
    """

    kills: int
    sessions: int
    streams: int
    length: int
    seed: int
    folder: Path
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=dict)
    gaps: list[float] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    memory: list[dict[int, int]] = field(default_factory=list)
    host: int = 0
    ending: bool = False
    url: str = ""
    mark: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the server, whose temporary files have a folder of their own."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
        (self.folder / "tmp").mkdir(exist_ok=True)
        return {**own, "TMPDIR": str(self.folder / "tmp")}

    def start(self) -> None:
        """Start a frontend, without waiting for it."""
        self.is_ready = False
        self.child = Child(*OPTIONS, "--runtime-dir", str(self.folder / "r"), env=self.environment)

    def wait_ready(self) -> None:
        """Wait until the frontend serves."""
        if not self.is_ready:
            self.url = self.child.wait_ready(PATIENCE)
            self.is_ready = True

    def end(self, number: int) -> None:
        """End the frontend by a signal."""
        self.child.stop(number)
        self.logs.append(f"{time.strftime('%X')} end by signal {number}\n{self.child.log()}")
        self.child.close()

    # Clients

    async def blow(self) -> None:
        """Run all clients and the kills, and wait until every client has got its last answer."""
        async with AsyncClient(self.url) as client, asyncio.TaskGroup() as group:
            names = [f"count-{number}" for number in range(self.sessions)]
            streaming = [f"stream-{number}" for number in range(-(-self.streams // STREAMS_OF_A_SESSION))]
            await self._prepare(client, names, streaming)
            kernels = await self._identities(client, [*names, *streaming])
            for name, number in itertools.product(names, range(CLIENTS_OF_A_COUNTER)):
                group.create_task(self._repeat(self._count, client, name, f"{name} {number}"))
            for number in range(self.streams):
                act = self._follow if number % 2 else self._detach
                name = streaming[number // STREAMS_OF_A_SESSION]
                group.create_task(self._repeat(act, client, name, f"stream {number}"))
            for number, act in itertools.product(range(-(-self.streams // 32)), (self._follow, self._detach)):
                group.create_task(self._repeat(act, client, None, f"{act.__name__} {number} in the pool"))
            group.create_task(self._connect_all_the_time())
            await self._kill_all_the_time()
            self.ending = True
        async with AsyncClient(self.url) as client:
            await self._check(client, names, kernels)

    async def _prepare(self, client: AsyncClient, names: list[str], streaming: list[str]) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE, trust_env=False) as http:
            for name in streaming:
                options = {"concurrency": STREAMS_OF_A_SESSION}
                (await http.put(f"/_owt/sessions/{name}", json=options)).raise_for_status()
        for name in names:
            await client.with_options(session=name).call("n = 0")
            self.counts[name] = []

    async def _identities(self, client: AsyncClient, names: list[str]) -> dict[str, Any]:
        return {name: await client.with_options(session=name).call(IDENTITY) for name in names}

    async def _repeat(
        self,
        act: Callable[[AsyncClient, Any, random.Random], Awaitable[None]],
        client: AsyncClient,
        session: str | None,
        label: str,
    ) -> None:
        """Do the same until the storm ends."""
        choose = random.Random(f"{self.seed} {label}")
        calls = client.with_options(session=session, retry=PATIENCE)
        what = getattr(act, "__name__", "").strip("_")
        while not self.ending:
            try:
                async with asyncio.timeout(2 * PATIENCE):
                    await act(calls, session, choose)
                self.outcomes[f"{what}: right"] += 1
            except (Wrong, OwtError, httpx.HTTPError, TimeoutError) as error:
                self.outcomes[f"{what}: wrong"] += 1
                self._report(f"{label}: {error!r}")

    def _report(self, problem: str) -> None:
        self.wrong.append(f"{time.strftime('%X')} after {self.outcomes['kills']} kills: {problem}")

    async def _count(self, client: AsyncClient, session: str, choose: random.Random) -> None:
        """Count in a session."""
        code = COUNT if choose.random() < 0.97 else COUNT_AND_BLOCK
        match choose.choice(["plain", "events", "detached"]):
            case "plain":
                count = await client.call(code)
            case "events":
                [count] = [event.json() async for event in client.stream(code) if event.name == "result"]
            case "detached":
                count = int(await self._answer_of(await client.with_options(detach=True).call(code)))
        self.counts[session].append(count)
        await asyncio.sleep(choose.uniform(0.2, 1.2))

    async def _follow(self, client: AsyncClient, session: str | None, choose: random.Random) -> None:
        """Follow the events of a run to its end."""
        count = choose.randrange(1, self.length)
        values, text, ids = [], "", []
        async for event in client.stream(STREAM, count=count, pause=choose.uniform(0.05, 0.3)):
            ids.append(event.id.rpartition("-")[2])
            if event.name == "message":
                values.append(event.data)
            elif event.name == "stdout":
                text += event.data
            elif event.name != "done":
                raise Wrong(f"the event {event}")
        if values != [f"{number}\n" for number in range(count)]:
            raise Wrong(f"the values {values} of {count}")
        if text != "".join(f"line {number}\n" for number in range(0, count, 10)):
            raise Wrong(f"the text {text!r} of {count}")
        if ids != [str(number) for number in range(1, len(ids) + 1)]:
            raise Wrong(f"the events {ids}")

    async def _detach(self, client: AsyncClient, session: str | None, choose: random.Random) -> None:
        """Start a run that needs no client, and fetch its answer."""
        count = choose.randrange(1, self.length)
        detached = client.with_options(detach=True)
        run = await detached.call(STREAM, count=count, pause=choose.uniform(0.05, 0.3))
        answer = await self._answer_of(run)
        if answer != "".join(f"{number}\n" for number in range(count)):
            raise Wrong(f"run {run['run']}: {answer!r} of {count}")

    async def _answer_of(self, run: dict[str, Any]) -> str:
        """Return the whole answer of a detached run."""
        answer = await self._get(f"/_owt/runs/{run['run']}/answer")
        if answer.status_code != 200:
            raise Wrong(f"run {run['run']}: {answer.status_code} {answer.text}")
        return answer.text

    async def _get(self, path: str) -> httpx.Response:
        """GET until there is a whole response."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                async with httpx.AsyncClient(
                    base_url=self.url, timeout=PATIENCE, trust_env=False
                ) as http:
                    response = await http.get(path)
                    if response.status_code != 503:
                        return response
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def _connect_all_the_time(self) -> None:
        """Make connections all the time."""
        async with asyncio.TaskGroup() as group:
            while not self.ending:
                group.create_task(self._connect())
                await asyncio.sleep(0.1)

    async def _connect(self) -> None:
        """Make a connection, which must be accepted, and answered unless its frontend is killed."""
        port = int(self.url.rpartition(":")[2])
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            self._report(f"a connection was refused: {error!r}")
            return
        outcome = "cut off"
        try:
            writer.write(b"GET /_owt/health/live HTTP/1.0\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                if b" 200 " in await reader.read():
                    outcome = "answered"
        except ConnectionError:
            pass
        except TimeoutError:
            self._report("a connection was not answered")
        finally:
            writer.close()
        self.outcomes[f"connect: {outcome}"] += 1

    # The frontends

    async def _kill_all_the_time(self) -> None:
        """Kill one frontend after the other, except the last one."""
        choose = random.Random(f"{self.seed} kills")
        killed = time.monotonic()
        moments = ["serving", "starting", "serving", "ready"]
        for number in range(self.kills):
            moment = moments[number % len(moments)]
            if moment == "starting":
                await asyncio.sleep(choose.uniform(0, 2))
            else:
                await asyncio.to_thread(self.wait_ready)
                self.gaps.append(time.monotonic() - killed)
                if moment == "serving":
                    await self._wait_for_answers(choose.randrange(self.sessions + self.streams))
            if number in (self.kills // 10, self.kills - 1):
                self.memory.append(await asyncio.to_thread(self._memory))
            killed = time.monotonic()
            await asyncio.to_thread(self.end, signal.SIGKILL)
            self.outcomes[f"kill: {moment}"] += 1
            self.outcomes["kills"] += 1
            self.start()
        await asyncio.to_thread(self.wait_ready)

    async def _wait_for_answers(self, count: int) -> None:
        """Wait until clients have got so many answers of this frontend. A loaded machine takes its time."""
        goal = self.answers + count
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE / 10):
                # Many clients count, and nothing else waits.
                while self.answers < goal:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    @property
    def answers(self) -> int:
        """Number of answers that clients have got."""
        return sum(count for what, count in self.outcomes.items() if what.endswith(": right"))

    def _memory(self) -> dict[int, int]:
        """Return the private bytes (USS) of each process."""
        sizes = {}
        for pid in marked(self.mark):
            with contextlib.suppress(psutil.Error, OSError):
                if "owt.host.template" in " ".join(psutil.Process(pid).cmdline()).split():
                    self.host = pid
                sizes[pid] = psutil.Process(pid).memory_full_info().uss
        return sizes

    def growth(self) -> tuple[int, int]:
        """Return the bytes by which the host has grown, and a kernel of a session on average."""
        first, last = self.memory[0], self.memory[-1]
        grown = {pid: last[pid] - size for pid, size in first.items() if pid in last}
        host = grown.pop(self.host)
        return host, sum(grown.values()) // len(grown)

    async def _check(self, client: AsyncClient, names: list[str], kernels: dict[str, Any]) -> None:
        for name in names:
            last = await client.with_options(session=name).call("n")
            counts = self.counts[name]
            if sorted(counts) != list(range(1, last + 1)):
                doubled = [number for number, times in Counter(counts).items() if times > 1]
                missing = sorted(set(range(1, last + 1)) - set(counts))
                self._report(f"{name}: {last} counts; twice: {doubled}; never: {missing}")
        now = await self._identities(client, list(kernels))
        for name, kernel in kernels.items():
            if now[name] != kernel:
                self._report(f"{name}: the kernel was {kernel} and is {now[name]}")


@contextlib.contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Check that the server of the block has left no shared memory, sockets and temporary files."""
    before = set(os.listdir("/dev/shm"))
    yield
    left = {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("owt")}
    assert not left, left
    assert not (folder / "r").exists(), list((folder / "r").iterdir())
    assert not list((folder / "tmp").iterdir()), list((folder / "tmp").iterdir())


def run(kills: int, sessions: int, streams: int, length: int, seed: int) -> Storm:
    """Run a storm and return it. Raises `AssertionError` for what was wrong."""
    # The path of a test's own folder may be too long for sockets.
    with tempfile.TemporaryDirectory() as base, nothing_left(Path(base)):
        storm = Storm(kills, sessions, streams, length, seed, Path(base))
        storm.start()
        storm.wait_ready()
        data = {"code": f"import os\nos.environ[{MARK!r}]", "session": "count-0"}
        storm.mark = httpx.post(storm.url, data=data, timeout=PATIENCE).text
        try:
            asyncio.run(storm.blow())
        finally:
            storm.end(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not list(marked(storm.mark)))
        if storm.wrong:
            report = [f"seed {seed}, {storm.outcomes}", *storm.wrong, *storm.logs]
            path = Path(tempfile.gettempdir(), f"storm-{os.getpid()}.log")
            path.write_text("\n".join(report))
            raise AssertionError("\n".join([*report[:10], f"all is in {path}"]))
        assert not list(marked(storm.mark))
        problems = [problem for log in storm.logs for problem in faults(log)]
        assert problems == []
        assert max(storm.growth()) <= GROWTH, storm.growth()
    return storm


def main() -> int:
    """Run a storm from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="frontends to kill (default: 100)")
    parser.add_argument("--sessions", type=int, default=20, help="sessions that count (default: 20)")
    parser.add_argument("--streams", type=int, default=64, help="runs that stream (default: 64)")
    parser.add_argument("--length", type=int, default=100, help="values of a stream (default: up to 100)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the choices (default: 1)")
    options = parser.parse_args()
    started = time.monotonic()
    storm = run(options.kills, options.sessions, options.streams, options.length, options.seed)
    for outcome, count in sorted(storm.outcomes.items()):
        print(f"{count:8}  {outcome}")
    gaps = sorted(storm.gaps)
    print(
        f"from a kill to the next frontend's readiness: median {gaps[len(gaps) // 2]:.2f} s, "
        f"maximum {gaps[-1]:.2f} s"
    )
    host, kernel = storm.growth()
    print(f"growth after a tenth of the kills: host {host / 1e6:.2f} MB, a kernel {kernel / 1e6:.2f} MB")
    print(f"nothing was lost, doubled or refused, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
