"""Iterators and async iterators that make their items when asked, and end what they read from."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import AbstractContextManager, aclosing, closing, nullcontext
from typing import Any, TypeAlias

from owt.summat.errors import WrongValue
from owt.summat.later import is_awaitable

Stream: TypeAlias = Generator[Any, Any, Any] | AsyncGenerator[Any, Any]
Source: TypeAlias = Iterable[Any] | AsyncIterable[Any]
Function: TypeAlias = Callable[[Any], Any]
Chosen: TypeAlias = Callable[[Any, Any], tuple[Any, ...]]


def is_stream(value: object) -> bool:
    """Whether `value` makes its items when asked: an iterator or an async iterator."""
    return isinstance(value, Iterator | AsyncIterator)


def streamed(source: Source) -> Stream:
    """The items of `source`, as a generator, or as an async one where `source` is async."""
    if inspect.isgenerator(source) or inspect.isasyncgen(source):
        return source
    if isinstance(source, Iterable):
        return _passed(source)
    return _items(source)


def mapped(fn: Function, source: Source) -> Stream:
    """`fn(item)` for each item; async where `source` or `fn` is.

    Raises `WrongValue` while it runs when a function that is not written as `async def` gives
    something to await in a plain stream.
    """
    return _each(fn, source, lambda _, result: (result,))


def filtered(fn: Function, source: Source) -> Stream:
    """The items for which `fn(item)` is true; async where `source` or `fn` is. Raises as `mapped`."""
    return _each(fn, source, lambda item, result: (item,) if result else ())


def _each(fn: Function, source: Source, chosen: Chosen) -> Stream:
    if isinstance(source, Iterable) and not _is_async(fn):
        return _plain(fn, source, chosen)
    return _waiting(fn, source, chosen)


def _is_async(fn: Any) -> bool:
    # An object may have an `async def __call__`; of a class it is the metaclass's, which is plain.
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _plain(fn: Function, source: Iterable[Any], chosen: Chosen) -> Generator[Any, Any, None]:
    with _ending(source):
        for item in source:
            result = fn(item)
            if is_awaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise WrongValue(
                    f"{fn!r} gave something to await in a stream that is not async; write it as"
                    " async def, or stream from an async generator"
                )
            yield from chosen(item, result)


async def _waiting(fn: Function, source: Source, chosen: Chosen) -> AsyncGenerator[Any, Any]:
    async with aclosing(_items(source)) as items:
        async for item in items:
            result = fn(item)
            if is_awaitable(result):
                result = await result
            for each in chosen(item, result):
                yield each


async def _items(source: Source) -> AsyncGenerator[Any, Any]:
    if isinstance(source, Iterable):
        with _ending(source):
            for item in source:
                yield item
    elif inspect.isasyncgen(source):
        async with aclosing(source):
            async for item in source:
                yield item
    else:
        async for item in source:
            yield item


def _passed(source: Iterable[Any]) -> Generator[Any, Any, None]:
    yield from source


def _ending(source: Iterable[Any]) -> AbstractContextManager[Any]:
    # A generator that is left in the middle would run its `finally` only when it is collected.
    return closing(source) if inspect.isgenerator(source) else nullcontext()
