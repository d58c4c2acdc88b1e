"""Work that waits only if something must be awaited."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from owt.summat.later import is_awaitable, settled, then


async def answer(value):
    await asyncio.sleep(0)
    return value


def test_work_that_yields_nothing_is_settled_at_once():
    def work():
        return 5
        yield

    assert settled(work()) == 5


def test_work_continues_with_awaited_results():
    def work():
        first = yield answer(1)
        second = yield answer(first + 1)
        return first, second

    assert asyncio.run(settled(work())) == (1, 2)


def test_work_can_catch_an_awaited_exception():
    async def fail():
        raise ValueError("no")

    def work():
        try:
            yield fail()
        except ValueError:
            return (yield answer("caught"))

    assert asyncio.run(settled(work())) == "caught"


def test_uncaught_exception_reaches_the_awaiting_caller():
    async def fail():
        raise ValueError("no")

    def work():
        yield fail()

    with pytest.raises(ValueError, match="no"):
        asyncio.run(settled(work()))


def test_work_runs_on_any_event_loop():
    class Once:
        def __await__(self):
            return (yield "question")

    def work():
        return (yield Once())

    pending = settled(work())
    assert inspect.iscoroutine(pending)
    assert pending.send(None) == "question"
    with pytest.raises(StopIteration) as ended:
        pending.send("reply")
    assert ended.value.value == "reply"


def test_function_then_awaits_only_awaitables():
    assert then(1, str) == "1"
    assert asyncio.run(then(answer(1), str)) == "1"


def test_is_awaitable_follows_pep_492():
    pending = answer(1)
    assert is_awaitable(pending)
    pending.close()
    assert not is_awaitable(answer)
    assert not is_awaitable(5)
