"""Lazy iterators, plain and async."""

from __future__ import annotations

import asyncio
import inspect
import io

import pytest

from owt.summat.streams import filtered, is_stream, mapped, streamed


async def ticks(n):
    for i in range(n):
        yield i


async def collected(items):
    return [item async for item in items]


class Numbers:
    """An async iterable that is no async generator."""

    def __aiter__(self):
        return ticks(3)


def test_iterators_are_streams_and_collections_are_not():
    assert is_stream(iter([]))
    assert is_stream(io.BytesIO())
    assert is_stream(ticks(1))
    for value in ([], "a", {}, None, Numbers()):
        assert not is_stream(value)


def test_generator_is_streamed_unchanged():
    source = (x for x in "ab")
    assert streamed(source) is source


def test_other_iterables_become_generators_of_their_kind():
    assert inspect.isgenerator(streamed([1, 2]))
    assert list(streamed([1, 2])) == [1, 2]
    assert inspect.isasyncgen(streamed(Numbers()))
    assert asyncio.run(collected(streamed(Numbers()))) == [0, 1, 2]


def test_mapping_and_filtering_keep_the_order():
    assert list(mapped(str, range(3))) == ["0", "1", "2"]
    assert list(filtered(lambda x: x != 1, range(3))) == [0, 2]
    assert asyncio.run(collected(mapped(str, Numbers()))) == ["0", "1", "2"]


def test_object_with_an_async_call_makes_a_stream_async():
    class Double:
        async def __call__(self, x):
            return x * 2

    assert asyncio.run(collected(mapped(Double(), range(3)))) == [0, 2, 4]


def test_plain_stream_with_an_async_function_is_closed_with_its_reader():
    ended = []

    def numbers():
        try:
            yield from range(9)
        finally:
            ended.append(True)

    async def double(x):
        return x * 2

    async def leave():
        items = mapped(double, numbers())
        assert await anext(items) == 0
        await items.aclose()

    asyncio.run(leave())
    assert ended == [True]


def test_async_stream_awaits_the_result_of_a_plain_function():
    async def double(x):
        return x * 2

    assert asyncio.run(collected(filtered(lambda x: double(x), ticks(3)))) == [1, 2]


def test_class_may_be_the_mapped_function():
    with pytest.raises(ValueError, match="invalid literal"):
        list(mapped(int, ["x"]))
