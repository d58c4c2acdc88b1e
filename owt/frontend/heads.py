"""A bound on the heads of requests that takes hold before they are parsed.

`--max-header` counts the headers that Tornado has parsed, and a head may be as large as a URL and the
headers together. Parsing costs some microseconds a line: a megabyte of the shortest lines would hold the
event loop for most of a second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tornado.iostream import IOStream, StreamClosedError

MOST_LINES = 2000

_TEXT = f"the request has more than {MOST_LINES} header lines\n"
REFUSAL = (
    "HTTP/1.1 431 Request Header Fields Too Large\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    f"Content-Length: {len(_TEXT)}\r\n"
    f"Connection: close\r\n\r\n{_TEXT}"
).encode()
"""The answer (RFC 6585, section 5)."""


def bound(stream: IOStream) -> None:
    """Have a head of too many lines answered with 431, and its connection closed.

    Tornado reads heads, and nothing else, by `read_until_regex`; this one stands in front of it.
    """
    read: Callable[..., Awaitable[bytes]] = stream.read_until_regex

    async def read_head(regex: bytes, max_bytes: int | None = None) -> bytes:
        head = await read(regex, max_bytes=max_bytes)
        if head.count(b"\n") > MOST_LINES:
            await stream.write(REFUSAL)
            stream.close()
            raise StreamClosedError
        return head

    stream.read_until_regex = read_head  # type: ignore[method-assign]
