"""Events from the lines of a response."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from owt.wire import sse


def events_until(lines: Iterator[str], last: str | None) -> list[sse.Event]:
    """Return the events of a stream up to the one with this data, or to the end of the stream."""
    decoder, events = sse.Decoder(), []
    try:
        for line in lines:
            events += decoder.feed(f"{line}\n".encode())
            if events and events[-1].data == last:
                break
    except httpx.HTTPError:
        assert last is None
    return events
