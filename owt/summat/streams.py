"""Lazy iterators, plain and async, that close the generators they read from."""

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
    Mapping,
)
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any, Union

from owt.summat.errors import WrongValue
from owt.summat.later import aclosing, is_awaitable

if TYPE_CHECKING:
    from typing import TypeGuard

Stream = Union[Generator[Any, Any, Any], AsyncGenerator[Any, Any]]
Source = Union[Iterable[Any], AsyncIterable[Any]]
Function = Callable[[Any], Any]
Select = Callable[[Any, Any], tuple[Any, ...]]


def is_stream(value: object) -> bool:
    """Return True if `value` is lazy: an iterator or an async iterator."""
    return isinstance(value, (Iterator, AsyncIterator))


def has_items(value: object) -> TypeGuard[Source]:
    """Return True if the items of `value` can be streamed: not for text, bytes and mappings."""
    whole = str, bytes, bytearray, memoryview, Mapping
    return isinstance(value, (Iterable, AsyncIterable)) and not isinstance(value, whole)


def streamed(source: Source) -> Stream:
    """Return the items of `source` as a generator, or as an async one if `source` is async."""
    if inspect.isgenerator(source) or inspect.isasyncgen(source):
        return source
    if isinstance(source, Iterable):
        return (item for item in source)
    return _items(source)


def mapped(fn: Function, source: Source) -> Stream:
    """Return a stream of `fn(item)` for each item; async if `source` or `fn` is.

    The stream raises `WrongValue` if a function that is not written as `async def` returns an awaitable
    in a plain stream.
    """
    return _transformed(fn, source, lambda _, result: (result,))


def filtered(fn: Function, source: Source) -> Stream:
    """Return a stream of the items for which `fn(item)` is true; async, and raises, like that of `mapped`."""
    return _transformed(fn, source, lambda item, result: (item,) if result else ())


def _transformed(fn: Function, source: Source, select: Select) -> Stream:
    if isinstance(source, Iterable) and not _is_async(fn):
        return _plain(fn, source, select)
    return _waiting(fn, source, select)


def _is_async(fn: Any) -> bool:
    # An object may have an `async def __call__`; that of a class is the metaclass's, which is plain.
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _plain(fn: Function, source: Iterable[Any], select: Select) -> Generator[Any, Any, None]:
    with _closing(source):
        for item in source:
            result = fn(item)
            if is_awaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise WrongValue(
                    f"{fn!r} returned an awaitable in a stream that is not async; write it as"
                    " async def, or stream from an async generator"
                )
            yield from select(item, result)


async def _waiting(fn: Function, source: Source, select: Select) -> AsyncGenerator[Any, Any]:
    async with aclosing(_items(source)) as items:
        async for item in items:
            result = fn(item)
            if is_awaitable(result):
                result = await result
            for selected in select(item, result):
                yield selected


async def _items(source: Source) -> AsyncGenerator[Any, Any]:
    if isinstance(source, Iterable):
        with _closing(source):
            for item in source:
                yield item
    elif inspect.isasyncgen(source):
        async with aclosing(source):
            async for item in source:
                yield item
    else:
        async for item in source:
            yield item


def _closing(source: Iterable[Any]) -> AbstractContextManager[Any]:
    # An unfinished generator would run its `finally` only when it is collected.
    return closing(source) if inspect.isgenerator(source) else nullcontext()
