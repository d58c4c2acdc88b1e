"""Steps on sequences, mappings and streams.

The result for a sequence, set or other iterable is a list. A mapping counts as the sequence of its
values, and `map` and `filter` keep their keys. An iterator (a generator, an open file) and an async
iterator stay lazy: `map` and `filter` return a stream. Anything else is an error that names the step
and the value.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from owt.errors import shortened
from owt.summat.errors import NoItem, WrongValue
from owt.summat.flow import MISSING, Flow
from owt.summat.importing import lend
from owt.summat.later import Work, is_awaitable, settled
from owt.summat.step import MethodStep
from owt.summat.streams import filtered, is_stream, mapped

ITEMS = "a sequence, a mapping or an iterator"
INDEXED = "a sequence or a mapping"


@dataclass(frozen=True, slots=True, repr=False)
class Map(MethodStep):
    fn: Callable[[Any], Any]

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        lend(self.fn, flow.names)
        if is_stream(flow.value):
            return flow.giving(mapped(self.fn, flow.value))
        return settled(self._all(flow))

    def _all(self, flow: Flow) -> Work[Flow]:
        results = yield from _results(self.fn, _items(flow, self))
        if isinstance(flow.value, Mapping):
            return flow.giving(dict(zip(flow.value, results, strict=True)))
        return flow.giving(results)


@dataclass(frozen=True, slots=True, repr=False)
class Filter(MethodStep):
    fn: Callable[[Any], Any]

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        lend(self.fn, flow.names)
        if is_stream(flow.value):
            return flow.giving(filtered(self.fn, flow.value))
        return settled(self._all(flow))

    def _all(self, flow: Flow) -> Work[Flow]:
        items = list(_items(flow, self))
        kept = yield from _results(self.fn, items)
        if isinstance(flow.value, Mapping):
            return flow.giving(dict(compress(flow.value.items(), kept)))
        return flow.giving(list(compress(items, kept)))


def _results(fn: Callable[[Any], Any], items: Iterable[Any]) -> Work[list[Any]]:
    results: list[Any] = []
    for item in items:
        result = fn(item)
        results.append((yield result) if is_awaitable(result) else result)
    return results


def _folded(fn: Callable[[Any, Any], Any], start: Any, flow: Flow, step: object) -> Work[Flow]:
    lend(fn, flow.names)
    result = start
    is_async = isinstance(flow.value, AsyncIterator)
    items: Any = flow.value if is_async else iter(_items(flow, step))
    end = StopAsyncIteration if is_async else StopIteration
    while True:
        try:
            item = (yield anext(items)) if is_async else next(items)
        except end:
            break
        result = item if result is MISSING else fn(result, item)
        if is_awaitable(result):
            result = yield result
    if result is MISSING:
        raise NoItem(f"{step} needs at least one item; {shortened(flow.value)} has none")
    return flow.giving(result)


@dataclass(frozen=True, slots=True, repr=False)
class Foldl(MethodStep):
    fn: Callable[[Any, Any], Any]
    start: Any

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        return settled(_folded(self.fn, self.start, flow, self))


@dataclass(frozen=True, slots=True, repr=False)
class Foldl1(MethodStep):
    fn: Callable[[Any, Any], Any]

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        return settled(_folded(self.fn, MISSING, flow, self))


@dataclass(frozen=True, slots=True, repr=False)
class Ix(MethodStep):
    i: int

    def run(self, flow: Flow) -> Flow:
        return flow.giving(_item(flow, self.i, self))


@dataclass(frozen=True, slots=True, repr=False)
class Last(MethodStep):
    def run(self, flow: Flow) -> Flow:
        return flow.giving(_item(flow, -1, self))


@dataclass(frozen=True, slots=True, repr=False)
class Get(MethodStep):
    key: Any
    default: Any = None

    def run(self, flow: Flow) -> Flow:
        value = flow.value
        if isinstance(value, Mapping):
            return flow.giving(value.get(self.key, self.default))
        if not _is_indexed(value):
            raise flow.wrong(self, INDEXED)
        if not isinstance(self.key, int):
            raise WrongValue(
                f"{self} of a sequence needs an index, not {type(self.key).__name__};"
                f" it got {type(value).__name__}: {shortened(value)}"
            )
        exists = -len(value) <= self.key < len(value)
        return flow.giving(value[self.key] if exists else self.default)


def _items(flow: Flow, step: object) -> Iterable[Any]:
    if isinstance(flow.value, Mapping):
        return flow.value.values()
    if isinstance(flow.value, Iterable):
        return flow.value
    raise flow.wrong(step, ITEMS)


def _item(flow: Flow, index: int, step: object) -> Any:
    value = list(flow.value.values()) if isinstance(flow.value, Mapping) else flow.value
    if not _is_indexed(value):
        raise flow.wrong(step, f"{INDEXED} (an iterator becomes one with .cast(list))")
    size = len(value)
    if not -size <= index < size:
        raise NoItem(f"{step}: the {type(flow.value).__name__} has {size} items: {shortened(flow.value)}")
    return value[index]


def _is_indexed(value: object) -> bool:
    # NumPy's arrays behave as sequences and are not registered as such.
    return isinstance(value, Sequence) or hasattr(value, "__array_interface__")
