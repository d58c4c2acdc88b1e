"""Kernels that a test plays: they answer and end when it says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from owt.errors import BadRequest, Busy, KernelDied
from owt.frontend.counters import Cause, Counters
from owt.frontend.kernels.kernels import Failure
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Chunk, Data, Done, Head
from owt.wire.messages import Cancel, Output, Queued, StartDeadlinePassed

HEAD = Head(200, (("Content-Type", "text/plain"),))


def call(code: str | None = "1", *, path: str = "/", **fields: Any) -> Call:
    """A call of this code."""
    return Call(RequestFacts("GET", path, "", (), b"", "localhost"), code=code, **fields)


class PlayedKernel:
    """What a session needs of a kernel. It answers when the test says so, and ends when it says so."""

    def __init__(self, id: str, spec: str, session: str | None, on_output: Any, on_death: Any) -> None:
        self.id = id
        self.spec = spec
        self.alive = True
        self.death: str | None = None
        self.killed: str | None = None
        self.pid: int | None = None
        self.on_output = on_output
        self.on_death = on_death
        self.bound: tuple[str | None, int] | None = None
        self.session = session
        self.invoked: list[str] = []
        self.calls: list[Call] = []
        self.cancelled: list[str] = []
        self.credits: list[tuple[str, int]] = []
        self.asked: list[StartDeadlinePassed] = []
        self.is_stopped = False
        self.in_cell = False
        self.last_cell: float | None = None
        self.interrupted = 0
        self.was_cancelled = asyncio.Event()
        self._buried = asyncio.Event()

    @property
    def state(self) -> str:
        return "ready" if self.alive else "ending"

    def invoke(self, run: str, call: Call) -> None:
        self.invoked.append(run)
        self.calls.append(call)

    def bind(self, session: str | None, concurrency: int) -> None:
        self.session = session
        self.bound = (session, concurrency)

    def credit(self, run: str, size: int) -> None:
        self.credits.append((run, size))

    def cancel(self, message: Cancel) -> None:
        self.cancelled.append(message.run)
        self.was_cancelled.set()

    def ask(self, message: StartDeadlinePassed) -> None:
        self.asked.append(message)

    def stopped(self) -> bool:
        return self.is_stopped

    async def interrupt(self) -> None:
        self.interrupted += 1

    def send(self, *chunks: Chunk, run: str | None = None) -> None:
        """Send chunks of a run, by default the newest."""
        self.on_output(Output(run or self.invoked[-1], chunks))

    def behind(self, run: str | None = None) -> None:
        """Say that a cell is before a run, by default the newest."""
        self.on_output(Queued(run or self.invoked[-1]))

    def answer(self, run: str | None = None, body: bytes = b"") -> None:
        """End a run well, by default the newest."""
        self.send(HEAD, Data(body, "text", result=True), Done(200, 0.0), run=run)

    def fall(self) -> None:
        """It is gone, and how is not known yet."""
        self.alive = False

    def die(self, reason: str = "died") -> None:
        self.alive = False
        self.death = reason
        self.on_death(self, reason)
        self._buried.set()

    def kill(self, reason: str, cause: Cause = "ended") -> None:
        self.killed = reason
        asyncio.get_running_loop().call_soon(self.die, reason)

    async def closed(self) -> None:
        await self._buried.wait()


class PlayedKernels:
    """Starts kernels at once, unless told to wait or to fail."""

    def __init__(self, *specs: str) -> None:
        self.all: list[PlayedKernel] = []
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.problem: Exception | None = None
        self.failures: dict[str, Failure] = {}
        self.preparing = False
        self.counters = Counters()
        self.no_room: Busy | None = None
        self.failing: int | None = None
        self.tries = 0
        self.at_start: Callable[[PlayedKernel], object] = lambda kernel: None
        self._specs = specs or ("owt",)
        self._news = asyncio.Event()

    def each(self) -> list[PlayedKernel]:
        return [kernel for kernel in self.all if kernel.alive]

    def check_spec(self, name: str) -> None:
        if name not in self._specs:
            raise BadRequest("kernel", "there is no such kernelspec", name)

    def check_room(self) -> None:
        if self.no_room:
            raise self.no_room

    async def start(
        self, spec: str, session: str | None, concurrency: int, on_output: Any, on_death: Any
    ) -> PlayedKernel:
        await self.may_start.wait()
        self.tries += 1
        if self.problem and (self.failing is None or self.tries <= self.failing):
            if isinstance(self.problem, KernelDied):
                self.failures[spec] = Failure(str(self.problem), time.monotonic())
            raise self.problem
        self.failures.pop(spec, None)
        kernel = PlayedKernel(f"k{len(self.all) + 1}", spec, session, on_output, on_death)
        self.all.append(kernel)
        self.at_start(kernel)
        self._news.set()
        return kernel

    async def count(self, number: int) -> PlayedKernel:
        """Wait until there have been that many, and give the last."""
        async with asyncio.timeout(10):
            while len(self.all) < number:
                self._news.clear()
                await self._news.wait()
            await settle()
        return self.all[-1]


async def settle() -> None:
    """Let everything happen that waits for nothing but its turn."""
    for _ in range(10):
        await asyncio.sleep(0)


def scene(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in an event loop."""

    @wraps(function)
    def test(*args: object, **kwargs: object) -> None:
        asyncio.run(function(*args, **kwargs))

    return test
