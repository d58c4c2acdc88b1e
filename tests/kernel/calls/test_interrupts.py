"""owt.kernel.calls.interrupts: KeyboardInterrupt reaches the user code of one run."""

from __future__ import annotations

import asyncio
import signal
import threading
import types
from collections.abc import Generator
from typing import Any

import pytest

from owt.kernel.calls.interrupts import InMainThread, InOtherThread, InterruptibleSteps, Interrupts, Stopped

pytestmark = pytest.mark.usefixtures("sigint")


@pytest.fixture
def others() -> list[str | None]:
    """What was aimed at something else than the main thread's user code."""
    return []


@pytest.fixture
def interrupts(others: list[str | None]) -> Interrupts:
    interrupts = Interrupts(others.append)
    interrupts.install()
    return interrupts


def test_an_interrupt_lands_in_user_code(interrupts: Interrupts, others: list[str | None]) -> None:
    interrupts.begin("a")
    interrupts.enter_user_code()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.interrupt("a")
    assert others == []


def test_an_interrupt_between_two_stretches_of_user_code_waits_for_the_next(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    interrupts.enter_user_code()
    interrupts.leave_user_code()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.enter_user_code()
    interrupts.enter_user_code()


def test_several_interrupts_that_wait_are_one(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    signal.raise_signal(signal.SIGINT)
    interrupts.interrupt("a")
    with pytest.raises(KeyboardInterrupt):
        interrupts.enter_user_code()
    interrupts.leave_user_code()
    interrupts.enter_user_code()


def test_an_interrupt_that_comes_after_its_run_hits_no_other(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    interrupts.begin("a")
    interrupts.end()
    interrupts.interrupt("a")
    interrupts.begin("b")
    interrupts.enter_user_code()
    interrupts.interrupt("a")
    assert others == ["a", "a"]


def test_an_interrupt_that_waits_ends_with_its_run(interrupts: Interrupts, others: list[str | None]) -> None:
    interrupts.begin("a")
    interrupts.interrupt("a")
    interrupts.end()
    interrupts.begin("b")
    interrupts.enter_user_code()
    assert others == []


def test_while_no_run_has_the_main_thread_an_interrupt_is_for_whatever_runs(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    signal.raise_signal(signal.SIGINT)
    interrupts.interrupt("a")
    assert others == [None, "a"]


def test_an_aim_is_for_one_signal(interrupts: Interrupts, others: list[str | None]) -> None:
    interrupts.begin("b")
    interrupts.interrupt("a")
    interrupts.enter_user_code()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert others == ["a"]


def test_an_aim_is_known_until_the_main_thread_has_noticed(interrupts: Interrupts) -> None:
    seen: list[str | None] = []
    interrupts.begin("a")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        interrupts.interrupt("a")
        seen.append(interrupts.unnoticed)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert [*seen, interrupts.unnoticed] == ["a", None]


def test_a_shield_defers_the_interrupt_to_its_end(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    interrupts.enter_user_code()
    was = interrupts.shield()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.unshield(was)


def test_shields_may_be_nested(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    interrupts.enter_user_code()
    outer = interrupts.shield()
    inner = interrupts.shield()
    signal.raise_signal(signal.SIGINT)
    interrupts.unshield(inner)
    with pytest.raises(KeyboardInterrupt):
        interrupts.unshield(outer)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_shield_outside_user_code_lets_nothing_in_at_its_end(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    was = interrupts.shield()
    signal.raise_signal(signal.SIGINT)
    interrupts.unshield(was)
    with pytest.raises(KeyboardInterrupt):
        interrupts.enter_user_code()


def test_another_thread_interrupts_a_main_thread_that_computes(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    began = threading.Event()

    def aim() -> None:
        began.wait()
        interrupts.interrupt("a")

    thread = threading.Thread(target=aim)
    thread.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        interrupts.enter_user_code()
        began.set()
        while True:
            pass
    thread.join()


def test_a_main_thread_that_waits_is_interrupted_if_need_be_by_several_signals(
    interrupts: Interrupts,
) -> None:
    interrupts.begin("a")
    began, noticed = threading.Event(), threading.Event()

    def aim() -> None:
        began.wait()
        # One that comes just before the main thread begins to wait does not end the waiting.
        interrupts.interrupt("a")
        while not noticed.wait(0.05) and interrupts.unnoticed == "a":
            interrupts.interrupt("a")

    thread = threading.Thread(target=aim)
    thread.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        interrupts.enter_user_code()
        began.set()
        threading.Event().wait()
    noticed.set()
    thread.join()


class Marks:
    """What happened, in order: `(` at the beginning of a step, `)` at its end."""

    def __init__(self) -> None:
        self.seen = ""

    def enter(self) -> None:
        self.seen += "("

    def leave(self) -> None:
        self.seen += ")"

    def steps(self, awaitable: Any) -> InterruptibleSteps:
        return InterruptibleSteps(awaitable, self.enter, self.leave)


@pytest.fixture
def marks() -> Marks:
    return Marks()


async def awaited(steps: InterruptibleSteps) -> Any:
    return await steps


def test_each_step_is_marked_and_what_lies_between_is_not(marks: Marks) -> None:
    async def adaptor() -> int:
        marks.seen += "a"
        await asyncio.sleep(0)
        marks.seen += "b"
        await asyncio.sleep(0)
        marks.seen += "c"
        return 42

    assert asyncio.run(awaited(marks.steps(adaptor()))) == 42
    assert marks.seen == "(a)(b)(c)"


def test_an_awaitable_of_any_class_is_driven(marks: Marks) -> None:
    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 42)
        return await marks.steps(future)

    assert asyncio.run(main()) == 42
    assert marks.seen == "()()"


class Plain:
    """An awaitable whose iterator can do nothing but go on."""

    def __await__(self) -> Any:
        return iter([None, None])


def test_an_awaitable_with_a_plain_iterator_is_driven(marks: Marks) -> None:
    assert asyncio.run(awaited(marks.steps(Plain()))) is None
    assert marks.seen == "()()()"


def test_a_plain_iterator_ends_with_what_is_thrown_into_it(marks: Marks) -> None:
    stepping = marks.steps(Plain()).__await__()
    next(stepping)
    with pytest.raises(asyncio.CancelledError):
        stepping.throw(asyncio.CancelledError())
    stepping = marks.steps(Plain()).__await__()
    next(stepping)
    stepping.close()


def test_an_error_comes_out_as_it_is(marks: Marks) -> None:
    async def adaptor() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(awaited(marks.steps(adaptor())))
    assert marks.seen == "()()"


def test_what_awaiting_raises_is_thrown_into_the_awaitable(marks: Marks) -> None:
    async def adaptor() -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ValueError("no"))
        try:
            await future
        except ValueError as error:
            return f"caught {error}"
        return "not raised"

    assert asyncio.run(awaited(marks.steps(adaptor()))) == "caught no"


def test_a_cancel_reaches_the_awaitable_which_may_clean_up(marks: Marks) -> None:
    async def adaptor() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            marks.seen += "cleaned"

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(awaited(marks.steps(adaptor())))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert marks.seen == "()(cleaned)"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_would_end_the_event_loop_comes_out_as_stopped(marks: Marks, kind: type[BaseException]) -> None:
    async def adaptor() -> None:
        await asyncio.sleep(0)
        raise kind(3)

    async def main() -> Any:
        with pytest.raises(Stopped) as caught:
            await asyncio.get_running_loop().create_task(awaited(marks.steps(adaptor())))
        return caught.value.cause

    cause = asyncio.run(main())
    assert type(cause) is kind
    assert cause.args == (3,)
    assert marks.seen.startswith("()()")


def test_an_interrupt_at_the_beginning_of_a_step_is_stopped_as_well() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    async def adaptor() -> None:
        raise AssertionError("it must not run")

    coroutine = adaptor()
    with pytest.raises(Stopped):
        asyncio.run(awaited(InterruptibleSteps(coroutine, interrupted, lambda: None)))
    coroutine.close()


def test_closing_closes_the_awaitable(marks: Marks) -> None:
    @types.coroutine
    def waiting() -> Generator[None, None, None]:
        try:
            yield
        finally:
            marks.seen += "closed"

    async def adaptor() -> None:
        await waiting()

    stepping = marks.steps(adaptor()).__await__()
    next(stepping)
    stepping.close()
    assert marks.seen == "()closed"


@pytest.fixture
def interrupts_of_a_run(interrupts: Interrupts) -> Interrupts:
    interrupts.begin("a")
    return interrupts


def test_user_code_in_the_main_thread_may_be_interrupted(interrupts_of_a_run: Interrupts) -> None:
    user = InMainThread(interrupts_of_a_run, asyncio.new_event_loop())
    try:
        with pytest.raises(KeyboardInterrupt), user:
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        asyncio._set_running_loop(None)
        user._loop.close()


def test_user_code_in_the_main_thread_may_run_a_loop_of_its_own(interrupts_of_a_run: Interrupts) -> None:
    async def main() -> tuple[int, bool]:
        loop = asyncio.get_running_loop()
        with InMainThread(interrupts_of_a_run, loop):
            found = asyncio.run(asyncio.sleep(0, 42))
        return found, asyncio.get_running_loop() is loop

    assert asyncio.run(main()) == (42, True)


def test_the_loop_is_back_after_user_code_that_raised(interrupts_of_a_run: Interrupts) -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError), InMainThread(interrupts_of_a_run, loop):
            raise ZeroDivisionError
        return asyncio.get_running_loop() is loop

    assert asyncio.run(main())


def test_user_code_in_another_thread_needs_no_care() -> None:
    with pytest.raises(ZeroDivisionError), InOtherThread():
        raise ZeroDivisionError
