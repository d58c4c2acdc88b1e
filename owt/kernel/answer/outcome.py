"""How a run goes on after its adaptor has returned: with a whole answer, or item by item."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from owt.wire.chunk import Chunk


@dataclass(frozen=True, slots=True)
class Whole:
    """The complete answer. The chunks may be lazy: iterate once; no user code runs in that."""

    chunks: Iterable[Chunk]


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that comes item by item: give each item to `Answer.item`, the value that ended the
    iterator (of StopIteration) to `Answer.finish`, and call `close` at the end, whichever it is."""

    items: Iterator[object]
    close: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class AsyncStream:
    """As `Stream`, for an asynchronous iterator; what `close` returns is to be awaited."""

    items: AsyncIterator[object]
    close: Callable[[], Awaitable[object]] | None = None


Course = Whole | Stream | AsyncStream
