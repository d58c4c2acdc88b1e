"""Steps on sequences, mappings and streams.

The result for a sequence, set or other iterable is a list. A mapping counts as the sequence of its
values, and `map` and `filter` keep their keys. An iterator (a generator, an open file) and an async
iterator stay lazy: `map` and `filter` return a stream. Anything else is an error that names the step
and the value.
"""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, SupportsIndex

from owt.errors import shortened
from owt.summat.errors import NoItem, WrongValue
from owt.summat.flow import MISSING, Flow
from owt.summat.importing import lend
from owt.summat.later import Work, is_awaitable, settled
from owt.summat.step import Step
from owt.summat.streams import filtered, is_stream, mapped

ITEMS = "a sequence, a mapping or an iterator"
INDEXED = "a sequence or a mapping"

Function = Callable[..., Any]


def map_(step: Step, flow: Flow, fn: Function) -> Flow | Awaitable[Flow]:
    """Apply `fn` to each item: a list, a dict with the same keys, or a lazy stream."""
    lend(fn, flow.names)
    if is_stream(flow.value):
        return flow.giving(mapped(fn, flow.value))
    return settled(_mapped(step, flow, fn))


def _mapped(step: Step, flow: Flow, fn: Function) -> Work[Flow]:
    results = yield from _results(fn, _items(flow, step))
    if isinstance(flow.value, Mapping):
        return flow.giving(dict(zip(flow.value, results)))
    return flow.giving(results)


def filter_(step: Step, flow: Flow, fn: Function) -> Flow | Awaitable[Flow]:
    """Keep the items for which `fn(item)` is true: a list, a dict, or a lazy stream."""
    lend(fn, flow.names)
    if is_stream(flow.value):
        return flow.giving(filtered(fn, flow.value))
    return settled(_filtered(step, flow, fn))


def _filtered(step: Step, flow: Flow, fn: Function) -> Work[Flow]:
    items = list(_items(flow, step))
    kept = yield from _results(fn, items)
    if isinstance(flow.value, Mapping):
        return flow.giving(dict(compress(flow.value.items(), kept)))
    return flow.giving(list(compress(items, kept)))


def _results(fn: Function, items: Iterable[Any]) -> Work[list[Any]]:
    results: list[Any] = []
    for item in items:
        result = fn(item)
        results.append((yield result) if is_awaitable(result) else result)
    return results


def _folded(fn: Function, start: Any, flow: Flow, step: Step) -> Work[Flow]:
    lend(fn, flow.names)
    result = start
    is_async = isinstance(flow.value, AsyncIterator)
    items: Any = flow.value if is_async else iter(_items(flow, step))
    end = StopAsyncIteration if is_async else StopIteration
    while True:
        try:
            item = (yield items.__anext__()) if is_async else next(items)
        except end:
            break
        result = item if result is MISSING else fn(result, item)
        if is_awaitable(result):
            result = yield result
    if result is MISSING:
        raise NoItem(f"{step} needs at least one item; {shortened(flow.value)} has none")
    return flow.giving(result)


def foldl(step: Step, flow: Flow, fn: Function, start: Any) -> Flow | Awaitable[Flow]:
    """Fold from the left: `fn(fn(start, first), second)` and so on."""
    return settled(_folded(fn, start, flow, step))


def foldl1(step: Step, flow: Flow, fn: Function) -> Flow | Awaitable[Flow]:
    """Fold from the left, starting with the first item. Raises `NoItem` if there is none."""
    return settled(_folded(fn, MISSING, flow, step))


def ix(step: Step, flow: Flow, i: SupportsIndex) -> Flow:
    """Take the item at index `i`, from the end if it is negative. Raises `NoItem` if there is none."""
    return flow.giving(_item(flow, operator.index(i), step))


def last(step: Step, flow: Flow) -> Flow:
    """Take the last item. Raises `NoItem` if there is none."""
    return flow.giving(_item(flow, -1, step))


def get(step: Step, flow: Flow, key: Any, default: Any = None) -> Flow:
    """Take the value at a mapping's key or a sequence's index, or `default`."""
    value = flow.value
    if isinstance(value, Mapping):
        return flow.giving(value.get(key, default))
    if not _is_indexed(value):
        raise flow.wrong(step, INDEXED)
    if not isinstance(key, int):
        raise WrongValue(
            f"{step} of a sequence needs an index, not {type(key).__name__};"
            f" it got {type(value).__name__}: {shortened(value)}"
        )
    return flow.giving(value[key] if -len(value) <= key < len(value) else default)


def _items(flow: Flow, step: Step) -> Iterable[Any]:
    if isinstance(flow.value, Mapping):
        return flow.value.values()
    if isinstance(flow.value, Iterable):
        return flow.value
    raise flow.wrong(step, ITEMS)


def _item(flow: Flow, index: int, step: Step) -> Any:
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
