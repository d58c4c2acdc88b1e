"""A kernel's runner between a frontend's end of the call channel and a control thread."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from lanes import PLENTY, Listening
from traitlets.config import Config

from owt.kernel.calls.runner import Runner
from owt.kernel.memory_limit import MemoryLimit
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Chunk, Data, Done
from owt.wire.messages import Output, Queued, RegisterEndpoints


def new_shell() -> InteractiveShell:
    """An IPython shell without the history's database."""
    config = Config()
    config.HistoryManager.enabled = False
    return InteractiveShell(config=config)


def call(code: str | None = None, *, path: str = "/", **fields: Any) -> Call:
    """A call of this code."""
    return Call(RequestFacts("GET", path, "", (), b"", "localhost:9876"), code=code, **fields)


def bodies(chunks: Iterable[Chunk]) -> list[bytes]:
    return [chunk.body for chunk in chunks if isinstance(chunk, Data)]


class Control:
    """A thread with an event loop, as ipykernel's control thread is."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(self.loop.call_later, seconds, function)

    def do(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in the thread, and wait until it has been called."""

        async def work() -> None:
            function(*args)

        asyncio.run_coroutine_threadsafe(work(), self.loop).result(20)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Bench:
    """A `Runner` on this thread's event loop, and what it sends.

    What it offers as its session's endpoints is in `offers`, and `refusal` is the answer to that.
    `first` and `each` say what the control thread does when a run's chunk of a kind arrives.
    """

    def __init__(
        self, door: Listening, shell: InteractiveShell, *, window: int = PLENTY, concurrency: int = 1
    ) -> None:
        self.near, self.far = door.connect()
        self.names = shell.user_ns
        self.control = Control()
        self.loops = asyncio.Runner()
        self.runner = Runner(
            shell=shell,
            connection=self.near,
            loop=self.loops.get_loop(),
            call_later=self.control.later,
            window=window,
            concurrency=concurrency,
            memory=MemoryLimit(),
        )
        self.runner.start()
        self.behind: list[str] = []
        self.runner.endpoints.session = "dev"
        self.offers: list[RegisterEndpoints] = []
        self.refusal: str | None = None
        self.frames: dict[str, list[tuple[Chunk, ...]]] = defaultdict(list)
        self._reactions: list[tuple[str, type, Callable[[], object]]] = []
        self._ended: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def each(self, run: str, kind: type, function: Callable[[], object]) -> None:
        self._reactions.append((run, kind, function))

    def first(self, run: str, kind: type, function: Callable[[], object]) -> None:
        def once() -> None:
            if not called:
                called.append(True)
                function()

        called: list[bool] = []
        self.each(run, kind, once)

    def cancel(self, run: str, reason: str = "cancelled") -> Callable[[], None]:
        return lambda: self.runner.cancel(run, reason)

    def run(self, **calls: Call) -> dict[str, list[Chunk]]:
        """The chunks of these calls, which arrive at once, by their names."""
        try:
            return self.loops.run(self.serve(**calls))
        finally:
            # The control thread has done what it does at these chunks.
            self.control.do(int)

    async def serve(self, **calls: Call) -> dict[str, list[Chunk]]:
        for id, each in calls.items():
            self.runner.accept(id, each)
        for id in calls:
            await self.ended(id)
        return {id: self.chunks(id) for id in calls}

    async def ended(self, run: str) -> None:
        await self._ended[run].wait()

    def ask(self, code: str | None = None, **fields: Any) -> list[Chunk]:
        """The chunks of one call."""
        id = f"run {len(self.frames)}"
        return self.run(**{id: call(code, **fields)})[id]

    def text(self, code: str | None = None, **fields: Any) -> str:
        """The body of one call's answer."""
        return b"".join(bodies(self.ask(code, **fields))).decode()

    def chunks(self, run: str) -> list[Chunk]:
        """What a run has sent by now."""
        return [chunk for frame in self.frames[run] for chunk in frame]

    def close(self) -> None:
        # The reader ends when it reads the end.
        self.near.send(Output("", ()))
        self._reader.join()
        self.loops.close()
        self.control.close()

    def _read(self) -> None:
        while (message := self.far.receive()) != Output("", ()):
            if isinstance(message, Queued):
                self.behind.append(message.run)
                continue
            if isinstance(message, RegisterEndpoints):
                self.offers.append(message)
                self.runner.endpoints.on_result(message.number, self.refusal)
                continue
            assert isinstance(message, Output)
            self.frames[message.run].append(message.chunks)
            for chunk in message.chunks:
                for run, kind, function in self._reactions:
                    if run == message.run and isinstance(chunk, kind):
                        self.control.loop.call_soon_threadsafe(function)
                if isinstance(chunk, Done):
                    self.loops.get_loop().call_soon_threadsafe(self._ended[message.run].set)
