"""owt.kernel.calls.interrupts: KeyboardInterrupt reaches the user code of one run."""

from __future__ import annotations

import asyncio
import signal
import threading
import types
from collections.abc import Generator
from typing import Any

import pytest

from owt.kernel.calls.interrupts import (
    InMainThread,
    InOtherThread,
    InStep,
    InterruptibleSteps,
    Interrupts,
    RunningLoop,
    Stopped,
)

pytestmark = pytest.mark.usefixtures("sigint")


@pytest.fixture
def others() -> list[str | None]:
    """Targets of signals that were not for the main thread's user code."""
    return []


@pytest.fixture
def interrupts(others: list[str | None]) -> Interrupts:
    interrupts = Interrupts(others.append)
    interrupts.install()
    return interrupts


def test_sigint_raises_keyboard_interrupt_in_user_code(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    interrupts.begin("a")
    interrupts.enter_user_code()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.interrupt("a")
    assert others == []


def test_an_interrupt_outside_of_user_code_is_raised_when_it_is_entered(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    interrupts.enter_user_code()
    interrupts.leave_user_code()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.enter_user_code()
    interrupts.enter_user_code()


def test_several_pending_interrupts_raise_once(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    signal.raise_signal(signal.SIGINT)
    interrupts.interrupt("a")
    with pytest.raises(KeyboardInterrupt):
        interrupts.enter_user_code()
    interrupts.leave_user_code()
    interrupts.enter_user_code()


def test_an_interrupt_after_the_end_of_its_run_affects_no_other(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    interrupts.begin("a")
    interrupts.end()
    interrupts.interrupt("a")
    interrupts.begin("b")
    interrupts.enter_user_code()
    interrupts.interrupt("a")
    assert others == ["a", "a"]


def test_a_pending_interrupt_is_discarded_at_the_end_of_its_run(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    interrupts.begin("a")
    interrupts.interrupt("a")
    interrupts.end()
    interrupts.begin("b")
    interrupts.enter_user_code()
    assert others == []


def test_sigint_without_a_run_on_the_main_thread_is_for_all_others(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    signal.raise_signal(signal.SIGINT)
    interrupts.interrupt("a")
    assert others == [None, "a"]


def test_the_target_of_an_interrupt_is_for_one_signal(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    interrupts.begin("b")
    interrupts.interrupt("a")
    interrupts.enter_user_code()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert others == ["a"]


def test_unnoticed_is_the_target_until_the_handler_has_run(interrupts: Interrupts) -> None:
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


def test_unshield_outside_of_user_code_raises_nothing(interrupts: Interrupts) -> None:
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


def test_a_waiting_main_thread_is_interrupted_by_repeated_signals(
    interrupts: Interrupts,
) -> None:
    interrupts.begin("a")
    began, noticed = threading.Event(), threading.Event()

    def aim() -> None:
        began.wait()
        # A signal that arrives just before the main thread starts to wait does not end the wait.
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


class Marks(InStep):
    """Record of events in order: `(` at the start of a step, `)` at its end."""

    def __init__(self) -> None:
        super().__init__(Interrupts(lambda target: None), "a")
        self.seen = ""

    def __enter__(self) -> None:
        self.seen += "("

    def leave(self) -> None:
        self.seen += ")"

    def steps(self, awaitable: Any) -> InterruptibleSteps:
        return InterruptibleSteps(awaitable, self)


@pytest.fixture
def marks() -> Marks:
    return Marks()


async def awaited(steps: InterruptibleSteps) -> Any:
    return await steps


def test_each_step_is_marked_and_waits_between_steps_are_not(marks: Marks) -> None:
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
    """Awaitable whose iterator has only `__next__`."""

    def __await__(self) -> Any:
        return iter([None, None])


def test_an_awaitable_with_a_plain_iterator_is_driven(marks: Marks) -> None:
    assert asyncio.run(awaited(marks.steps(Plain()))) is None
    assert marks.seen == "()()()"


def test_an_exception_thrown_into_a_plain_iterator_ends_it(marks: Marks) -> None:
    stepping = marks.steps(Plain()).__await__()
    next(stepping)
    with pytest.raises(asyncio.CancelledError):
        stepping.throw(asyncio.CancelledError())
    stepping = marks.steps(Plain()).__await__()
    next(stepping)
    stepping.close()


def test_an_error_in_a_step_is_raised_unchanged(marks: Marks) -> None:
    async def adaptor() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(awaited(marks.steps(adaptor())))
    assert marks.seen == "()()"


def test_an_error_of_the_awaited_future_is_thrown_into_the_awaitable(marks: Marks) -> None:
    async def adaptor() -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ValueError("no"))
        try:
            await future
        except ValueError as error:
            return f"caught {error}"
        return "not raised"

    assert asyncio.run(awaited(marks.steps(adaptor()))) == "caught no"


def test_a_cancelled_awaitable_may_clean_up(marks: Marks) -> None:
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
def test_keyboard_interrupt_and_system_exit_in_a_step_are_raised_as_stopped(
    marks: Marks, kind: type[BaseException]
) -> None:
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


def test_an_interrupt_at_the_start_of_a_step_is_raised_as_stopped() -> None:
    class Interrupted(Marks):
        def __enter__(self) -> None:
            raise KeyboardInterrupt

    async def adaptor() -> None:
        raise AssertionError("it must not run")

    coroutine = adaptor()
    with pytest.raises(Stopped):
        asyncio.run(awaited(Interrupted().steps(coroutine)))
    coroutine.close()


def test_closing_the_steps_closes_the_awaitable(marks: Marks) -> None:
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
    loop = asyncio.new_event_loop()
    user = InMainThread(interrupts_of_a_run, loop)
    try:
        with pytest.raises(KeyboardInterrupt), user:
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        asyncio._set_running_loop(None)
        loop.close()


def test_a_hidden_loop_hides_its_task_too() -> None:
    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        running = RunningLoop(loop)
        for _ in range(2):
            running.hide()
            try:
                assert (asyncio._get_running_loop(), asyncio.current_task(loop)) == (None, None)
                assert asyncio.run(asyncio.sleep(0, 42)) == 42
            finally:
                running.show()
                running.show()
            assert (asyncio._get_running_loop(), asyncio.current_task()) == (loop, task)

    asyncio.run(main())


def test_user_code_in_the_main_thread_may_run_an_event_loop(interrupts_of_a_run: Interrupts) -> None:
    async def main() -> tuple[int, bool]:
        loop = asyncio.get_running_loop()
        with InMainThread(interrupts_of_a_run, loop):
            result = asyncio.run(asyncio.sleep(0, 42))
        return result, asyncio.get_running_loop() is loop

    assert asyncio.run(main()) == (42, True)


def test_the_running_loop_is_restored_after_user_code_that_raised(interrupts_of_a_run: Interrupts) -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError), InMainThread(interrupts_of_a_run, loop):
            raise ZeroDivisionError
        return asyncio.get_running_loop() is loop

    assert asyncio.run(main())


def test_an_error_of_user_code_in_another_thread_is_raised_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), InOtherThread():
        raise ZeroDivisionError
