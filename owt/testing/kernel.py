"""Scripted kernels: fakes of a kernel and of the object that starts kernels, which a test controls.

    ScriptedKernels   starts a `ScriptedKernel` at once, unless the test delays or fails the start
    ScriptedKernel    records the messages of a session; the test has it send chunks, or die

    kernels = ScriptedKernels()
    session = Session("dev", kernels=kernels, limits=limits, spec="owt")
    session.submit(run)
    kernel = await kernels.wait_for_kernel(1)
    kernel.answer(body=b"42")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from owt.errors import BadRequest, Busy, KernelDied
from owt.frontend.counters import Counters
from owt.frontend.kernels.exit import Exit, ExitKind
from owt.frontend.kernels.kernel import KernelState
from owt.frontend.kernels.kernels import NO_VARIABLES, Failure
from owt.frontend.kernels.recovery import Recovery
from owt.testing.waiting import settle
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Chunk, Data, Done, Head
from owt.wire.messages import (
    Cancel,
    ControlMessage,
    Credit,
    Forget,
    Input,
    InputEnd,
    JournalLimit,
    Keep,
    KeptRun,
    Output,
    Pong,
    RegisterResult,
    Withdraw,
    Withdrawn,
)

if TYPE_CHECKING:
    from owt.frontend.kernels.kernel import Kernel, KernelOwner

HEAD = Head(200, (("Content-Type", "text/plain"),))
"""First chunk of a result that is text."""


def new_call(code: str | None = "1", *, path: str = "/", **fields: Any) -> Call:
    """Return a call of this code; `fields` are further fields of `Call`."""
    return Call(RequestFacts("GET", path, "", (), b"", "localhost"), code=code, **fields)


class ScriptedKernel:
    """Fake of `owt.frontend.kernels.kernel.Kernel` that records what a session sends and acts for the test.

    `invoked` has the ids of the runs that were sent, `calls` their calls, `kept` those that are kept,
    `limits` the new limits of their journals, `cancelled` the ids of those that were cancelled, `credits`
    the credit of each run, `messages` the messages of `ask`, `bound` the session and the concurrency of
    `bind`, `killed` the reason of `kill`, `pings` the number of pings. The first cancel sets
    `cancel_received`. `unhandled` is the number of newest messages that it does not handle.
    `usage` returns `noted`. `ready` is done when the kernel of an earlier frontend has answered, for whose
    pool it was started if it has an `edition`; `is_alive` is then False if it has died meanwhile.
    """

    ready: asyncio.Future[None]

    def __init__(self, id: str, spec: str, session: str | None, owner: KernelOwner) -> None:
        self.id = id
        self.spec = spec
        self.session = session
        self.owner = owner
        self.alive = True
        self.exit: Exit | None = None
        self.pid: int | None = None
        self.connection_file: str | None = None
        self.in_cell = False
        self.last_cell: float | None = None
        self.on_runs: Callable[[tuple[KeptRun, ...]], None] = lambda runs: None
        self.is_stopped = False
        self.kept_seconds = 0.0
        self.noted = (0, 0.0)
        self.edition = b""
        self.is_alive = True
        self.invoked: list[str] = []
        self.calls: list[Call] = []
        self.kept: dict[str, Keep] = {}
        self.limits: dict[str, int] = {}
        self.cancelled: list[str] = []
        self.credits: list[tuple[str, int]] = []
        self.messages: list[Withdraw | RegisterResult | Input | InputEnd] = []
        self.pings = 0
        self.unhandled = 0
        self.newest_sent = 0
        self.bound: tuple[str | None, int] | None = None
        self.killed: str | None = None
        self.interrupts = 0
        self.cancel_received = asyncio.Event()
        self._closed = asyncio.Event()

    # Interface for a session

    def usage(self) -> tuple[int, float]:
        """Return what was noted for the next frontend: a number of calls, and the time of the last."""
        return self.noted

    @property
    def state(self) -> KernelState:
        """State of the kernel."""
        return KernelState.READY if self.alive else KernelState.ENDING

    def memory(self) -> int | None:
        """Return None: the kernel has no process."""
        return None

    def invoke(self, run: str, call: Call, keep: Keep | None = None, *, later: bool = False) -> None:
        """Record a call."""
        if keep is not None:
            self.kept[run] = keep
        self.newest_sent += 1
        self.invoked.append(run)
        self.calls.append(call)

    def bind(self, session: str | None, concurrency: int, owner: KernelOwner) -> None:
        """Record the session that the kernel belongs to from now on."""
        self.session = session
        self.owner = owner
        self.bound = (session, concurrency)

    def credit(self, run: str, size: int) -> None:
        """Record credit for a run, in bytes."""
        self.credits.append((run, size))

    def ping(self) -> None:
        """Count a request for a `Pong`; the test decides when it comes."""
        self.newest_sent += 1
        self.pings += 1

    def newest_handled(self) -> int:
        """Return the number of the message before the newest `unhandled` ones."""
        return self.newest_sent - self.unhandled

    def ask(self, message: ControlMessage) -> None:
        """Record a control message; the test decides when a run that is cancelled ends."""
        if isinstance(message, Cancel):
            self.cancelled.append(message.run)
            self.cancel_received.set()
        elif isinstance(message, Forget):
            del self.kept[message.run]
        elif isinstance(message, JournalLimit):
            self.limits[message.run] = message.size
        else:
            self.messages.append(message)

    def stopped(self) -> bool:
        """Return `is_stopped`, which the test sets."""
        return self.is_stopped

    async def interrupt(self) -> None:
        """Count an interrupt."""
        self.interrupts += 1

    def kill(self, reason: str, kind: ExitKind = ExitKind.REQUESTED) -> None:
        """Record the reason, and die of it in the next step of the event loop."""
        self.killed = reason
        asyncio.get_running_loop().call_soon(self.die, reason, kind)

    async def closed(self) -> None:
        """Wait until the kernel has died."""
        await self._closed.wait()

    # Interface for a test

    def send(self, *chunks: Chunk, run: str | None = None) -> None:
        """Send chunks of a run, by default of the newest."""
        self.owner.received(Output(run or self.invoked[-1], chunks))

    def answer(self, run: str | None = None, body: bytes = b"") -> None:
        """Send a complete result of a run, by default of the newest."""
        self.send(HEAD, Data(body, "text", result=True), Done(200, 0.0), run=run)

    def request_input(self, size: int = 1 << 20, run: str | None = None) -> None:
        """Permit `size` bytes of the input of a run, by default of the newest."""
        self.owner.received(Credit(run or self.invoked[-1], size))

    def withdraw(self, run: str | None = None) -> None:
        """Report that the newest run has not begun, because something blocks the main thread."""
        self.owner.received(Withdrawn(self.invoked[-1] if run is None else run))

    def pong(self) -> None:
        """Report that the main thread receives calls."""
        self.owner.received(Pong())

    def reconnect(self, *runs: KeptRun) -> None:
        """Answer the new frontend: the kernel has these runs."""
        self.alive = True
        self.on_runs(runs)
        self.ready.set_result(None)

    def disconnect(self) -> None:
        """Lose the connection while the reason is not known yet; `die` follows."""
        self.alive = False

    def die(self, reason: str = "died", kind: ExitKind = ExitKind.CRASHED) -> None:
        """End, and report the reason."""
        self.alive = False
        self.exit = Exit(kind, reason=reason)
        self.owner.kernel_died(cast("Kernel", self), self.exit)
        self._closed.set()


class ScriptedKernels:
    """Fake of `owt.frontend.kernels.kernels.Kernels` that starts scripted kernels for these kernelspecs.

    A start waits for the event `may_start`, which is set at first. It raises `start_error` if there is one:
    always, or the first `max_failures` times. `starts` counts the starts. `check_room` raises `busy` if it
    is set. `on_start` is called with each new kernel. `all` has every kernel, in order. `kept` has the
    kernels of an earlier frontend that no session has yet.
    """

    def __init__(self, *specs: str) -> None:
        self.all: list[ScriptedKernel] = []
        self.kept: dict[str, ScriptedKernel] = {}
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.start_error: Exception | None = None
        self.max_failures: int | None = None
        self.busy: Busy | None = None
        self.starts = 0
        self.on_start: Callable[[ScriptedKernel], object] = lambda kernel: None
        self.failures: dict[str, Failure] = {}
        self.preparing = False
        self.host = None
        self.preload_problems: tuple[str, ...] = ()
        self.counters = Counters()
        self.recovery = Recovery()
        self._specs = specs or ("owt",)
        self._started = asyncio.Event()

    def current(self) -> list[ScriptedKernel]:
        """Return the kernels that are alive."""
        return [kernel for kernel in self.all if kernel.alive]

    def check_spec(self, name: str) -> None:
        """Raise `BadRequest` unless there is a kernelspec of this name."""
        if name not in self._specs:
            raise BadRequest("kernel", "there is no such kernelspec", name)

    def check_room(self) -> None:
        """Raise `busy` if the test has set it."""
        if self.busy:
            raise self.busy

    async def start(
        self,
        spec: str,
        session: str | None,
        concurrency: int,
        owner: KernelOwner,
        env: Mapping[str, str] = NO_VARIABLES,
        cwd: str | None = None,
    ) -> ScriptedKernel:
        """Start a kernel, or raise `start_error`."""
        await self.may_start.wait()
        self.starts += 1
        if self.start_error and (self.max_failures is None or self.starts <= self.max_failures):
            if isinstance(self.start_error, KernelDied):
                self.failures[spec] = Failure(str(self.start_error), time.monotonic())
            raise self.start_error
        self.failures.pop(spec, None)
        kernel = ScriptedKernel(f"k{len(self.all) + 1}", spec, session, owner)
        kernel.ready = asyncio.get_running_loop().create_future()
        kernel.ready.set_result(None)
        self.all.append(kernel)
        self.on_start(kernel)
        self._started.set()
        return kernel

    def edition(self, spec: str) -> bytes:
        """Return the edition of the pool, `now`."""
        return b"now"

    def number_from(self, ids: Iterable[str]) -> None:
        """Do nothing: a test gives the kernels that are kept other ids."""

    async def resume(
        self, id: str, spec: str, session: str | None, concurrency: int, owner: KernelOwner
    ) -> ScriptedKernel | None:
        """Return the kernel of `kept` with this id, which has not answered yet, or None."""
        if (kernel := self.kept.pop(id, None)) is not None:
            kernel.owner, kernel.alive = owner, False
            kernel.ready = asyncio.get_running_loop().create_future()
            self.recovery.expect(kernel)
        return kernel

    async def wait_for_kernel(self, number: int) -> ScriptedKernel:
        """Wait until `number` kernels have been started, and return the last one. Raises TimeoutError."""
        async with asyncio.timeout(10):
            while len(self.all) < number:
                self._started.clear()
                await self._started.wait()
            await settle()
        return self.all[-1]
