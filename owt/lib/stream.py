"""An adaptor's own event stream: `data:` events with JSON, and `[DONE]` as the last.

owt passes the text of a response with this Content-Type through unchanged. A stream that fails ends without
`[DONE]`. The format is that of `owt.summat.events`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from owt.summat import events, streams

TextStream = tuple[Iterator[str], dict[str, str]]
"""Response tuple of text that is streamed, and its headers."""
ByteStream = tuple[Iterator[bytes], dict[str, str]]
"""Response tuple of bytes that are streamed, and its headers."""

if TYPE_CHECKING:
    from typing import ParamSpec

    P = ParamSpec("P")


def event(**fields: Any) -> str:
    """Return an event whose data is `fields` as a JSON object on one line.

    Raises `TypeError` or `ValueError` for a field that JSON cannot hold.
    """
    return events.event(fields)


def done() -> str:
    """Return the event that ends the stream, as in streaming APIs of language models."""
    return events.DONE


def response(
    generator: Callable[P, Iterable[Mapping[str, Any] | str]], *args: P.args, **kwargs: P.kwargs
) -> TextStream:
    """Return a response tuple that streams the items of `generator(*args, **kwargs)` as events.

    A mapping becomes an `event` of its fields; a string is a complete event and stays unchanged.
    `done()` follows the last. `generator` is called here, so that a function that checks its
    arguments before it returns an iterator can still fail with an error status.
    """
    messages = streams.mapped(_message, generator(*args, **kwargs))
    return events.finished(cast("Iterator[str]", messages)), {"Content-Type": events.CONTENT_TYPE}


def _message(item: Mapping[str, Any] | str) -> str:
    return item if isinstance(item, str) else event(**item)
