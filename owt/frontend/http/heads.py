"""Heads of requests: limits on their size, and the forms in which HTTP permits clients to write them.
Without I/O."""

from __future__ import annotations

import re
from itertools import chain

from msgspec import Struct
from tornado.httputil import HTTPHeaders, HTTPInputError

from owt.frontend.problems import Problem

SLACK = 1024
"""Bytes of a request's head beside its URL and its headers: method, version, line ends."""

_ACCEPT = re.compile(rb"^accept:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_ABSOLUTE = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#@]+)((?:[/?][^#]*)?)", re.IGNORECASE)


def _field(name: bytes) -> re.Pattern[bytes]:
    # With the lines that continue it (RFC 9112, section 5.2).
    return re.compile(rb"^" + name + rb":([^\n]*\n(?:[ \t][^\n]*\n)*)", re.IGNORECASE | re.MULTILINE)


_CONNECTION, _EXPECT, _HOST = _field(b"connection"), _field(b"expect"), _field(b"host")


class HeadLimits(Struct, frozen=True):
    """Limits on a request's URL and on its header lines together, in bytes."""

    url: int
    headers: int

    @property
    def head(self) -> int:
        """Return the maximum size of a head; the stream reads no more."""
        return self.url + self.headers + SLACK

    def check(self, url: str, headers: HTTPHeaders, size: int) -> Problem | None:
        """Return the problem of a head that Tornado has parsed, or None. `size` is that of all its bytes."""
        if 2 * size <= min(self.url, self.headers):
            # Nothing counts twice.
            return None
        if len(url) > self.url:
            return self._url_too_long()
        lines = list(headers.get_all())
        # A line has a colon, a space and two characters at its end.
        size = sum(map(len, chain.from_iterable(lines))) + 4 * len(lines)
        return self.headers_too_large() if size > self.headers else None

    def problem(self, beginning: bytes) -> Problem:
        """Return the problem of a head that is larger than `head`, from its beginning."""
        # Line ends before the request are permitted (RFC 9112, section 2.2).
        line = beginning.lstrip(b"\r\n").partition(b"\n")[0]
        url = line.split(b" ", 2)[1] if b" " in line else b""
        if len(url.rstrip(b"\r")) > self.url or len(line) > self.url + SLACK:
            return self._url_too_long()
        return self.headers_too_large()

    def _url_too_long(self) -> Problem:
        # RFC 9110, section 15.5.15.
        return Problem(
            "urn:owt:url-too-long",
            "the URL is too long",
            414,
            f"the limit is {self.url} bytes (--max-url); send code and kwargs in a POST's body",
        )

    def headers_too_large(self) -> Problem:
        """Return the problem of headers, or of trailers, beyond the limit."""
        # RFC 6585, section 5.
        return Problem(
            "urn:owt:headers-too-large",
            "the headers are too large",
            431,
            f"the limit is {self.headers} bytes for all of them together (--max-header)",
        )


def accept_of(head: bytes) -> str:
    """Return the Accept header of a head, or of its beginning."""
    match = _ACCEPT.search(head)
    return match[1].strip().decode("latin-1") if match else "*/*"


def normal_head(head: bytes) -> bytes:
    """Return a request's head in the one form that Tornado reads, of those that clients may use.

    - A target in absolute-form, as proxies get it, becomes origin-form, and its authority the Host (RFC 9112,
      section 3.2.2). A user's name and password in it are dropped.
    - A `close` among several options of `Connection` stands alone (RFC 9110, section 7.6.1).
    - An expectation is in lower case, and that of an HTTP/1.0 request is ignored (section 10.1.1).

    Raises `HTTPInputError` for a target of another form.
    """
    target = head.find(b" ") + 1
    lower = head.lower()
    if head[target : target + 1] == b"/" and b"close" not in lower and b"expect" not in lower:
        return head
    line, _, fields = head.lstrip(b"\r\n").partition(b"\n")
    parts = line.rstrip(b"\r").split(b" ")
    if len(parts) != 3:
        # Tornado refuses this.
        return head
    method, url, version = parts
    if (absolute := _ABSOLUTE.fullmatch(url)) is not None:
        url = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
        fields = b"Host: %s\r\n" % absolute[1] + _HOST.sub(b"", fields)
    elif not (url.startswith(b"/") or (method, url) == (b"OPTIONS", b"*") or method == b"CONNECT"):
        raise HTTPInputError("the target is no path and no URL of HTTP")
    options = b",".join(_CONNECTION.findall(fields)).lower().split(b",")
    if b"close" in (option.strip() for option in options):
        fields = b"Connection: close\r\n" + _CONNECTION.sub(b"", fields)
    fields = _EXPECT.sub(b"" if version == b"HTTP/1.0" else lambda match: match[0].lower(), fields)
    return b"%s %s %s\r\n%s" % (method, url, version, fields)
