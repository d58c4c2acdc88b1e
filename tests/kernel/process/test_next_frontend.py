"""A kernel that outlives its frontend: its process with scripted frontends, one after another."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_kernel import attach
from kernel_process import WELCOME, KernelProcess, kernel_process
from msgspec.structs import replace
from runner_bench import bodies, call

from owt.testing import wait_until
from owt.wire.chunk import Chunk, Done
from owt.wire.messages import Cell, Hello, Invoke, Output, RegisterEndpoints, RegisterResult

WINDOW = 4000


@pytest.fixture(scope="module")
def shared() -> Iterator[KernelProcess]:
    with kernel_process(replace(WELCOME, window=WINDOW)) as kernel:
        yield kernel


@pytest.fixture
def kernel(shared: KernelProcess) -> KernelProcess:
    """Return a kernel with a new frontend."""
    shared.next_frontend()
    return shared


def answer(kernel: KernelProcess, code: str, id: str = "ask") -> list[bytes]:
    """Return the bodies of a call's answer, beside which other runs may go on."""
    kernel.frontend.calls.send(Invoke(id, call(code, session="mine")))
    chunks: list[Chunk] = []
    while not (chunks and isinstance(chunks[-1], Done)):
        message = kernel.frontend.calls.receive()
        if isinstance(message, Output) and message.run == id:
            chunks += message.chunks
    return bodies(chunks)


def test_a_kernel_serves_the_next_frontend_with_its_state(kernel: KernelProcess) -> None:
    answer(kernel, "state = 42")
    pid = kernel.process.pid
    kernel.next_frontend()
    assert answer(kernel, "state") == [b"42"]
    assert answer(kernel, "import os; os.getpid()") == [str(pid).encode()]


def test_the_numbers_of_messages_go_on(kernel: KernelProcess) -> None:
    sent = kernel.frontend.hello.number + 1
    for count in range(3):
        answer(kernel, "1", f"a{count}")
    frontend = kernel.next_frontend()
    # A plain answer is one message.
    assert frontend.hello.number > sent + 3
    assert frontend.hello == Hello(number=frontend.hello.number)
    answer(kernel, "1")
    assert int.from_bytes(kernel.unsent[-8:], "little") == kernel.number + 1


def test_the_session_and_the_window_are_those_of_the_next_frontend(kernel: KernelProcess) -> None:
    kernel.next_frontend(session="other", url="http://localhost:1", window=1 << 20)
    [info] = answer(kernel, "get_ipython().kernel.kernel_info['owt']")
    assert b'"url":"http://localhost:1","session":"other"' in info
    # Without more credit.
    assert len(answer(kernel, "def run():\n    for n in range(99): yield 'x' * 400\n")) == 99


@pytest.mark.parametrize("connection", ["calls", "control"])
def test_a_frontend_that_closes_one_connection_is_gone(kernel: KernelProcess, connection: str) -> None:
    frontend = kernel.frontend
    getattr(frontend, connection).close()
    other = frontend.control if connection == "calls" else frontend.calls
    with pytest.raises((EOFError, ConnectionError)):
        other.receive()
    kernel.next_frontend()
    assert answer(kernel, "1") == [b"1"]


BLOCKED = {
    "computes": "while True: pass",
    "sleeps": "while True: time.sleep(0.01)",
    "yields": "while True: yield 'x' * 1000",
    "prints": "while True: print('x' * 1000)",
    "prints-in-a-thread": "print_in_thread()",
    "reads": "return request.stream.read()",
    "asks": "return input()",
    "prints-after-its-cancel": "print_after_cancel()",
    "awaits": "await asyncio.sleep(1000)",
    "yields-async": "while True: yield 'x' * 1000; await asyncio.sleep(0)",
    "reads-async": "async for part in request.stream: pass",
}
FUNCTIONS = """
import asyncio, threading, time
def print_in_thread():
    def work():
        while not done: print('x' * 1000)
    thread = threading.Thread(target=work, name='printer')
    thread.start()
    thread.join()
def print_after_cancel():
    try:
        while True: print('x' * 1000)
    except KeyboardInterrupt:
        print('x' * 100_000)
"""


@pytest.mark.parametrize("code", BLOCKED.values(), ids=BLOCKED)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_run_of_a_frontend_that_is_gone_is_cancelled(
    kernel: KernelProcess, code: str, concurrency: int
) -> None:
    frontend = kernel.next_frontend(window=WINDOW, concurrency=concurrency)
    answer(kernel, "import builtins; builtins.done = []")
    kind = "async def" if "async" in code else "def"
    # By its first output it is where it is cancelled, or close to it.
    first = "print('on')" if "thread" not in code else ""
    run = call(FUNCTIONS + "\n    ".join([f"{kind} run():", first, code]), sse=True)
    if "request" in code:
        run = replace(run, request=replace(run.request, method="POST", input_size=-1))
    frontend.calls.send(Invoke("a", run))
    frontend.calls.chunks(1)
    kernel.next_frontend(window=1 << 30, concurrency=concurrency)
    wait_until(lambda: kernel.next_frontend(concurrency=concurrency).hello.runs == ())
    # A thread of the run is not blocked either.
    answer(kernel, "done.append(1)")
    alive = "import threading\nany(thread.name == 'printer' for thread in threading.enumerate())"
    wait_until(lambda: answer(kernel, alive) == [b"False"])


def test_a_thread_that_prints_after_its_frontend_is_gone_ends(kernel: KernelProcess, tmp_path: Path) -> None:
    """It did not wait for credit when its run was cancelled, and the run waits for it."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    code = (
        "import threading\n"
        "def run():\n"
        "    def work():\n"
        f"        open({str(gate)!r}).read()\n"
        "        while True: print('x' * 1000)\n"
        "    thread = threading.Thread(target=work)\n"
        "    thread.start()\n"
        "    print('on')\n"
        "    thread.join()\n"
    )
    frontend = kernel.next_frontend(window=WINDOW, concurrency=4)
    frontend.calls.send(Invoke("a", call(code, sse=True)))
    frontend.calls.chunks(1)
    [run] = kernel.next_frontend(concurrency=4).hello.runs
    assert run.run == "a"
    gate.write_text("")
    wait_until(lambda: kernel.next_frontend(concurrency=4).hello.runs == ())


def test_a_call_of_a_frontend_that_is_gone_is_not_begun(kernel: KernelProcess) -> None:
    """The kernel has received it, but has other work."""
    answer(kernel, "import builtins; builtins.begun = []")
    busy = "import time\ndef run():\n    print('on')\n    while True: time.sleep(0.01)\n"
    kernel.frontend.calls.send(Invoke("busy", call(busy, sse=True)))
    kernel.frontend.calls.chunks(1)
    kernel.frontend.calls.send(Invoke("late", call("begun.append(1)")))
    kernel.next_frontend()
    assert answer(kernel, "begun") == [b"[]"]


def test_a_cell_goes_on_and_the_next_frontend_is_told(kernel: KernelProcess, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with attach(kernel.connection_file) as notebook:
        results: list[str] = []
        cell = f"print('on', flush=True)\nopen({str(gate)!r}).read()\nprint('still here')\n6 * 7"

        def run_cell() -> None:
            result = notebook(cell)
            results.append(result.stdout + result.value)

        thread = threading.Thread(target=run_cell)
        thread.start()
        assert kernel.frontend.calls.receive() == Cell(True)
        assert kernel.next_frontend().hello.in_cell
        gate.write_text("")
        assert kernel.frontend.calls.receive() == Cell(False)
        thread.join()
    assert results == ["on\nstill here\n42"]


ENDPOINT = "@endpoint('/double')\ndef double(n: int) -> int: return 2 * n\n"


def register(kernel: KernelProcess, code: str) -> list[RegisterEndpoints]:
    """Run a call that registers endpoints, and allow it. Return its requests."""
    kernel.frontend.calls.send(Invoke("r", call(code, session="mine")))
    requests = []
    while isinstance(message := kernel.frontend.calls.receive(), RegisterEndpoints):
        requests.append(message)
        kernel.frontend.control.send(RegisterResult(message.number))
    assert isinstance(message, Output)
    return requests


def test_the_next_frontend_is_told_all_endpoints(kernel: KernelProcess) -> None:
    [_, request] = register(kernel, ENDPOINT)
    announced = kernel.next_frontend().endpoints
    assert announced is not None
    assert announced.keep
    assert announced.endpoints == request.endpoints
    assert [endpoint.path for endpoint in announced.endpoints] == ["/double"]
    register(kernel, "endpoint.remove('/double')")
    announced = kernel.next_frontend().endpoints
    assert announced is not None
    assert announced.endpoints == ()


def test_a_cell_registers_endpoints_while_no_frontend_is_there(kernel: KernelProcess) -> None:
    kernel.frontend.die()
    with attach(kernel.connection_file) as notebook:
        assert notebook(ENDPOINT + "1").value == "1"
    announced = kernel.next_frontend().endpoints
    assert announced is not None
    assert [endpoint.path for endpoint in announced.endpoints] == ["/double"]
    register(kernel, "endpoint.remove('/double')")


def test_a_cell_whose_frontend_dies_before_its_answer_registers_endpoints(kernel: KernelProcess) -> None:
    with attach(kernel.connection_file) as notebook:
        values: list[str] = []
        thread = threading.Thread(target=lambda: values.append(notebook(ENDPOINT + "1").value))
        thread.start()
        assert kernel.frontend.calls.receive() == Cell(True)
        assert isinstance(kernel.frontend.calls.receive(), RegisterEndpoints)
        kernel.frontend.die()
        thread.join()
    assert values == ["1"]
    announced = kernel.next_frontend().endpoints
    assert announced is not None
    assert [endpoint.path for endpoint in announced.endpoints] == ["/double"]
    register(kernel, "endpoint.remove('/double')")


def test_the_next_frontend_gets_the_ends_of_the_pipes(kernel: KernelProcess) -> None:
    kernel.frontend.die()
    drain(kernel.channel)
    kernel.next_frontend()
    pipes = drain(kernel.channel)
    assert sorted(pipes) == [1, 2]
    # A file of the other process's pipe.
    [link] = answer(kernel, "import os; os.readlink('/proc/self/fd/2')")
    assert os.readlink(f"/proc/self/fd/{pipes[2]}").encode() == link
    for descriptor in pipes.values():
        os.close(descriptor)


def drain(channel: socket.socket) -> dict[int, int]:
    """Return the descriptors that a kernel has handed over, by the number of the stream."""
    pipes = {}
    try:
        while True:
            number, [descriptor], _, _ = socket.recv_fds(channel, 1, 1)
            if number[0] in pipes:
                os.close(pipes[number[0]])
            pipes[number[0]] = descriptor
    except BlockingIOError:
        return pipes


def test_a_frontend_that_is_gone_before_it_says_anything_is_passed_over(kernel: KernelProcess) -> None:
    kernel.frontend.die()
    near, far = socket.socketpair()
    socket.send_fds(kernel.channel, [b"\0"], [far.fileno(), far.fileno()])
    near.close()
    far.close()
    kernel.next_frontend()
    assert answer(kernel, "1") == [b"1"]


def test_frontends_follow_each_other_faster_than_the_kernel_receives_them(kernel: KernelProcess) -> None:
    for _ in range(10):
        kernel.number += 1 << 32
        for side in kernel.hand_over(replace(WELCOME, number=kernel.number)):
            side.close()
    kernel.next_frontend()
    assert answer(kernel, "1") == [b"1"]


def test_the_cleanup_command_replaces_a_kernel_whose_host_is_gone_too(tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    with kernel_process(replace(WELCOME, cleanup=("/usr/bin/touch", str(cleaned)))) as kernel:
        kernel.frontend.die()
        kernel.channel.close()
        assert kernel.process.wait(20) == 0
    assert cleaned.exists()


def test_a_frontend_that_keeps_nothing_ends_its_kernel(tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    with kernel_process(replace(WELCOME, keep=False, cleanup=("/usr/bin/touch", str(cleaned)))) as kernel:
        kernel.frontend.die()
        assert kernel.process.wait(20) == 0
    assert cleaned.exists()
