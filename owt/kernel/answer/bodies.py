"""Bodies of answers: bytes of a value with their form and media type, and those of Python's plain types."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from owt.kernel.answer import json_encoding
from owt.kernel.answer.representations import Representation
from owt.wire.chunk import Data, Display, Form
from owt.wire.media import OCTETS, media_type

MAX_PIECE = 255 * 1024
"""Maximum number of bytes of a body in one chunk; a multiple of three (see `Data`)."""
HTML = "text/html; charset=utf-8"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
MIXED = "multipart/mixed"


class Body(NamedTuple):
    """Bytes of a value; `content` is None if there is no body. `negotiated`: the Accept header decided the
    type. `kind` is for `owt.kernel.answer.values.VALUE_HEADER`; the `displays` come before the value."""

    content: bytes | bytearray | memoryview | None
    form: Form
    type: str
    negotiated: bool = False
    kind: str | None = None
    displays: tuple[Display, ...] = ()


def _text(value: str, negotiated: bool = False) -> Body:
    # Not `value.encode`: of an enum that is a str, this gives the value.
    try:
        return Body(str.encode(value), "text", HTML, negotiated)
    except UnicodeEncodeError as error:
        raise json_encoding.surrogate(error) from None


def _raw(value: bytes | bytearray | memoryview) -> Body:
    # The first 16 items of a view may be wide.
    start = value[:16] if not isinstance(value, memoryview) or value.itemsize * value.ndim == 1 else b""
    return Body(value, "bytes", media_type(bytes(start)) or OCTETS)


def _number(value: float, negotiated: bool = False) -> Body:
    return Body(str(value).encode(), "text", HTML, negotiated)


def _nothing(value: None, negotiated: bool = False) -> Body:
    return Body(None, "text", HTML, negotiated)


def whole_json(value: object, negotiated: bool = False) -> Body:
    """Return a value as a document of JSON."""
    return Body(json_encoding.encode(value), "json", JSON, negotiated)


def json_line(value: object) -> Body:
    """Return an item of a stream as a document of JSON, which is on a line of its own."""
    return Body(json_encoding.encode(value), "json", JSON_LINES)


def _bytes_line(value: bytes | bytearray | memoryview) -> Body:
    return json_line(bytes(value))


Makers = dict[type, Callable[[Any], Body]]


RETURNED: Makers = {
    str: _text,
    type(None): _nothing,
    **dict.fromkeys((dict, list, tuple, set, frozenset), whole_json),
    **dict.fromkeys((bytes, bytearray, memoryview), _raw),
    **dict.fromkeys((int, float, bool), _number),
}
_SCALARS = (str, int, float, bool, type(None))
SCALARS_IN_JSON = RETURNED | dict.fromkeys(_SCALARS, partial(whole_json, negotiated=True))
SCALARS_IN_TEXT = RETURNED | {
    str: partial(_text, negotiated=True),
    type(None): partial(_nothing, negotiated=True),
    **dict.fromkeys((int, float, bool), partial(_number, negotiated=True)),
}
NUMBERS_IN_JSON = RETURNED | dict.fromkeys((int, float, bool), whole_json)
YIELDED: Makers = dict.fromkeys(RETURNED, json_line) | dict.fromkeys((bytes, bytearray, memoryview), _raw)
YIELDED[str] = _text
LINES: Makers = dict.fromkeys(RETURNED, json_line) | dict.fromkeys(
    (bytes, bytearray, memoryview), _bytes_line
)
"""Items of a stream that begins with neither text nor bytes, for clients that prefer JSON."""


def form_of(body: bytes, mimetype: str | None) -> Form:
    """Return the form of a response's body: text if its type says so and it is UTF-8."""
    if not mimetype or not (mimetype.startswith("text/") or mimetype.endswith(("json", "xml", "javascript"))):
        return "bytes"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "bytes"
    return "text"


def multipart(document: bytes, parts: Iterable[tuple[str, Representation]]) -> Body:
    """Return a document and what it names as one body (RFC 2046, 5.1)."""
    boundary = f"owt-{os.urandom(16).hex()}"
    lines = [f"--{boundary}\r\nContent-Type: {JSON}\r\n\r\n".encode(), document]
    for id, chosen in parts:
        head = f"\r\n--{boundary}\r\nContent-Type: {chosen.content_type}\r\nContent-ID: <{id}>\r\n\r\n"
        lines += [head.encode(), chosen.body]
    lines.append(f"\r\n--{boundary}--\r\n".encode())
    return Body(b"".join(lines), "bytes", f'{MIXED}; boundary="{boundary}"', negotiated=True)


def as_base64(data: bytes) -> str:
    """Return bytes in base64, as displays and documents have them."""
    return base64.b64encode(data).decode("ascii")


def pieces(content: bytes | bytearray | memoryview, form: Form, result: bool) -> Iterable[Data]:
    """Return the chunks of a body: one, unless it is large."""
    if (content.nbytes if isinstance(content, memoryview) else len(content)) <= MAX_PIECE:
        return (Data(bytes(content), form, result),)
    return _split(content, form, result)


def _split(content: bytes | bytearray | memoryview, form: Form, result: bool) -> Iterator[Data]:
    if isinstance(content, memoryview) and not content.c_contiguous:
        content = bytes(content)
    with memoryview(content).cast("B") as view:
        for start in range(0, len(view), MAX_PIECE):
            end = start + MAX_PIECE
            yield Data(bytes(view[start:end]), form, result, end < len(view))
