"""Work that waits only if something in it has to be awaited.

Steps call functions that may be plain or `async def`. Such work is written once, as a generator
that yields awaitables and receives their results:

    def work():
        result = fn(item)
        if is_awaitable(result):
            result = yield result
        return result

`settled` runs it: if nothing is yielded, it returns the result at once, without an event loop;
otherwise a coroutine for the rest, which may be awaited on any event loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing import TypeGuard

T = TypeVar("T")
Work = Generator[Awaitable[Any], Any, T]


def is_awaitable(value: object) -> TypeGuard[Awaitable[Any]]:
    """Return True if `value` has to be awaited (PEP 492)."""
    return hasattr(type(value), "__await__")


def settled(work: Work[T]) -> T | Coroutine[Any, Any, T]:
    """Return the result of `work`, or a coroutine for it if something must be awaited."""
    try:
        pending = next(work)
    except StopIteration as end:
        result: T = end.value
        return result
    return _awaited(work, pending)


async def _awaited(work: Work[T], pending: Awaitable[Any]) -> T:
    failure: BaseException | None
    while True:
        result: Any = None
        failure = None
        try:
            result = await pending
        except BaseException as error:
            failure = error
        try:
            pending = work.send(result) if failure is None else work.throw(failure)
        except StopIteration as end:
            final: T = end.value
            return final
        finally:
            # A frame that refers to its own error keeps all objects in the traceback alive.
            failure = None


def then(result: Any, make: Callable[[Any], T]) -> T | Coroutine[Any, Any, T]:
    """Return `make(result)`, or a coroutine for it if `result` must be awaited."""
    return _then(result, make) if is_awaitable(result) else make(result)


async def _then(pending: Awaitable[Any], make: Callable[[Any], T]) -> T:
    return make(await pending)


@asynccontextmanager
async def aclosing(items: AsyncGenerator[T, Any]) -> AsyncIterator[AsyncGenerator[T, Any]]:
    """Close `items` at the end, as `contextlib.aclosing` does, which Python 3.9 does not have."""
    try:
        yield items
    finally:
        await items.aclose()
