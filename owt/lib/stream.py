"""An event stream of an adaptor's own: `data:` events that hold JSON, and `[DONE]` as the last.

An adaptor that answers with this Content-Type has its text passed through as it is. A stream that
fails ends without `[DONE]`, so a client can tell.

Source: the HTML standard, "Server-sent events", the event stream's grammar.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, ParamSpec

HEADERS = {"Content-Type": "text/event-stream; charset=utf-8"}

P = ParamSpec("P")


def event(**fields: Any) -> str:
    """One event whose data is `fields` as a JSON object, on one line.

    Raises `TypeError` for a field that JSON cannot hold.
    """
    return f"data: {json.dumps(fields, ensure_ascii=False, separators=(',', ':'))}\n\n"


def done() -> str:
    """The event that says that nothing follows, as streaming APIs of language models send it."""
    return "data: [DONE]\n\n"


def response(
    generator: Callable[P, Iterable[Mapping[str, Any] | str]], *args: P.args, **kwargs: P.kwargs
) -> tuple[Iterator[str], dict[str, str]]:
    """What an adaptor returns to stream the items of `generator(*args, **kwargs)` as events.

    A mapping becomes an `event` of its fields; a string is an event already and stays as it is.
    `done()` follows the last. `generator` is called here, so that a function that checks its
    arguments before it returns an iterator can still answer with an error status.
    """
    return _events(generator(*args, **kwargs)), dict(HEADERS)


def _events(items: Iterable[Mapping[str, Any] | str]) -> Iterator[str]:
    try:
        for item in items:
            yield item if isinstance(item, str) else event(**item)
        yield done()
    finally:
        # A reader that went away closes this generator, not the one that it reads from.
        if isinstance(items, Generator):
            items.close()
