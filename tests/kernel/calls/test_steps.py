"""owt.kernel.calls.interrupts: an awaitable, driven step by step."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Generator
from typing import Any

import pytest

from owt.kernel.calls.interrupts import InterruptibleSteps, Stopped


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
