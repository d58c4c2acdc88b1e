"""owt.kernel.calls.channel: both lanes, and what comes by them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from lanes import KEY, FarEnd, Listening
from running import Control, bodies, call

from owt.errors import WireError
from owt.kernel.calls import channel as module
from owt.kernel.calls.channel import KernelChannel
from owt.server import Server
from owt.wire.chunk import Data, Failed
from owt.wire.messages import Bind, Cancel, Credit, Hello, Invoke, Message, Output, Welcome

WELCOME = Welcome("http://127.0.0.1:9000", "127.0.0.1", 9000, session="mine", window=2500)


class Kernel:
    """A kernel's channel, and the frontend's ends of its lanes."""

    def __init__(self, door: Listening, shell: InteractiveShell) -> None:
        self.door = door
        self.shell = shell
        self.loops = asyncio.Runner()
        self.control_thread = Control()
        self.control: FarEnd
        self.calls: FarEnd
        self.problems: list[Any] = []

    def connect(self, *first: Message) -> KernelChannel:
        """Connect; the frontend's first messages are these."""

        def control(far: FarEnd) -> None:
            self.control = far
            far.send(WELCOME)

        def calls(far: FarEnd) -> None:
            self.calls = far
            far.send(*first)

        thread = self.door.accepting(control, calls)
        try:
            return KernelChannel(
                door=self.door.path,
                kernel_id="k1",
                key=KEY,
                shell=self.shell,
                main=self.loops.get_loop(),
                in_control=self.control_thread.loop,
            )
        finally:
            thread.join()

    def during(self, work: Callable[[], Any]) -> Any:
        """Run the main loop while `work` runs in a thread, as the frontend does."""
        return self.loops.run(asyncio.to_thread(work))

    def close(self) -> None:
        self.control_thread.close()
        self.loops.close()


@pytest.fixture
def kernel(
    door: Listening, shell: InteractiveShell, sigint: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kernel]:
    announced = Server._announced
    kernel = Kernel(door, shell)
    yield kernel
    kernel.close()
    monkeypatch.setattr(Server, "_announced", announced)


def close(channel: KernelChannel) -> None:
    channel._calls._socket.close()
    channel._control._socket.close()


@pytest.fixture
def channel(kernel: Kernel) -> Iterator[KernelChannel]:
    """A channel that has begun to read."""
    channel = kernel.connect(WELCOME)
    channel.start()
    yield channel
    kernel.control_thread.do(kernel.control_thread.loop.remove_reader, channel._control.fileno())
    close(channel)


def test_both_lanes_say_hello(kernel: Kernel, channel: KernelChannel) -> None:
    assert kernel.control.lane == "control"
    assert kernel.calls.lane == "calls"
    assert kernel.calls.hello == Hello("k1", "calls", kernel.control.hello.pid)


def test_the_welcome_says_where_the_server_is(channel: KernelChannel) -> None:
    assert Server.sing() == Server("http://127.0.0.1:9000", "127.0.0.1", 9000)
    assert channel.session == "mine"
    assert channel.runner.concurrency == 1


# The process ends here, and its sockets with it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_frontend_that_begins_otherwise_is_a_wire_error(kernel: Kernel) -> None:
    with pytest.raises(WireError, match="began with Credit, not with Welcome"):
        kernel.connect(Credit("a", 1))


def test_a_call_is_run(kernel: Kernel, channel: KernelChannel) -> None:
    kernel.calls.send(Invoke("a", call("6 * 7")))
    assert bodies(kernel.during(lambda: kernel.calls.run("a"))) == [b"42"]


def test_a_call_that_came_with_the_welcome_is_run(kernel: Kernel) -> None:
    channel = kernel.connect(WELCOME, Invoke("a", call("6 * 7")), Invoke("b", call("'b'")))

    def work() -> list[bytes]:
        return bodies(kernel.calls.run("a")) + bodies(kernel.calls.run("b"))

    async def main() -> list[bytes]:
        channel.start()
        return await asyncio.to_thread(work)

    assert kernel.loops.run(main()) == [b"42", b"b"]
    kernel.control_thread.do(kernel.control_thread.loop.remove_reader, channel._control.fileno())
    close(channel)


def test_a_bind_gives_the_kernel_to_a_session(kernel: Kernel, channel: KernelChannel) -> None:
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


def test_a_message_of_the_wrong_lane_is_a_wire_error(
    kernel: Kernel, channel: KernelChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[BaseException] = []
    told = threading.Event()

    def take(loop: object, context: dict[str, Any]) -> None:
        problems.append(context["exception"])
        told.set()

    for loop in (kernel.loops.get_loop(), kernel.control_thread.loop):
        loop.set_exception_handler(take)
    kernel.calls.send(Cancel("a", "cancelled"))
    kernel.during(lambda: told.wait(20))
    told.clear()
    kernel.control.send(Invoke("a", call("1")))
    assert told.wait(20)
    assert [str(problem) for problem in problems] == [
        "Cancel has no place on the calls lane",
        "Invoke has no place on the control lane",
    ]


@pytest.mark.parametrize("lane", ["calls", "control"])
def test_a_kernel_whose_frontend_is_gone_leaves(
    kernel: Kernel, channel: KernelChannel, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    told = threading.Event()

    def leave(door: str) -> None:
        left.append(door)
        told.set()
        # Nothing comes after it.
        raise WireError("left")

    monkeypatch.setattr(module, "leave", leave)
    for loop in (kernel.loops.get_loop(), kernel.control_thread.loop):
        loop.set_exception_handler(lambda loop, context: None)
    getattr(kernel, lane).close()
    kernel.during(lambda: told.wait(20))
    assert left[0] == kernel.door.path
