"""Work that waits only when something in it has to be awaited.

Steps call functions that may be plain or `async def`. Such work is written once, as a generator
that yields whatever must be awaited and gets back what came of it:

    def work():
        result = fn(item)
        if is_awaitable(result):
            result = yield result
        return result

`settled` runs it: when nothing is yielded the result is there at once, and no event loop is
needed; otherwise the rest goes on in a coroutine, which may be awaited on any event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeAlias, TypeGuard, TypeVar

T = TypeVar("T")
Work: TypeAlias = Generator[Awaitable[Any], Any, T]


def is_awaitable(value: object) -> TypeGuard[Awaitable[Any]]:
    """Whether `value` is to be awaited (PEP 492)."""
    return hasattr(type(value), "__await__")


def settled(work: Work[T]) -> T | Coroutine[Any, Any, T]:
    """What `work` returns, or a coroutine of it once something must be awaited."""
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
            # A frame that holds its own error keeps everything in the traceback alive.
            failure = None


def then(result: Any, make: Callable[[Any], T]) -> T | Coroutine[Any, Any, T]:
    """`make(result)`, once `result` has been awaited if it has to be."""
    return _made(result, make) if is_awaitable(result) else make(result)


async def _made(pending: Awaitable[Any], make: Callable[[Any], T]) -> T:
    return make(await pending)
