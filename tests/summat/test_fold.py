"""Runs of pipelines from step to step."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from owt.summat import pipe


def fail(x):
    raise ZeroDivisionError(f"with {x}")


def test_error_keeps_its_type_and_its_traceback_shows_the_step_marked():
    with pytest.raises(ZeroDivisionError) as caught:
        pipe().kwarg("text").f(str.upper).f(fail).last()(text="a")
    lines = "".join(traceback.format_exception(caught.value)).splitlines()
    assert lines[-3:] == [
        "ZeroDivisionError: with A",
        "in step 3 of 4, f(<function fail>):",
        "    pipe().kwarg('text').f(<function upper>)>>>.f(<function fail>)<<<.last()",
    ]
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "fail"


def test_class_of_a_pipe_can_be_the_place_of_an_error():
    with pytest.raises(ZeroDivisionError) as caught:
        pipe(fail).last()(3)
    assert caught.value.__notes__ == [
        "in step 1 of 2, to(pipe(<function fail>)):\n    >>>pipe(<function fail>)<<<.last()"
    ]


def test_nested_pipes_show_each_place_from_the_inside():
    with pytest.raises(ZeroDivisionError) as caught:
        pipe().map(pipe().identity().f(fail))([1])
    inner, outer = caught.value.__notes__
    assert inner.endswith("pipe().identity()>>>.f(<function fail>)<<<")
    assert outer.endswith("pipe()>>>.map(pipe().identity().f(<function fail>))<<<")


def test_repeated_error_is_noted_once():
    error = ValueError("the same object")

    def again(x):
        raise error

    for _ in range(3):
        with pytest.raises(ValueError, match="same"):
            pipe().f(again)(1)
    assert len(error.__notes__) == 1


def test_recursive_pipe_notes_its_place_once():
    def down(n):
        return again(n - 1) if n else fail(n)

    again = pipe().f(down)
    with pytest.raises(ZeroDivisionError) as caught:
        again(50)
    assert len(caught.value.__notes__) == 1


def test_stop_iteration_does_not_end_the_generator_around_the_pipe():
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        pipe().f(next)(iter(()))
    assert ">>>.f(<function next>)<<<" in caught.value.__notes__[0]
    assert isinstance(caught.value.__cause__, StopIteration)


def test_error_of_a_generator_names_the_step_that_made_it():
    def items(n):
        yield 1
        fail(n)

    stream, _ = pipe().stream(items).map(str).sse()(2)
    assert next(stream) == "data: 1\n\n"
    with pytest.raises(ZeroDivisionError) as caught:
        next(stream)
    assert caught.value.__notes__ == [
        "in step 1 of 3, stream(<function items>):\n    pipe()>>>.stream(<function items>)<<<.map(str).sse()"
    ]


def test_error_in_a_lazy_map_names_the_map():
    with pytest.raises(ZeroDivisionError) as caught:
        list(pipe().stream(range).map(fail)(2))
    assert ">>>.map(<function fail>)<<<" in caught.value.__notes__[0]


def test_error_in_an_async_stream_names_its_step():
    async def items(n):
        yield 1
        fail(n)

    async def collect():
        return [item async for item in pipe().stream(items).map(str)(2)]

    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(collect())
    assert len(caught.value.__notes__) == 1
    assert ">>>.stream(<function items>)<<<" in caught.value.__notes__[0]


def test_generator_can_still_be_sent_to_and_closed():
    ended = []

    def echo():
        received = None
        try:
            while True:
                received = yield received
        finally:
            ended.append(received)

    items = pipe().f(echo)()
    assert next(items) is None
    assert items.send("a") == "a"
    items.close()
    assert ended == ["a"]


def test_awaitable_value_is_awaited_before_the_next_step():
    async def later():
        return 5

    assert asyncio.run(pipe().f(later).f(lambda x: x + 1)()) == 6


def test_awaited_failure_can_be_caught_by_the_caller_with_its_type():
    async def late(x):
        await asyncio.sleep(0)
        fail(x)

    with pytest.raises(ZeroDivisionError, match="with 1"):
        asyncio.run(pipe().fork(late)(1))
