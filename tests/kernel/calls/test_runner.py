"""owt.kernel.calls.runner: the order of runs, and how they are stopped."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from runner_bench import RunnerBench, bodies, call
from werkzeug.wrappers import Request

from owt.kernel import context
from owt.kernel.calls import recording
from owt.kernel.calls.event_loops import protect
from owt.kernel.calls.stdio import RunStream
from owt.wire.chunk import Chunk, Data, Done, Failed, Head, Stdout, size

BUSY = "def run():\n    yield 'on'\n    while True: pass\n"
ASLEEP = "import threading\ndef run():\n    yield 'on'\n    threading.Event().wait()\n"
AWAITING = "import asyncio\nasync def run():\n    yield 'on'\n    await asyncio.Event().wait()\n"
BUSY_IN_A_STEP = "async def run():\n    yield 'on'\n    while True: pass\n"


def failure(chunks: list[Chunk]) -> Failed:
    *_, failed, done = chunks
    assert isinstance(failed, Failed)
    assert isinstance(done, Done)
    assert done.status == failed.status
    return failed


# Turns


def test_a_run_ends_with_its_status_and_its_seconds(bench: RunnerBench) -> None:
    head, data, done = bench.ask("def run(): return 'hi', 201")
    assert isinstance(head, Head)
    assert data == Data(b"hi", "text", result=True)
    assert isinstance(done, Done)
    assert done.status == 201
    assert 0 <= done.seconds < 20


@pytest.mark.parametrize(
    "code",
    [
        "def run(n):\n    state.seen.append(n)\n    yield 'a'\n    state.seen.append(n)\n",
        "import asyncio\nasync def run(n):\n    state.seen.append(n)\n    await asyncio.sleep(0)\n"
        "    state.seen.append(n)\n",
        "seen.append(n)\nimport asyncio\nawait asyncio.sleep(0)\nseen.append(n)",
    ],
    ids=["plain", "async", "cell"],
)
def test_calls_run_one_after_another_in_the_order_of_arrival(bench: RunnerBench, code: str) -> None:
    bench.ask("seen = []\n")
    bench.run(**{f"r{n}": call(code, kwargs=f'{{"n": {n}}}') for n in range(4)})
    assert bench.text("seen") == "[0,0,1,1,2,2,3,3]"


def test_a_call_that_is_alone_runs_in_the_same_pass_of_the_loop(bench: RunnerBench) -> None:
    async def main() -> list[Chunk]:
        bench.runner.accept("a", call("def run(): state.ran = True"))
        assert bench.names["ran"] is True
        await bench.ended("a")
        return bench.chunks("a")

    assert isinstance(bench.loops.run(main())[-1], Done)


@pytest.mark.parametrize(
    "code",
    [
        "async def run(): return asyncio.current_task() is not None",
        "async def run():\n    yield asyncio.current_task() is not None",
        "asyncio.current_task() is not None",
        "await asyncio.sleep(0)\nasyncio.current_task() is not None",
    ],
    ids=["coroutine", "asynchronous generator", "cell", "awaiting cell"],
)
def test_code_that_uses_the_loop_runs_in_a_task(bench: RunnerBench, code: str) -> None:
    assert bench.text(f"import asyncio\n{code}").lower().strip() == "true"


def test_a_call_waits_for_a_notebooks_cell(bench: RunnerBench) -> None:
    async def main() -> list[Chunk]:
        async with bench.runner.turn:
            bench.runner.accept("a", call("1"))
            bench.control.do(int)
            assert bench.chunks("a") == []
        return (await bench.serve(b=call("2")))["b"]

    assert bodies(bench.loops.run(main())) == [b"2"]
    assert bodies(bench.chunks("a")) == [b"1"]


def test_the_next_call_runs_after_one_that_failed(bench: RunnerBench) -> None:
    chunks = bench.run(a=call("1 / 0"), b=call("1 +"), c=call("raise SystemExit"), d=call("4"))
    assert failure(chunks["a"]).exception == "ZeroDivisionError"
    assert failure(chunks["b"]).type == "syntax"
    assert failure(chunks["c"]).exception == "SystemExit"
    assert bodies(chunks["d"]) == [b"4"]


def test_reload_loads_the_code_of_a_call_again(bench: RunnerBench) -> None:
    code = "import itertools\ncount = itertools.count()\ndef run(): return next(count)"
    assert [bench.text(code), bench.text(code), bench.text(code, reload=True)] == ["0", "1", "0"]


# Cancelling


@pytest.mark.parametrize(
    "code", [BUSY, ASLEEP, AWAITING, BUSY_IN_A_STEP], ids=["busy", "asleep", "awaiting", "step"]
)
@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_cancel_stops_its_run_and_no_other(
    new_bench: Callable[..., RunnerBench], code: str, concurrency: int
) -> None:
    if code == ASLEEP and concurrency == 2:
        # Python cannot interrupt a thread that sleeps in C; the run ends when the thread continues.
        code = code.replace(".wait()", ".wait(0.05)").replace("    threading", "    while True: threading")
    bench = new_bench(concurrency=concurrency)
    bench.on_first_chunk("a", Data, bench.cancel("a"))
    chunks = bench.run(a=call(code), b=call("def run(): return 'b'"))
    assert bodies(chunks["a"]) == [b"on"]
    assert failure(chunks["a"]) == Failed(499, "cancelled", "cancelled", "the call was cancelled")
    assert bodies(chunks["b"]) == [b"b"]


@pytest.mark.parametrize("code", [ASLEEP, BUSY_IN_A_STEP], ids=["asleep", "step"])
def test_a_cancel_is_repeated_until_it_is_noticed(
    bench: RunnerBench, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []
    kill = signal.pthread_kill

    def unreliable(thread: int, number: int) -> None:
        # As when it arrives just before the thread starts to wait.
        if len(lost) < 2:
            lost.append(number)
        else:
            kill(thread, number)

    monkeypatch.setattr(signal, "pthread_kill", unreliable)
    bench.on_first_chunk("a", Data, bench.cancel("a"))
    chunks = bench.run(a=call(code), b=call("'b'"))
    assert failure(chunks["a"]).type == "cancelled"
    assert bodies(chunks["b"]) == [b"b"]


def test_a_cancel_for_a_timeout_is_reported_as_timeout(bench: RunnerBench) -> None:
    bench.on_first_chunk("a", Data, bench.cancel("a", "timeout"))
    failed = failure(bench.run(a=call(BUSY, timeout=1.5))["a"])
    assert (failed.status, failed.type) == (504, "timeout")
    assert "1.5 s" in failed.detail


@pytest.mark.parametrize(
    "code",
    [
        "def run():\n"
        "    try:\n        yield 'on'\n        while True: pass\n"
        "    finally:\n        state.cleaned = True\n",
        "import asyncio\nasync def run():\n"
        "    try:\n        yield 'on'\n        await asyncio.Event().wait()\n"
        "    finally:\n        await asyncio.sleep(0)\n        state.cleaned = True\n",
    ],
    ids=["plain", "async"],
)
def test_a_cancelled_adaptor_cleans_up(bench: RunnerBench, code: str) -> None:
    bench.on_first_chunk("a", Data, bench.cancel("a"))
    bench.run(a=call(code))
    assert bench.text("cleaned") == "True"


def test_an_adaptor_that_swallows_its_cancel_is_reported_as_cancelled(bench: RunnerBench) -> None:
    code = (
        "def run():\n    yield 'on'\n    try:\n        while True: pass\n"
        "    except KeyboardInterrupt:\n        pass\n    yield 'still there'\n"
    )
    bench.on_first_chunk("a", Data, bench.cancel("a"))
    assert failure(bench.run(a=call(code))["a"]).type == "cancelled"


def test_a_queued_call_is_cancelled_while_another_is_busy(bench: RunnerBench) -> None:
    go = threading.Event()
    bench.names["go"] = go
    bench.on_first_chunk("a", Data, bench.cancel("b"))
    bench.on_first_chunk("b", Done, go.set)
    code = "def run():\n    yield 'on'\n    state.go.wait()\n    yield 'off'\n"
    chunks = bench.run(a=call(code), b=call("state.ran = True"), c=call("'ran' in state"))
    assert failure(chunks["b"]).detail == "the call was cancelled before it began"
    assert len(chunks["b"]) == 2
    assert bodies(chunks["a"]) == [b"on", b"off"]
    assert bodies(chunks["c"]) == [b"False"]


def test_a_call_queued_behind_a_cell_is_cancelled_immediately(bench: RunnerBench) -> None:
    async def main() -> list[Chunk]:
        async with bench.runner.turn:
            bench.runner.accept("a", call("1"))
            bench.control.do(bench.cancel("a"))
            await bench.ended("a")
        return bench.chunks("a")

    assert failure(bench.loops.run(main())).type == "cancelled"
    assert len(bench.frames["a"]) == 1


def test_a_cancel_that_arrives_before_its_call_withdraws_it(bench: RunnerBench) -> None:
    bench.control.do(bench.cancel("a"))
    chunks = bench.run(a=call("state.ran = True"))["a"]
    assert failure(chunks).type == "cancelled"
    assert bench.text("'ran' in state") == "False"
    assert len(bench.frames["a"]) == 1
    # Only once: an id is never used again, and is not kept for ever.
    assert bodies(bench.run(b=call("2"))["b"]) == [b"2"]


def test_a_call_that_was_withdrawn_before_it_arrived_never_runs(bench: RunnerBench) -> None:
    bench.control.do(bench.runner.withdraw, "a")
    bench.runner.accept("a", call("state.ran = True"))
    assert bench.text("'ran' in state") == "False"
    assert (bench.withdrawn, bench.frames["a"]) == (["a"], [])


def test_a_call_that_was_withdrawn_after_it_arrived_never_runs(new_bench: Callable[..., RunnerBench]) -> None:
    # Of several runs at once, each begins in a task.
    bench = new_bench(concurrency=2)
    bench.runner.accept("a", call("state.ran = True"))
    bench.control.do(bench.runner.withdraw, "a")
    assert bench.text("'ran' in state") == "False"
    assert (bench.withdrawn, bench.frames["a"]) == (["a"], [])


@pytest.mark.parametrize("arrived", [False, True])
def test_a_withdrawn_call_that_is_sent_again_runs_once(
    new_bench: Callable[..., RunnerBench], arrived: bool
) -> None:
    bench = new_bench(concurrency=2)
    if arrived:
        bench.runner.accept("a", call("state.n = 'withdrawn'"))
    bench.control.do(bench.runner.withdraw, "a")
    if not arrived:
        bench.runner.accept("a", call("state.n = 'withdrawn'"))
    assert bodies(bench.run(a=call("'again'"))["a"]) == [b"again"]
    assert bench.text("'n' in state") == "False"


def test_a_call_is_not_withdrawn_while_a_message_of_jupyter_is_handled(bench: RunnerBench) -> None:
    bench.runner.handlers += 1
    bench.control.do(bench.runner.withdraw, "a")
    assert bodies(bench.run(a=call("1"))["a"]) == [b"1"]
    assert (bench.queued, bench.withdrawn) == (["a"], [])


def test_a_call_is_not_withdrawn_while_its_code_is_compiled(bench: RunnerBench) -> None:
    def compile_slowly(*arguments: Any) -> Any:
        bench.control.do(bench.runner.withdraw, "a")
        return compile(*arguments)

    compile = bench.runner.sources.compile
    bench.runner.sources.compile = compile_slowly  # type: ignore[method-assign]
    assert bodies(bench.run(a=call("1"))["a"]) == [b"1"]
    assert (bench.queued, bench.withdrawn) == (["a"], [])


def test_a_call_is_handled_from_its_turn_on(bench: RunnerBench) -> None:
    async def serve() -> None:
        waits = "import asyncio\nfor _ in range(9): await asyncio.sleep(0)\nlist(handled)"
        for number, id in enumerate("abc", 2):
            bench.runner.accept(id, call(waits), number)
        for id in "abc":
            await bench.ended(id)

    handled: list[int] = []
    bench.names["handled"] = handled
    bench.near.note_handled = handled.append  # type: ignore[method-assign]
    bench.loops.run(serve())
    seen = [next(json.loads(body) for body in bodies(bench.chunks(id)))[-1] for id in "abc"]
    assert seen == [2, 3, 4]


def test_a_call_behind_a_cell_is_reported_as_queued(bench: RunnerBench) -> None:
    async def main() -> list[Chunk]:
        async with bench.runner.turn:
            bench.runner.accept("a", call("1"))
            bench.control.do(bench.runner.withdraw, "a")
        await bench.ended("a")
        return bench.chunks("a")

    assert bodies(bench.loops.run(main())) == [b"1"]
    assert bench.queued == ["a"]


def test_a_call_that_has_begun_is_not_withdrawn_and_reports_that(bench: RunnerBench) -> None:
    bench.names["withdraw"] = lambda: bench.control.do(bench.runner.withdraw, "a")
    assert bodies(bench.run(a=call("def run():\n    state.withdraw()\n    return 'on'\n"))["a"]) == [b"on"]
    assert () in bench.frames["a"]
    assert (bench.queued, bench.withdrawn) == ([], [])


def test_withdrawn_runs_that_never_arrive_are_forgotten_beyond_a_limit(bench: RunnerBench) -> None:
    for n in range(1100):
        bench.control.do(bench.cancel(f"gone {n}"))
    assert len(bench.runner.runs._withdrawn) == 1000


def test_a_cancel_stops_a_run_that_waits_for_credit(new_bench: Callable[..., RunnerBench]) -> None:
    code = "def run():\n    while True: yield 'x' * 968\n"
    for concurrency in (1, 2):
        bench = new_bench(window=2500, concurrency=concurrency)
        arrived: list[int] = []

        def count(bench: RunnerBench = bench, arrived: list[int] = arrived) -> None:
            arrived.append(1)
            if len(arrived) == 3:
                bench.runner.cancel("a", "cancelled")

        bench.on_chunk("a", Data, count)
        chunks = bench.run(a=call(code))["a"]
        assert failure(chunks).type == "cancelled"
        assert len(bodies(chunks)) == 3


# Credit


@pytest.mark.parametrize(
    "code",
    [
        "def run():\n    for n in range(50): yield str(n) * 500\n",
        "async def run():\n    for n in range(50): yield str(n) * 500\n",
    ],
    ids=["plain", "async"],
)
@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_stream_continues_as_its_readers_grant_credit(
    new_bench: Callable[..., RunnerBench], code: str, concurrency: int
) -> None:
    bench = new_bench(window=3000, concurrency=concurrency)
    granted: list[Chunk] = []
    ahead: list[int] = []

    def grant() -> None:
        new = [chunk for chunk in bench.chunks("a") if isinstance(chunk, Data)][len(granted) :]
        ahead.append(sum(map(size, new)))
        granted.extend(new)
        bench.runner.grant("a", ahead[-1])

    bench.on_chunk("a", Data, grant)
    chunks = bench.run(a=call(code))["a"]
    assert bodies(chunks) == [(str(n) * 500).encode() for n in range(50)]
    assert max(ahead) <= 3000 + 1100


def test_credit_for_a_run_that_has_ended_is_ignored(bench: RunnerBench) -> None:
    bench.ask("1")
    bench.control.do(bench.runner.grant, "run 0", 1000)
    assert bench.text("2") == "2"


# Overlapping


def test_plain_adaptors_overlap_in_threads(new_bench: Callable[..., RunnerBench]) -> None:
    bench = new_bench(concurrency=3)
    bench.names["meet"] = threading.Barrier(3)
    code = "def run(): return state.meet.wait(10) >= 0 and request.path"
    chunks = bench.run(**{name: call(code, path=f"/{name}") for name in "abc"})
    assert {name: bodies(chunks[name]) for name in "abc"} == {name: [f"/{name}".encode()] for name in "abc"}


def test_async_adaptors_overlap_on_the_loop(new_bench: Callable[..., RunnerBench]) -> None:
    bench = new_bench(concurrency=2)
    code = (
        "import asyncio\nqueue = asyncio.Queue()\n"
        "async def give(): await queue.put(request.path)\n"
        "async def take(): return await queue.get(), request.path\n"
    )
    chunks = bench.run(a=call(code, path="/a", fn_name="take"), b=call(code, path="/b", fn_name="give"))
    assert bodies(chunks["a"]) == [b'["/b","/a"]']


def test_cells_never_overlap_with_other_cells(new_bench: Callable[..., RunnerBench]) -> None:
    bench = new_bench(concurrency=3)
    bench.ask("seen = []\n")
    cell = "import asyncio\nseen.append(n)\nawait asyncio.sleep(0)\nseen.append(n)"
    bench.run(**{f"r{n}": call(cell, kwargs=f'{{"n": {n}}}') for n in range(3)})
    assert bench.text("seen") == "[0,0,1,1,2,2]"


def test_a_cancel_stops_one_of_several_overlapping_runs(new_bench: Callable[..., RunnerBench]) -> None:
    bench = new_bench(concurrency=2)
    go = threading.Event()
    bench.names["go"] = go
    bench.on_first_chunk("a", Data, bench.cancel("a"))
    bench.on_first_chunk("a", Done, go.set)
    patient = "def run():\n    yield 'on'\n    state.go.wait()\n    yield 'off'\n"
    chunks = bench.run(a=call(BUSY), b=call(patient))
    assert failure(chunks["a"]).type == "cancelled"
    assert bodies(chunks["b"]) == [b"on", b"off"]


def test_sigint_leaves_a_run_that_waits_for_its_turn(bench: RunnerBench) -> None:
    async def main() -> None:
        loop, began = asyncio.get_running_loop(), asyncio.Event()
        bench.on_first_chunk("a", Data, lambda: loop.call_soon_threadsafe(began.set))
        bench.runner.accept("a", call(AWAITING))
        bench.runner.accept("b", call("2"))
        await began.wait()
        signal.raise_signal(signal.SIGINT)
        await bench.ended("a")
        await bench.ended("b")

    bench.loops.run(main())
    assert failure(bench.chunks("a")).type == "interrupted"
    assert bodies(bench.chunks("b")) == [b"2"]


def test_sigint_interrupts_every_active_run(new_bench: Callable[..., RunnerBench]) -> None:
    bench = new_bench(concurrency=2)
    begun: list[str] = []

    def begin() -> None:
        begun.append("on")
        if len(begun) == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    bench.on_first_chunk("a", Data, begin)
    bench.on_first_chunk("b", Data, begin)
    chunks = bench.run(a=call(BUSY), b=call(AWAITING))
    assert {name: failure(chunks[name]).type for name in "ab"} == {"a": "interrupted", "b": "interrupted"}


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("name", ["StopIteration", "StopAsyncIteration", "GeneratorExit", "SystemExit"])
@pytest.mark.parametrize("prefix", ["", "async "])
def test_stop_iteration_and_exits_are_reported_like_other_exceptions(
    new_bench: Callable[..., RunnerBench], concurrency: int, name: str, prefix: str
) -> None:
    bench = new_bench(concurrency=concurrency)
    chunks = bench.ask(f"{prefix}def run(): raise {name}('x')")
    assert failure(chunks).exception == name
    assert bench.text("def run(): return 'next'") == "next"


@pytest.mark.parametrize(
    "code",
    [
        "request.path",
        "def run(): return request.path",
        "def run(): yield request.path",
        "async def run(): return request.path",
        "async def run(): yield request.path",
        "def run(): raise ValueError(request.path)",
    ],
)
def test_the_memory_of_a_request_is_freed_with_its_run(
    bench: RunnerBench, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    requests: list[weakref.ref[Request]] = []
    build_request = context.build_request

    def build(*arguments: Any) -> Request:
        request = build_request(*arguments)
        requests.append(weakref.ref(request))
        return request

    monkeypatch.setattr(context, "build_request", build)
    gc.collect()
    # A reference cycle would keep the request, and a large upload, until it is collected.
    gc.disable()
    try:
        bench.ask(code)
        assert {request() for request in requests} == {None}
    finally:
        gc.enable()


# Outcomes that cannot be described


def give_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Route stdout and stderr of this process to runs. Not in a fixture: pytest replaces both after those."""
    for name in ("stdout", "stderr"):
        stream = RunStream.__new__(RunStream)
        vars(stream).update(_process=os.getpid(), _kind=name)
        monkeypatch.setattr(sys, name, stream)


@pytest.mark.parametrize("define", ["def", "async def"])
@pytest.mark.parametrize(
    "write", ["stdout.write(b'x')", "stdout.write(5)", "stdout.writelines([b'a'])", "stderr.write(b'x')"]
)
def test_writing_anything_but_text_raises_type_error(
    bench: RunnerBench, monkeypatch: pytest.MonkeyPatch, write: str, define: str
) -> None:
    give_streams(monkeypatch)
    code = f"import sys\n{define} run(): sys.{write}\n"
    failed = failure(bench.ask(code))
    assert (failed.status, failed.exception) == (500, "TypeError")
    assert failed.detail.startswith("write() argument must be str, not ")


EVIL = """
class Evil({base}):
    {member}
def run():
    {leave}
"""


@pytest.mark.parametrize("base", ["Exception", "BaseException", "SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize(
    "member",
    [
        "def __getattribute__(self, name): raise BaseException",
        "def __getattribute__(self, name): raise SystemExit(3)",
        "def __str__(self): raise KeyboardInterrupt",
        "def __str__(self): return str(self)",
        "__cause__ = property(lambda self: 1 / 0)",
        "__traceback__ = property(lambda self: 1 / 0)",
        "__notes__ = property(lambda self: 1 / 0)",
        "def __setattr__(self, name, value): raise SystemExit",
        "def __bool__(self): raise SystemExit",
        "from owt.errors import SyntaxFault as __class__",
        "__class__ = property(lambda self: 1 / 0)",
    ],
)
def test_a_run_ends_whatever_its_exception_does(bench: RunnerBench, base: str, member: str) -> None:
    failed = failure(bench.ask(EVIL.format(base=base, member=member, leave="raise Evil")))
    # An interrupt of the description ends it.
    exception = "" if "raise KeyboardInterrupt" in member else "Evil"
    assert (failed.status, failed.exception) == (500, exception)
    assert bench.text("41 + 1") == "42"


@pytest.mark.parametrize(
    "member",
    [
        "__class__ = str",
        "__class__ = property(lambda self: 1 / 0)",
        "def _repr_html_(self): raise BaseException",
        "def _repr_html_(self): return self._repr_html_()",
        "def _repr_mimebundle_(self, **options): return self",
        "def __eq__(self, other): raise SystemExit",
        "def __bool__(self): raise SystemExit",
    ],
)
@pytest.mark.parametrize("leave", ["return Evil()", "yield Evil()", "return Evil(), 200", "return 1, Evil()"])
def test_a_run_ends_whatever_its_value_does(bench: RunnerBench, member: str, leave: str) -> None:
    *_, done = bench.ask(EVIL.format(base="object", member=member, leave=leave), accept="text/html")
    assert isinstance(done, Done)
    assert done.status == 500
    assert bench.text("41 + 1") == "42"


def test_fields_of_owts_own_exceptions_cannot_break_the_connection(bench: RunnerBench) -> None:
    code = (
        "from owt.errors import BadRequest\nclass Odd(BadRequest):\n    status = 'odd'\n"
        "def run(): raise Odd('a', 'b')"
    )
    assert failure(bench.ask(code)).title == "the outcome of the call cannot be described"
    assert bench.text("41 + 1") == "42"


def test_an_exception_whose_text_blocks_can_be_cancelled(bench: RunnerBench) -> None:
    code = (
        "import threading\nclass Slow(Exception):\n    def __str__(self):\n"
        "        state.described.set()\n        threading.Event().wait()\ndef run(): raise Slow"
    )
    described = bench.names["described"] = threading.Event()

    def cancel() -> None:
        described.wait(20)
        bench.runner.cancel("a", "cancelled")

    bench.control.loop.call_soon_threadsafe(cancel)
    assert failure(bench.run(a=call(code))["a"]).status == 499


# Tasks that exit

EXITING = "import asyncio, sys\nasync def leave(): sys.exit(1)\n"


@pytest.fixture
def finalized() -> Iterator[None]:
    """Finalize tasks here: asyncio logs the exceptions that no code has retrieved, for which it parses their
    source, and in CPython before 3.12 that breaks a parser during which the garbage collector runs."""
    yield
    gc.collect()



@pytest.mark.usefixtures("finalized")
@pytest.mark.parametrize(
    "code",
    [
        "async def run(): return await asyncio.gather(leave())",
        "async def run(): await asyncio.create_task(leave())",
        "async def run(): await asyncio.wait_for(leave(), 5)",
        "async def run():\n    async with asyncio.TaskGroup() as group: group.create_task(leave())",
        "async def run():\n    task = asyncio.create_task(leave())\n    await asyncio.Event().wait()",
        "async def run():\n    asyncio.get_running_loop().call_later(0, sys.exit, 1)\n"
        "    await asyncio.Event().wait()",
        "async def run():\n    try: await asyncio.gather(leave())\n    except BaseException: return 1",
        "await asyncio.gather(leave())",
        "def run(): asyncio.run(leave())",
    ],
    ids=[
        "gather", "create_task", "wait_for", "TaskGroup", "unawaited", "call_later", "caught", "cell",
        "asyncio.run",
    ],
)  # fmt: skip
def test_a_task_that_exits_ends_its_run(new_bench: Callable[..., RunnerBench], code: str) -> None:
    for concurrency in (1, 2):
        bench = new_bench(concurrency=concurrency)
        protect(bench.loops.get_loop(), bench.runner.exited, lambda: True)
        failed = failure(bench.ask(EXITING + code))
        assert (failed.status, failed.exception, failed.detail) == (500, "SystemExit", "1")
        assert bench.text("41 + 1") == "42"


@pytest.mark.usefixtures("finalized")
def test_a_task_left_by_an_ended_run_does_not_end_the_next(bench: RunnerBench) -> None:
    protect(bench.loops.get_loop(), bench.runner.exited, lambda: True)
    bench.ask("import asyncio, sys\nasync def run(): asyncio.get_running_loop().call_later(.01, sys.exit, 1)")
    assert bench.text("import asyncio\nasync def run(): return await asyncio.sleep(.1, 'kept')") == "kept"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_plain_code_has_an_event_loop_whatever_an_earlier_call_did(
    new_bench: Callable[..., RunnerBench], concurrency: int
) -> None:
    bench = new_bench(concurrency=concurrency)
    use = (
        "import asyncio\n"
        "def run(): return asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, 42))"
    )
    for earlier in ("asyncio.run(asyncio.sleep(0))", "asyncio.get_event_loop().close()", "None"):
        bench.ask(f"import asyncio\ndef run(): {earlier}")
        assert bench.text(use) == "42"


# Cells that print


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print('hello')", "hello\n"),
        ("print('one')\nprint('two')", "one\ntwo\n"),
        ("for n in range(3): print(n)", "0\n1\n2\n"),
        ("import asyncio\nawait asyncio.sleep(0)\nprint('later')", "later\n"),
        ("print('printed')\n42", "42"),
        ("x = 1", ""),
        ("def run(): print('hello')", ""),
        ("lambda: print('hello')", ""),
    ],
)
def test_a_cell_without_a_value_answers_with_what_it_prints(
    bench: RunnerBench, monkeypatch: pytest.MonkeyPatch, code: str, text: str
) -> None:
    give_streams(monkeypatch)
    chunks = bench.ask(code)
    assert b"".join(bodies(chunks)).decode() == text
    [head] = [chunk for chunk in chunks if isinstance(chunk, Head)] or chunks
    if text and text != "42":
        assert head.headers == (("Content-Type", "text/plain; charset=utf-8"),)
    else:
        assert head.headers == (("Content-Type", "text/html; charset=utf-8"), ("Vary", "Accept"))


def test_a_reader_of_events_gets_prints_of_a_cell_once(
    bench: RunnerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_streams(monkeypatch)
    chunks = bench.ask("print('hello')", sse=True)
    assert bodies(chunks) == [b"null"]
    assert Stdout("hello\n") in chunks


def test_a_cell_that_prints_too_much_says_so(bench: RunnerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    give_streams(monkeypatch)
    monkeypatch.setattr(recording, "MAX_RECORDED", 4)
    assert bench.text("print('123456')") == "1234\n... 3 characters left out ...\n"

