"""Runs that outlive their frontend: a kernel's process with scripted frontends, one after another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from frontend_side import FrontendSide
from kernel_process import WELCOME, KernelProcess, kernel_process
from msgspec.structs import replace
from runner_bench import bodies, call

from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Done, Failed, Head, Prompt, Stdout, size
from owt.wire.journal import Journal
from owt.wire.messages import (
    Accepted,
    Cancel,
    Credit,
    Forget,
    Input,
    InputEnd,
    Invoke,
    JournalLimit,
    Keep,
    KeptRun,
    Output,
    Withdraw,
    Withdrawn,
)

WINDOW = 4000
KEEP = Keep(1 << 20, 1000.5, "ada", 7, b"digest")


@pytest.fixture(scope="module")
def shared() -> Iterator[KernelProcess]:
    with kernel_process(replace(WELCOME, window=WINDOW)) as kernel:
        yield kernel


@pytest.fixture
def kernel(shared: KernelProcess) -> Iterator[KernelProcess]:
    """Return a kernel with a new frontend, and without kept runs."""
    shared.next_frontend()
    yield shared
    for run in shared.next_frontend(window=1 << 40).hello.runs:
        shared.frontend.control.send(Cancel(run.run, "cancelled"), Credit(run.run, 1 << 40))
        rest(shared.frontend.calls, run.run)
        shared.frontend.control.send(Forget(run.run))
    assert shared.next_frontend().hello.runs == ()


def start(kernel: KernelProcess, code: str, id: str = "a", keep: Keep = KEEP, **fields: Any) -> Call:
    """Send a call of a run that is kept."""
    run = call(code, session="mine", **fields)
    kernel.frontend.calls.send(Invoke(id, run, keep))
    assert kernel.frontend.calls.receive() == Accepted(id)
    return run


def rest(calls: FrontendSide, id: str) -> list[Chunk]:
    """Return what comes of a run until its end, beside other runs."""
    chunks: list[Chunk] = []
    while not (chunks and isinstance(chunks[-1], Done)):
        message = calls.receive()
        if isinstance(message, Output) and message.run == id:
            chunks += message.chunks
    return chunks


def gated(folder: Path, before: str, after: str) -> tuple[str, Path]:
    """Return the code of a generator that waits for a gate between these statements, and the gate."""
    gate = folder / "gate"
    os.mkfifo(gate)
    return f"def run():\n    {before}\n    open({str(gate)!r}).read()\n    {after}\n", gate


def test_a_run_goes_on_and_the_next_frontend_gets_all_of_it(kernel: KernelProcess, tmp_path: Path) -> None:
    code, gate = gated(tmp_path, "print('on'); yield 1", "yield 2; return 3")
    sent = start(kernel, code, sse=True)
    first = kernel.frontend.calls.chunks(3)
    assert [type(chunk) for chunk in first] == [Stdout, Head, Data]
    frontend = kernel.next_frontend()
    [run] = frontend.hello.runs
    assert run == KeptRun("a", sent, KEEP, started=run.started)
    assert run.started is not None
    assert frontend.calls.chunks(3) == first
    gate.write_text("")
    assert bodies(rest(frontend.calls, "a")) == [b"2", b"3"]


def test_a_run_that_ends_without_a_frontend_is_told_and_forgotten_on_request(
    kernel: KernelProcess, tmp_path: Path
) -> None:
    code, gate = gated(tmp_path, "yield 1", "yield 2")
    start(kernel, code, sse=True)
    kernel.frontend.calls.chunks(2)
    kernel.frontend.die()
    gate.write_text("")
    chunks = rest(kernel.next_frontend().calls, "a")
    assert bodies(chunks) == [b"1", b"2"]
    frontend = kernel.next_frontend()
    [run] = frontend.hello.runs
    # Its code is not needed any more.
    assert (run.call.code, run.call.session, run.call.sse) == (None, "mine", True)
    assert run.keep == KEEP
    assert rest(frontend.calls, "a") == chunks
    frontend.control.send(Forget("a"))
    assert kernel.next_frontend().hello.runs == ()


@pytest.mark.parametrize("is_over", [False, True])
def test_a_smaller_limit_drops_what_is_kept_of_a_run(
    kernel: KernelProcess, tmp_path: Path, is_over: bool
) -> None:
    code, gate = gated(tmp_path, "print('x' * 99); yield from ('x' * 872 for _ in range(50))", "return 1")
    start(kernel, code, detach=True)
    first = kernel.frontend.calls.chunks(52)
    if is_over:
        gate.write_text("")
        first += rest(kernel.frontend.calls, "a")
    kernel.frontend.control.send(JournalLimit("a", 3000))
    frontend = kernel.next_frontend()
    [run] = frontend.hello.runs
    assert run.keep == replace(KEEP, journal=3000)
    assert (run.ended is not None) == is_over
    assert 0 < sum(map(size, frontend.calls.chunks(len(first) - run.dropped.count))) <= 3000
    if not is_over:
        gate.write_text("")
        assert rest(frontend.calls, "a")[-1] != first[-1]


def test_a_run_waits_for_the_credit_of_the_next_frontend(kernel: KernelProcess) -> None:
    start(kernel, "def run():\n    for n in range(20): yield 'x' * 872\n", sse=True)
    first = kernel.frontend.calls.chunks(5)
    kernel.frontend.control.send(Credit("a", 2000))
    first += kernel.frontend.calls.chunks(2)
    frontend = kernel.next_frontend()
    [run] = frontend.hello.runs
    assert run.granted == 2000
    # Nothing is dropped, and nothing more was sent: the window and the credit are used up.
    assert frontend.calls.chunks(7) == first
    frontend.control.send(Credit("a", 1 << 20))
    assert len(bodies(rest(frontend.calls, "a"))) == 14


def test_a_detached_run_waits_for_nobody(kernel: KernelProcess, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    os.mkfifo(ended)
    code = f"def run():\n    for n in range(40): print('x' * 999)\n    open({str(ended)!r}, 'w').close()\n"
    start(kernel, code, detach=True)
    kernel.frontend.die()
    ended.read_text()
    chunks = rest(kernel.next_frontend().calls, "a")
    assert sum(len(chunk.text) for chunk in chunks if isinstance(chunk, Stdout)) == 40_000


@pytest.mark.parametrize("media", ["text/plain", "text/event-stream"])
def test_the_oldest_chunks_beyond_the_limit_are_counted_and_dropped(
    kernel: KernelProcess, media: str
) -> None:
    """At the same positions as in the frontend's journal, which cuts event streams."""
    code = (
        "from flask import Response\n"
        "def run():\n    def items():\n        for n in range(300): yield f'data: {n}\\n\\ndata: half'\n"
        f"    return Response(items(), mimetype={media!r})\n"
    )
    start(kernel, code, keep=replace(KEEP, journal=5000), detach=True)
    whole = Journal()
    whole.extend(rest(kernel.frontend.calls, "a"))
    assert (whole.end > 600) == (media == "text/event-stream")
    frontend = kernel.next_frontend()
    [run] = frontend.hello.runs
    assert run.dropped.count > 100
    assert run.dropped.bytes == whole.bytes_before(run.dropped.count)
    assert run.dropped.head == whole.head
    again = Journal.after(run.dropped)
    again.extend(rest(frontend.calls, "a"))
    assert again.bytes <= 5000 + size(Done(200, 0))
    whole.trim(again.bytes, whole.end)
    assert again.chunks == whole.chunks
    assert again.dropped == whole.dropped
    assert again.end == whole.end


def test_chunks_that_no_reader_has_taken_are_not_dropped(kernel: KernelProcess) -> None:
    start(kernel, "def run():\n    for n in range(9): yield 'x' * 872\n", keep=replace(KEEP, journal=1))
    kernel.frontend.calls.chunks(5)
    kernel.frontend.control.send(Credit("a", 2200))
    kernel.frontend.calls.chunks(2)
    frontend = kernel.next_frontend()
    [run] = frontend.hello.runs
    # The head and two items.
    assert run.dropped.count in (2, 3)
    assert run.dropped.bytes <= 2200 == run.granted
    frontend.control.send(Credit("a", 1 << 20))
    assert len(rest(frontend.calls, "a")) == 11 - run.dropped.count


def test_a_run_that_has_not_begun_runs_once(kernel: KernelProcess, tmp_path: Path) -> None:
    code, gate = gated(tmp_path, "yield 1", "yield 2")
    start(kernel, code, sse=True)
    kernel.frontend.calls.chunks(2)
    later = call("import builtins\nbuiltins.count = getattr(builtins, 'count', 0) + 1\ncount", session="mine")
    kernel.frontend.calls.send(Invoke("b", later, KEEP))
    frontend = kernel.next_frontend()
    # The main thread is busy, so the kernel has not received it: the frontend's record has it.
    assert [run.run for run in frontend.hello.runs] == ["a"]
    frontend.calls.send(Invoke("b", later, KEEP))
    gate.write_text("")
    rest(frontend.calls, "a")
    assert bodies(rest(frontend.calls, "b")) == [b"1"]
    frontend = kernel.next_frontend()
    assert [run.run for run in frontend.hello.runs] == ["a", "b"]
    frontend.calls.send(Invoke("b", later, KEEP), Invoke("c", call("count", session="mine")))
    assert bodies(rest(frontend.calls, "c")) == [b"1"]


def test_a_run_behind_another_is_known_and_begins_after_it(kernel: KernelProcess) -> None:
    code = "import asyncio\nasync def run():\n    yield 1\n    await asyncio.sleep(1000)\n"
    start(kernel, code, sse=True)
    kernel.frontend.calls.chunks(2)
    start(kernel, "2", id="b", detach=True)
    frontend = kernel.next_frontend()
    first, second = frontend.hello.runs
    assert (first.run, second.run) == ("a", "b")
    assert first.started is not None
    assert second.started is None
    assert second.call.code == "2"
    frontend.control.send(Cancel("a", "cancelled"))
    assert bodies(rest(frontend.calls, "b")) == [b"2"]


def test_the_end_of_a_run_that_was_cancelled_before_it_began_is_kept(kernel: KernelProcess) -> None:
    code = "import asyncio\nasync def run():\n    yield 1\n    await asyncio.sleep(1000)\n"
    start(kernel, code, sse=True)
    kernel.frontend.calls.chunks(2)
    start(kernel, "2", id="b", detach=True)
    kernel.frontend.control.send(Cancel("b", "cancelled"))
    failed, _ = rest(kernel.frontend.calls, "b")
    assert isinstance(failed, Failed)
    frontend = kernel.next_frontend()
    assert [run.run for run in frontend.hello.runs] == ["a", "b"]
    assert rest(frontend.calls, "b")[0] == failed


def test_a_call_that_nobody_can_ask_for_is_told_until_it_ends(kernel: KernelProcess, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    code = (
        "def run():\n    try:\n        print('on')\n        while True: pass\n"
        f"    except KeyboardInterrupt: open({str(gate)!r}).read()\n"
    )
    kernel.frontend.calls.send(Invoke("plain", call(code, session="mine")))
    kernel.frontend.calls.chunks(1)
    frontend = kernel.next_frontend()
    [run] = frontend.hello.runs
    assert (run.run, run.keep, run.call.code) == ("plain", None, None)
    assert run.started is not None
    gate.write_text("")
    assert isinstance(rest(frontend.calls, "plain")[-1], Done)
    assert kernel.next_frontend().hello.runs == ()


def test_a_question_is_answered_by_the_next_frontend(kernel: KernelProcess) -> None:
    code = "def run():\n    first = input('first? ')\n    return first + input('second? ')\n"
    start(kernel, code, sse=True)
    prompt = kernel.frontend.calls.receive()
    assert prompt == Output("a", (Prompt("first? "),))
    assert isinstance(kernel.frontend.calls.receive(), Credit)
    kernel.frontend.control.send(Input("a", b"1", text=True))
    assert kernel.frontend.calls.chunks(1) == [Prompt("second? ", consumed=1)]
    assert isinstance(kernel.frontend.calls.receive(), Credit)
    frontend = kernel.next_frontend()
    [run] = frontend.hello.runs
    assert run.received == 1
    assert len(frontend.calls.chunks(2)) == 2
    assert frontend.calls.receive() == Credit("a", WINDOW)
    frontend.control.send(Input("a", b"2", text=True), InputEnd("a"))
    assert bodies(rest(frontend.calls, "a")) == [b"12"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_body_that_comes_no_further_is_broken_off(kernel: KernelProcess, kind: str) -> None:
    read = "request.stream.read(4)" if kind == "def" else "await anext(aiter(request.stream))"
    code = f"{kind} run():\n    yield {read}\n    yield {read}\n"
    streamed = call(code, session="mine", sse=True)
    streamed = replace(streamed, request=replace(streamed.request, method="POST", input_size=-1))
    kernel.frontend.calls.send(Invoke("a", streamed, KEEP))
    assert kernel.frontend.calls.receive() == Accepted("a")
    assert isinstance(kernel.frontend.calls.receive(), Credit)
    kernel.frontend.control.send(Input("a", b"part"))
    assert bodies(kernel.frontend.calls.chunks(2)) == [b"part"]
    failed = rest(kernel.next_frontend().calls, "a")[-2]
    assert isinstance(failed, Failed)
    assert "broke off, because the server has ended" in failed.detail


def test_a_run_that_is_withdrawn_may_come_again(kernel: KernelProcess, tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    os.mkfifo(begun)
    os.mkfifo(gate)
    # Something that is no call blocks the main thread.
    block = (
        "import asyncio\n"
        "def block():\n"
        f"    open({str(begun)!r}, 'w').close()\n"
        f"    open({str(gate)!r}).read()\n"
        "asyncio.get_event_loop().call_soon(block)"
    )
    kernel.frontend.calls.send(Invoke("b", call(block, session="mine")))
    rest(kernel.frontend.calls, "b")
    begun.read_text()
    kernel.frontend.calls.send(Invoke("a", call("5", session="mine"), KEEP))
    kernel.frontend.control.send(Withdraw("a"))
    assert kernel.frontend.calls.receive() == Withdrawn("a")
    assert kernel.next_frontend().hello.runs == ()
    kernel.frontend.calls.send(Invoke("a", call("5", session="mine"), KEEP))
    gate.write_text("")
    assert bodies(rest(kernel.frontend.calls, "a")) == [b"5"]
