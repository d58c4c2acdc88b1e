"""A kernel's runner between the frontend's side of its connection and a control thread."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from frontend_side import PLENTY, ConnectionMaker
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from owt.kernel.calls.runner import Runner
from owt.kernel.memory_limit import MemoryLimit
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Chunk, Data, Done
from owt.wire.messages import Output, Queued, RegisterEndpoints, Withdrawn


def new_shell() -> InteractiveShell:
    """Return an IPython shell without the database of its history."""
    config = Config()
    config.HistoryManager.enabled = False
    return InteractiveShell(config=config)


def call(
    code: str | None = None,
    *,
    path: str = "/",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    **fields: Any,
) -> Call:
    """Return a call of this code."""
    return Call(RequestFacts("GET", path, query, headers, body, "localhost:9876"), code=code, **fields)


def bodies(chunks: Iterable[Chunk]) -> list[bytes]:
    return [chunk.body for chunk in chunks if isinstance(chunk, Data)]


class Control:
    """Thread with an event loop, like ipykernel's control thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(self.loop.call_later, seconds, function)

    def do(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in the thread, and wait for its return."""

        async def work() -> None:
            function(*args)

        asyncio.run_coroutine_threadsafe(work(), self.loop).result(20)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class RunnerBench:
    """A `Runner` on this thread's event loop, and what it sends.

    `registrations` has its requests to register endpoints, and `refusal` is the answer to them.
    `on_first_chunk` and `on_chunk` register a function for the control thread: for a run's chunks of a type.
    """

    def __init__(
        self,
        connections: ConnectionMaker,
        shell: InteractiveShell,
        *,
        window: int = PLENTY,
        concurrency: int = 1,
    ) -> None:
        self.near, self.far = connections.connect()
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
        self.queued: list[str] = []
        self.withdrawn: list[str] = []
        self.runner.endpoints.session = "dev"
        self.registrations: list[RegisterEndpoints] = []
        self.refusal: str | None = None
        self.frames: dict[str, list[tuple[Chunk, ...]]] = defaultdict(list)
        self._reactions: list[tuple[str, type, Callable[[], object]]] = []
        self._ended: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def on_chunk(self, run: str, kind: type, function: Callable[[], object]) -> None:
        self._reactions.append((run, kind, function))

    def on_first_chunk(self, run: str, kind: type, function: Callable[[], object]) -> None:
        def once() -> None:
            if not called:
                called.append(True)
                function()

        called: list[bool] = []
        self.on_chunk(run, kind, once)

    def cancel(self, run: str, reason: str = "cancelled") -> Callable[[], None]:
        return lambda: self.runner.cancel(run, reason)

    def run(self, **calls: Call) -> dict[str, list[Chunk]]:
        """Return the chunks of these calls, which arrive together, by their names."""
        try:
            return self.loops.run(self.serve(**calls))
        finally:
            # Wait until the control thread has handled these chunks.
            self.control.do(int)

    async def serve(self, **calls: Call) -> dict[str, list[Chunk]]:
        for id, arriving in calls.items():
            self.runner.accept(id, arriving)
        for id in calls:
            await self.ended(id)
        return {id: self.chunks(id) for id in calls}

    async def ended(self, run: str) -> None:
        await self._ended[run].wait()

    def ask(self, code: str | None = None, **fields: Any) -> list[Chunk]:
        """Return the chunks of one call."""
        id = f"run {len(self.frames)}"
        return self.run(**{id: call(code, **fields)})[id]

    def text(self, code: str | None = None, **fields: Any) -> str:
        """Return the body of one call's answer."""
        return b"".join(bodies(self.ask(code, **fields))).decode()

    def chunks(self, run: str) -> list[Chunk]:
        """Return the chunks that a run has sent by now."""
        return [chunk for frame in self.frames[run] for chunk in frame]

    def close(self) -> None:
        # The reader ends with this message.
        self.near.send(Output("", ()))
        self._reader.join()
        self.loops.close()
        self.control.close()

    def _read(self) -> None:
        while (message := self.far.receive()) != Output("", ()):
            if isinstance(message, Queued):
                self.queued.append(message.run)
                continue
            if isinstance(message, Withdrawn):
                self.withdrawn.append(message.run)
                continue
            if isinstance(message, RegisterEndpoints):
                self.registrations.append(message)
                self.runner.endpoints.on_result(message.number, self.refusal)
                continue
            assert isinstance(message, Output)
            self.frames[message.run].append(message.chunks)
            for chunk in message.chunks:
                for run, kind, function in self._reactions:
                    if run == message.run and isinstance(chunk, kind):
                        self.control.loop.call_soon_threadsafe(function)
                if isinstance(chunk, Done):
                    self.loops.get_loop().call_soon_threadsafe(self._note_end, message.run)

    def _note_end(self, run: str) -> None:
        # Only in the thread of the loop: two threads may add two events of one run.
        self._ended[run].set()
