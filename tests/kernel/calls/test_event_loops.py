"""owt.kernel.calls.event_loops: loops that user code cannot end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from owt.kernel import context
from owt.kernel.calls.event_loops import PlainLoop, allow_own_loops, protect


class Loop:
    """Protected loop; `exits` has the runs and the exceptions of their tasks."""

    def __init__(self) -> None:
        self.may_stop = False
        self.exits: list[tuple[object, BaseException]] = []
        self.loop = asyncio.new_event_loop()
        protect(self.loop, lambda run, error: self.exits.append((run, error)), lambda: self.may_stop)

    def run_for(self, seconds: float) -> None:
        """Run the loop, which may stop at this time only."""

        def end() -> None:
            self.may_stop = True
            self.loop.stop()

        self.loop.call_later(seconds, end)
        self.loop.run_forever()


@pytest.fixture
def protected() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.loop.close()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_the_loop_continues_after_an_exit_in_a_callback(protected: Loop, error: BaseException) -> None:
    def leave() -> None:
        raise error

    run = object()
    token = context.current.set(run)  # type: ignore[arg-type]
    protected.loop.call_soon(leave)
    context.current.reset(token)
    protected.loop.call_soon(leave)
    protected.run_for(0.01)
    assert protected.may_stop
    # The second callback belongs to no run.
    assert protected.exits == [(run, error)]


def test_a_task_that_exits_ends_only_itself(protected: Loop) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    run = object()
    token = context.current.set(run)  # type: ignore[arg-type]
    task = protected.loop.create_task(leave())
    context.current.reset(token)
    protected.run_for(0.01)
    assert [type(error) for owner, error in protected.exits if owner is run] == [SystemExit]
    assert type(task.exception()) is SystemExit


def test_the_loop_cannot_be_stopped_from_a_callback(protected: Loop) -> None:
    problems: list[object] = []
    protected.loop.set_exception_handler(lambda loop, report: problems.append(report["exception"]))
    protected.loop.call_soon(protected.loop.stop)
    protected.run_for(0.01)
    assert protected.may_stop
    assert [str(problem) for problem in problems] == [
        "this event loop is the kernel's: calls and cells cannot stop it"
    ]


def test_the_loop_continues_after_an_error_of_a_signal_handler(protected: Loop) -> None:
    def fail(number: int, frame: FrameType | None) -> None:
        raise ValueError("from the handler")

    problems: list[object] = []
    protected.loop.set_exception_handler(lambda loop, report: problems.append(report["exception"]))
    before = signal.signal(signal.SIGALRM, fail)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        protected.run_for(0.1)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [str(problem) for problem in problems] == ["from the handler"]


def test_a_callback_may_run_another_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in (
        (asyncio, "run"), (asyncio.runners, "run"), (asyncio.Runner, "run"),
        (asyncio.BaseEventLoop, "run_forever"), (asyncio.BaseEventLoop, "run_until_complete"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, getattr(owner, name))
    outer = asyncio.new_event_loop()
    allow_own_loops(outer)

    async def refused() -> str:
        # As in any program: this loop is not the one that may have another inside.
        with pytest.raises(RuntimeError):
            asyncio.run(never := asyncio.sleep(0))
        never.close()
        return "inner"

    async def work() -> list[object]:
        with asyncio.Runner() as runner:
            values = [asyncio.run(refused()), runner.run(asyncio.sleep(0, 2))]
        return [*values, asyncio.get_running_loop() is outer]

    try:
        assert outer.run_until_complete(work()) == ["inner", 2, True]
    finally:
        outer.close()


def test_run_forever_calls_the_protected_method() -> None:
    # asyncio's `BaseEventLoop._run_once` and `Handle._context` are private: `protect` depends on them.
    loop = asyncio.new_event_loop()
    calls: list[object] = []
    loop._run_once = lambda: (calls.append(1), loop.stop())  # type: ignore[attr-defined]
    loop.run_forever()
    loop.close()
    assert calls == [1]
    assert hasattr(asyncio.Handle(print, (), loop), "_context")


def test_a_plain_loop_opens_nothing_before_its_first_use() -> None:
    loop = PlainLoop()
    assert not loop.is_open
    assert loop.run_until_complete(asyncio.sleep(0, 42)) == 42
    assert loop.is_open
    loop.close()
    assert loop.is_closed()
    with pytest.raises(AttributeError):
        loop.missing  # noqa: B018
