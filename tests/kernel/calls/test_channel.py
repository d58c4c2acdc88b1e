"""owt.kernel.calls.channel: both connections, and the messages on them."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from frontend_side import ConnectionMaker, FrontendSide
from IPython.core.interactiveshell import InteractiveShell
from runner_bench import Control, bodies, call

from owt.errors import WireError
from owt.kernel.calls import channel as module
from owt.kernel.calls.channel import KernelChannel
from owt.server import Server
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Data, Failed
from owt.wire.messages import Bind, Cancel, Credit, Hello, Invoke, Message, Output, Welcome

WELCOME = Welcome(
    "http://127.0.0.1:9000", "127.0.0.1", 9000, session="mine", window=2500, cleanup=("clean", "up")
)


class Kernel:
    """A kernel's channel, and the frontend's side of its connections."""

    def __init__(self, connections: ConnectionMaker, shell: InteractiveShell) -> None:
        self.connections = connections
        self.shell = shell
        self.loops = asyncio.Runner()
        self.control_thread = Control()
        self.control: FrontendSide
        self.calls: FrontendSide

    def connect(self, *first: Message) -> KernelChannel:
        """Connect a channel to which the frontend has sent these messages."""
        calls, self.calls = self.connections.pair()
        control, self.control = self.connections.pair()
        self.calls.send(*first)
        return KernelChannel(
            calls,
            control,
            shell=self.shell,
            main=self.loops.get_loop(),
            in_control=self.control_thread.loop,
        )

    def during(self, work: Callable[[], Any]) -> Any:
        """Run the main loop while `work` runs in a thread, as the frontend does."""
        return self.loops.run(asyncio.to_thread(work))

    def close(self) -> None:
        self.control_thread.close()
        self.loops.close()


@pytest.fixture
def kernel(
    connections: ConnectionMaker, shell: InteractiveShell, sigint: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kernel]:
    announced = Server._announced
    kernel = Kernel(connections, shell)
    yield kernel
    kernel.close()
    monkeypatch.setattr(Server, "_announced", announced)


def close(channel: KernelChannel) -> None:
    channel._reading.socket.close()
    channel._control.socket.close()


@pytest.fixture
def channel(kernel: Kernel) -> Iterator[KernelChannel]:
    """A channel that has started to read."""
    channel = kernel.connect(WELCOME)
    channel.start()
    assert kernel.calls.receive() == Hello()
    yield channel
    kernel.control_thread.do(kernel.control_thread.loop.remove_reader, channel._control.fileno())
    close(channel)


def test_the_welcome_names_the_server_and_the_session(channel: KernelChannel) -> None:
    assert Server.sing() == Server("http://127.0.0.1:9000", "127.0.0.1", 9000)
    assert channel.session == "mine"
    assert channel.runner.concurrency == 1


def test_another_first_message_than_a_welcome_is_an_error(kernel: Kernel) -> None:
    with pytest.raises(WireError, match="the frontend's first message is Credit, not Welcome"):
        kernel.connect(Credit("a", 1))


def test_a_call_is_run(kernel: Kernel, channel: KernelChannel) -> None:
    kernel.calls.send(Invoke("a", call("6 * 7")))
    assert bodies(kernel.during(lambda: kernel.calls.run("a"))) == [b"42"]


def test_a_call_with_a_large_body_is_run(kernel: Kernel, channel: KernelChannel) -> None:
    request = RequestFacts("POST", "/", "", (), bytes(3_000_000), "localhost")
    large = Call(request, code="def run(): return len(request.get_data())")

    def frontend() -> list[bytes]:
        kernel.calls.send(Invoke("a", large))
        return bodies(kernel.calls.run("a"))

    assert kernel.during(frontend) == [b"3000000"]


def test_bind_moves_the_kernel_to_a_session(kernel: Kernel, channel: KernelChannel) -> None:
    kernel.calls.send(Bind("other", 3), Invoke("a", call("1")))
    kernel.during(lambda: kernel.calls.run("a"))
    assert channel.session == "other"
    assert channel.runner.concurrency == 3


def test_credit_arrives_while_the_main_thread_waits_for_it(kernel: Kernel, channel: KernelChannel) -> None:
    code = "def run():\n    for n in range(9): yield 'x' * 968\n"
    kernel.calls.send(Invoke("a", call(code)))

    def frontend() -> int:
        count = 0
        while count < 9:
            message = kernel.calls.receive()
            assert isinstance(message, Output)
            count += sum(isinstance(chunk, Data) for chunk in message.chunks)
            kernel.control.send(Credit("a", 1000))
        return count

    assert kernel.during(frontend) == 9


def test_a_cancel_arrives_while_the_main_thread_computes(kernel: Kernel, channel: KernelChannel) -> None:
    kernel.calls.send(Invoke("a", call("def run():\n    yield 'on'\n    while True: pass\n")))

    def frontend() -> Any:
        head_and_data = kernel.calls.chunks(2)
        kernel.control.send(Cancel("a", "cancelled"))
        failed, _ = kernel.calls.chunks(2)
        return bodies(head_and_data), failed

    on, failed = kernel.during(frontend)
    assert on == [b"on"]
    assert isinstance(failed, Failed)
    assert failed.type == "cancelled"


def test_a_message_on_the_wrong_connection_is_an_error(
    kernel: Kernel, channel: KernelChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[BaseException] = []
    reported = threading.Event()

    def on_exception(loop: object, context: dict[str, Any]) -> None:
        problems.append(context["exception"])
        reported.set()

    for loop in (kernel.loops.get_loop(), kernel.control_thread.loop):
        loop.set_exception_handler(on_exception)
    kernel.calls.send(Cancel("a", "cancelled"))
    kernel.during(lambda: reported.wait(20))
    reported.clear()
    kernel.control.send(Invoke("a", call("1")))
    assert reported.wait(20)
    assert [str(problem) for problem in problems] == [
        "received Cancel on the connection for calls",
        "received Invoke on the connection for control",
    ]


@pytest.mark.parametrize("connection", ["calls", "control"])
def test_the_cleanup_command_replaces_a_kernel_whose_frontend_is_gone(
    kernel: Kernel, channel: KernelChannel, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = on_exit(kernel, monkeypatch, "hand_over")
    getattr(kernel, connection).close()
    assert kernel.during(lambda: commands.get(timeout=20)) == (("clean", "up"),)


@pytest.mark.parametrize("connection", ["calls", "control"])
def test_a_kernel_that_receives_no_frame_ends_only_itself(
    kernel: Kernel, channel: KernelChannel, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits = on_exit(kernel, monkeypatch, "end_process_group")
    getattr(kernel, connection).socket.sendall(b"\xff" * 20)
    assert kernel.during(lambda: exits.get(timeout=20)) == ()


def on_exit(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, name: str) -> queue.Queue[tuple[Any, ...]]:
    """Replace a function that ends the process; return a queue of the arguments of its calls."""
    calls: queue.Queue[tuple[Any, ...]] = queue.Queue()

    def end(*args: Any) -> None:
        calls.put(args)
        # No further message follows.
        raise WireError("ended")

    monkeypatch.setattr(module, name, end)
    for loop in (kernel.loops.get_loop(), kernel.control_thread.loop):
        loop.set_exception_handler(lambda loop, context: None)
    return calls
