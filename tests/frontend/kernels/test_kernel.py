"""owt.frontend.kernels.kernel: the states of a kernel, with a fake of jupyter_client's manager."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest
from jupyter_client.manager import KernelManager

from owt.errors import KernelDied, KernelKilled, KernelNotReady
from owt.frontend.endpoints import Endpoints
from owt.frontend.kernels import kernel as module
from owt.frontend.kernels.exit import Exit, ExitKind
from owt.frontend.kernels.kernel import Kernel, KernelState, OwtKernelManager
from owt.frontend.kernels.process import wait_until_gone
from owt.testing import async_test, settle
from owt.testing.kernel import new_call
from owt.wire.chunk import Done, Stdout
from owt.wire.endpoint import Endpoint
from owt.wire.messages import (
    PROTOCOL,
    Accepted,
    Bind,
    Cancel,
    Cell,
    Credit,
    Forget,
    Hello,
    Invoke,
    Keep,
    KeptRun,
    Message,
    Output,
    Queued,
    RegisterEndpoints,
    RegisterResult,
    Welcome,
    encode,
    message_decoder,
)

WELCOME = Welcome("http://localhost:9876", "localhost", 9876, session="s")
OUTPUT = Output("a", (Done(200, 0.5),))


class FakeProvisioner:
    """A provisioner of one process, which leads a group of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = self.pgid = process.pid
        self.has_process = True

    async def poll(self) -> int | None:
        return self.process.poll()

    async def kill(self) -> None:
        self.process.kill()

    async def wait(self) -> None:
        self.process.wait(20)
        self.has_process = False


class FakeTemplate:
    """A template that records what it has to kill, and what it need not keep any more."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, bool]] = []
        self.released: list[str] = []

    def kill_rest(self, mark: str, forked: bool) -> None:
        self.marks.append((mark, forked))

    def release(self, name: str) -> None:
        self.released.append(name)


class FakeManager:
    """Attributes of a kernel manager that a kernel uses."""

    def __init__(self, folder: str) -> None:
        self.session = SimpleNamespace(key=b"key")
        self.connection_file = os.path.join(folder, "kernel.json")
        Path(self.connection_file).touch()
        self.provisioner: FakeProvisioner | None = None
        self.template: FakeTemplate | None = None
        self.main_template: FakeTemplate | None = None
        self.cleanups = 0

    async def cleanup_resources(self) -> None:
        self.cleanups += 1


class Session:
    """An owner that records what it gets."""

    def __init__(self) -> None:
        self.messages: list[Output | Queued] = []
        self.exits: list[Exit] = []
        self.died = asyncio.Event()

    def received(self, message: Output | Queued) -> None:
        self.messages.append(message)

    def kernel_died(self, kernel: Kernel, exit: Exit) -> None:
        self.exits.append(exit)
        self.died.set()


class Side:
    """The kernel's side of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.setblocking(False)
        self._decoder = message_decoder()
        self._pending: list[Message] = []

    def send(self, *messages: Message) -> None:
        self.socket.sendall(b"".join(buffer for message in messages for buffer in encode(message)))

    async def receive(self) -> Message:
        loop = asyncio.get_running_loop()
        while not self._pending:
            self._pending += self._decoder.feed(await loop.sock_recv(self.socket, 1 << 16))
        return self._pending.pop(0)


class Stage:
    """A kernel whose process is `sleep`, and whose messages the test sends."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.manager = FakeManager(folder)
        self.session = Session()
        self.endpoints = Endpoints()
        self.kernel = Kernel(
            "k1", "owt", cast(OwtKernelManager, self.manager), WELCOME, self.session, self.endpoints
        )

    async def start(self) -> None:
        """Start the process and make the connections."""
        with await self.kernel.connect() as connections:
            _, descriptors, _, _ = socket.recv_fds(connections, 1, 2)
        self.calls, self.control = (Side(socket.socket(fileno=descriptor)) for descriptor in descriptors)
        process = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # noqa: ASYNC220
        self.manager.provisioner = FakeProvisioner(process)
        self.process = process
        self.kernel.watch()

    async def ready(self) -> None:
        """Start the kernel, and report that it is ready."""
        await self.start()
        self.calls.send(Hello())
        await self.kernel.ready

    async def ended(self) -> Exit:
        """Wait for the end of all processes, and return the one exit that the session got."""
        await self.session.died.wait()
        await self.kernel.closed()
        [exit] = self.session.exits
        assert self.kernel.exit is exit
        assert self.kernel.state is KernelState.ENDED
        assert self.process.returncode is not None
        assert self.manager.cleanups == 1
        assert os.listdir(self.folder) == []
        return exit


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    with TemporaryDirectory() as folder:
        stage = Stage(folder)
        try:
            async with asyncio.timeout(20):
                yield stage
        finally:
            stage.kernel.kill("was left by a test")
            await stage.kernel.closed()
            for side in (stage.calls, stage.control):
                side.socket.close()


@async_test
async def test_a_kernel_is_ready_after_its_hello() -> None:
    async with staged() as stage:
        await stage.start()
        assert await stage.calls.receive() == WELCOME
        assert stage.kernel.state is KernelState.STARTING
        assert not stage.kernel.alive
        stage.calls.send(Hello())
        await stage.kernel.ready
        assert stage.kernel.state is KernelState.READY
        assert stage.kernel.alive
        assert stage.kernel.pid == stage.process.pid


@async_test
async def test_a_kernel_of_another_version_is_killed() -> None:
    async with staged() as stage:
        await stage.start()
        stage.calls.send(Hello(PROTOCOL + 1))
        with pytest.raises(KernelNotReady, match="install the same version of owt"):
            await stage.kernel.ready
        assert (await stage.ended()).kind is ExitKind.CRASHED


@async_test
async def test_runs_of_an_earlier_frontend_come_before_their_output() -> None:
    async with staged() as stage:
        await stage.start()
        events: list[object] = []
        stage.kernel.on_runs = lambda runs: events.append((runs, list(stage.session.messages)))
        run = KeptRun("a", new_call(), Keep(1, 2.5), 1001.0)
        stage.calls.send(Hello(number=7, in_cell=True, runs=(run,)), OUTPUT)
        await stage.kernel.ready
        while not stage.session.messages:
            await settle()
        assert events == [((run,), [])]
        assert stage.session.messages == [OUTPUT]
        assert stage.kernel.in_cell


@async_test
async def test_a_call_is_kept_until_it_is_to_be_forgotten() -> None:
    async with staged() as stage:
        await stage.ready()
        keep = Keep(1000, 2.5)
        stage.kernel.invoke("a", new_call(), keep)
        assert [await stage.calls.receive() for _ in range(2)] == [WELCOME, Invoke("a", new_call(), keep)]
        stage.calls.send(Accepted("a"))
        stage.kernel.ask(Forget("a"))
        assert await stage.control.receive() == Forget("a")
        while not stage.session.messages:
            await settle()
        assert stage.session.messages == [Accepted("a")]


@async_test
async def test_calls_and_control_messages_use_their_own_connections() -> None:
    async with staged() as stage:
        await stage.ready()
        assert await stage.calls.receive() == WELCOME
        stage.kernel.invoke("a", new_call())
        stage.kernel.credit("a", 10)
        stage.kernel.ask(Cancel("a", "timeout"))
        assert await stage.calls.receive() == Invoke("a", new_call())
        assert [await stage.control.receive() for _ in range(2)] == [Credit("a", 10), Cancel("a", "timeout")]


@async_test
async def test_output_reaches_the_owner_that_the_kernel_is_bound_to() -> None:
    async with staged() as stage:
        await stage.ready()
        other = Session()
        stage.calls.send(OUTPUT)
        while not stage.session.messages:
            await settle()
        stage.kernel.bind("t", 2, other)
        assert [await stage.calls.receive() for _ in range(2)] == [WELCOME, Bind("t", 2)]
        stage.calls.send(Queued("a"))
        while not other.messages:
            await settle()
        assert (stage.session.messages, other.messages) == ([OUTPUT], [Queued("a")])
        stage.session.died = other.died
        stage.session.exits = other.exits


@async_test
async def test_a_cell_is_noted_with_its_time() -> None:
    async with staged() as stage:
        await stage.ready()
        stage.calls.send(Cell(True))
        while not stage.kernel.in_cell:
            await settle()
        assert stage.kernel.last_cell is not None
        stage.calls.send(Cell(False))
        while stage.kernel.in_cell:
            await settle()


@async_test
async def test_endpoints_are_registered_for_the_session_and_end_with_the_kernel() -> None:
    async with staged() as stage:
        await stage.ready()
        stage.calls.send(RegisterEndpoints(7, (Endpoint("/a", ("GET",), "f"),)))
        assert await stage.control.receive() == RegisterResult(7)
        [entry] = stage.endpoints.all()
        assert (entry.session, entry.kernel, entry.gone) == ("s", "k1", None)
        stage.kernel.kill("was restarted on request")
        await stage.ended()
        [entry] = stage.endpoints.all()
        assert entry.gone == "was restarted on request"


@pytest.mark.parametrize("message", [OUTPUT, Cell(True), RegisterEndpoints(1, ()), WELCOME])
@async_test
async def test_a_message_before_the_hello_kills_the_kernel(message: Message) -> None:
    async with staged() as stage:
        await stage.start()
        stage.calls.send(message)
        exit = await stage.ended()
        assert f"invalid message (kernel k1 sent {type(message).__name__} out of order)" in str(exit)
        assert exit.kind is ExitKind.CRASHED


@async_test
async def test_the_process_is_killed_before_its_connection_is_closed() -> None:
    """A kernel whose connection ends assumes that the frontend has ended, and cleans up after the server."""
    async with staged() as stage:
        await stage.ready()
        stage.calls.socket.sendall(b"\xff" * 20)
        loop = asyncio.get_running_loop()
        while await loop.sock_recv(stage.calls.socket, 1000):
            pass
        assert stage.process.wait(20) == -signal.SIGKILL
        await stage.ended()


@async_test
async def test_kill_ends_the_process_and_tells_the_owner_why() -> None:
    async with staged() as stage:
        await stage.ready()
        stage.kernel.kill("did not stop", ExitKind.STUCK)
        stage.kernel.kill("was restarted on request")
        assert stage.kernel.state is KernelState.ENDING
        assert await stage.ended() == Exit(ExitKind.STUCK, reason="did not stop")
        assert stage.process.returncode == -signal.SIGKILL


@async_test
async def test_the_template_kills_what_a_kernel_has_left_behind() -> None:
    async with staged() as stage:
        manager = cast("FakeManager", stage.kernel.manager)
        manager.main_template = FakeTemplate()
        await stage.ready()
        stage.kernel.kill("was restarted on request")
        await stage.ended()
        await stage.kernel.closed()
        assert manager.main_template.marks == [(stage.kernel.mark, False)]


@async_test
async def test_the_exit_status_of_a_process_that_ends_is_reported() -> None:
    async with staged() as stage:
        await stage.ready()
        stage.process.terminate()
        assert await stage.ended() == Exit(ExitKind.CRASHED, -signal.SIGTERM)


@async_test
async def test_output_sent_before_the_end_arrives_before_the_end() -> None:
    async with staged() as stage:
        await stage.ready()
        sent = [Stdout(str(number) * 500) for number in range(100)]
        stage.process.kill()
        await wait_until_gone(stage.manager.provisioner)
        stage.calls.send(*(Output("a", (chunk,)) for chunk in sent))
        stage.calls.socket.close()
        await stage.session.died.wait()
        messages = stage.session.messages
        assert [chunk for message in messages for chunk in message.chunks] == sent


@async_test
async def test_a_process_that_closes_a_connection_is_killed_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EXIT_TIMEOUT", 0.01)
    async with staged() as stage:
        await stage.ready()
        stage.control.socket.close()
        assert str(await stage.ended()) == "closed its connection to the server"
        assert stage.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGKILL, KernelKilled), (signal.SIGTERM, KernelKilled), (None, KernelNotReady)],
)
@async_test
async def test_the_end_before_the_hello_fails_the_start(number: int | None, error: type[KernelDied]) -> None:
    async with staged() as stage:
        await stage.start()
        if number is None:
            stage.kernel.kill("was not ready 60 s after its start", ExitKind.NOT_READY)
        else:
            stage.process.send_signal(number)
        with pytest.raises(error, match="before it was ready; what it wrote is in") as caught:
            await stage.kernel.ready
        assert type(caught.value) is error
        assert caught.value.reason == str(caught.value).replace("the kernel ", "", 1)
        assert (await stage.ended()).kind is ExitKind.NOT_READY


@async_test
async def test_a_start_without_connections_ends_with_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_TIMEOUT", 0)
    async with staged() as stage:
        await stage.start()
        for side, connection in ((stage.calls, stage.kernel._calls), (stage.control, stage.kernel._control)):
            side.socket.close()
            assert connection is not None
            await connection.ended.wait()
        assert stage.kernel.state is KernelState.STARTING
        stage.kernel.kill("cannot run calls", ExitKind.NOT_READY)
        with pytest.raises(KernelNotReady, match="cannot run calls"):
            await stage.kernel.ready
        assert (await stage.ended()).reason == "cannot run calls"


@async_test
async def test_a_failing_provisioner_does_not_keep_calls_waiting(caplog: pytest.LogCaptureFixture) -> None:
    async with staged() as stage:
        await stage.ready()
        provisioner = cast(Any, stage.manager.provisioner)

        async def fail() -> int:
            raise OSError("no answer")

        provisioner.poll = fail
        stage.process.terminate()
        await stage.session.died.wait()
        await stage.kernel.closed()
        assert stage.session.exits == [Exit(ExitKind.CRASHED)]
        # The provisioner has not, and a process that nothing waits for is reported.
        stage.process.wait()
    assert "no answer" in caplog.text


@async_test
async def test_the_manager_opens_no_control_socket() -> None:
    """If this fails after an update of jupyter_client, look at `KernelManager._connect_control_socket` and
    whether `_async_post_start_kernel` still calls it; without the override each kernel costs a descriptor."""
    assert hasattr(KernelManager, "_connect_control_socket")
    manager = OwtKernelManager()
    manager._connect_control_socket()
    assert manager._control_socket is None
