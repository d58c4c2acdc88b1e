"""Values of an adaptor to chunks: what it returns, and what its iterator yields.

    str, bytes, numbers, None       the body as it is, its text, or no body
    dict, list, dataclass, array    JSON: `owt.kernel.answer.json_encoding`
    (body, status, headers)         the body with these: `owt.kernel.answer.response_tuple`
    a werkzeug or Flask response    its status, headers and body
    iterators, sync and async       item by item, pulled by the execution
    figures, images, tables         as the client prefers: `owt.kernel.answer.representations`

Nothing in this module does I/O; iterating, awaiting and sending belong to the execution.
"""

from __future__ import annotations

import enum
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from owt.kernel.answer import json_encoding, representations
from owt.kernel.answer.json_encoding import loaded, type_name
from owt.kernel.answer.response_tuple import Headers, header, merged, parse_response_tuple, validated
from owt.wire.accept import prefers_json
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Form, Head
from owt.wire.http import BODILESS, is_final_status

MAX_PIECE = 255 * 1024
"""Maximum number of bytes of a body in one chunk; a multiple of three (see `Data`)."""
FILE_BLOCK = 64 * 1024
"""Number of bytes that are read from a file at a time."""
HTML = "text/html; charset=utf-8"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"


class Whole(Struct, frozen=True):
    """Complete answer. The chunks may be lazy; iterate once. No user code runs in the iteration."""

    chunks: Iterable[Chunk]


class Stream(Struct, frozen=True):
    """Answer that comes item by item.

    Pass each item to `ValueEncoder.item` and the value of StopIteration to `ValueEncoder.finish`, and call
    `close` at the end in any case.
    """

    items: Iterator[object]
    close: Callable[[], object] | None = None


class AsyncStream(Struct, frozen=True):
    """`Stream` of an asynchronous iterator; the result of `close` is awaited."""

    items: AsyncIterator[object]
    close: Callable[[], Awaitable[object]] | None = None


ResultKind = Whole | Stream | AsyncStream


class _Body(NamedTuple):
    """Bytes of a value; `content` is None if there is no body. `negotiated`: the Accept header decided the
    type."""

    content: bytes | bytearray | memoryview | None
    form: Form
    type: str
    negotiated: bool = False


class ValueEncoder:
    """Encoder of the values of one run.

    `classify` takes what the adaptor returned, `item` and `finish` what its iterator yields and ends with. A
    `Head` is returned with the first piece of the answer, so that an earlier failure can still be answered
    with an error status. All three may run long user code (rendering, conversion) and may be interrupted; a
    method that raises has produced no chunk. They raise TypeError for a value that cannot be answered, naming
    its type, and ValueError for headers that HTTP cannot carry and for cyclic JSON.
    """

    def __init__(self, call: Call, shell: Any, looked_at: Collection[str] = ()) -> None:
        """Create an encoder. The display formatter of the IPython `shell` makes rich representations;
        `looked_at` is that of the run, for `Head.personal`.

        `status` is the answer's, and `begun` is True from its `Head` on.
        """
        self.status = 200
        self._call = call
        self._shell = shell
        self._looked_at = looked_at
        self._next_status: int | None = None
        self._headers: Headers = ()
        self._default_type = True
        self._returned = _RETURNED
        self.begun = False

    def declare_scalar(self, form: Literal["text", "json"]) -> None:
        """Answer numbers, booleans and strings in the form that the client prefers, or else in this one."""
        if not self._call.sse:
            in_json = prefers_json(self._call.accept, by_default=form == "json", problem=False)
            self._returned = _SCALARS_IN_JSON if in_json else _SCALARS_IN_TEXT

    def classify(self, value: Any) -> ResultKind:
        """Return how the adaptor's result is delivered. Awaitables are awaited before."""
        if type(value) is tuple:
            parts = parse_response_tuple(value)
            if parts is None:
                return self._whole(_json(value))
            self._headers = merged(self._headers, parts.headers)
            if parts.status is not None:
                self._next_status = parts.status
            value = parts.body
        make = self._returned.get(type(value))
        if make is not None:
            return self._whole(make(value))
        if json_encoding.is_mock(value):
            raise _refusal(value)
        if isinstance(value, loaded("werkzeug.sansio.response", "Response")):
            return self._response(value)
        if _is_file(value):
            return Stream(_blocks(value), _method(value, "close"))
        if hasattr(type(value), "__next__"):
            return Stream(value, _method(value, "close"))
        if hasattr(type(value), "__aiter__"):
            async_items = value.__aiter__()
            return AsyncStream(async_items, _method(async_items, "aclose"))
        return self._whole(self._other(value, self._returned))

    def represented(self, chosen: representations.Representation, *, negotiated: bool = False) -> Whole:
        """Return the result that has this representation; `negotiated`: the Accept header decided its
        type."""
        return self._whole(_Body(chosen.body, chosen.form, chosen.content_type, negotiated))

    def item(self, value: Any) -> Iterable[Chunk]:
        """Return the chunks of one item of a stream. Those of the first item start with the `Head`."""
        return self._chunks(self._yielded(value), result=False)

    def finish(self, returned: object = None) -> Iterable[Chunk]:
        """Return the chunks after a stream's last item.

        `returned` is the return value of a generator: the result, after items; without any item it is
        answered as if a function had returned it.
        """
        if self.begun:
            return () if returned is None else self._chunks(self._yielded(returned), result=True)
        if returned is None:
            return self._begin(HTML, whole=True)
        match self.classify(returned):
            case Whole(chunks=chunks):
                return chunks
        raise TypeError(
            f"the generator returned a value of type {type_name(returned)}, which is not iterated; write "
            "`yield from` it"
        )

    def _whole(self, body: _Body) -> Whole:
        if body.content is None:
            if self._call.sse:
                body = _Body(b"null", "json", HTML)
            else:
                return Whole(self._begin(body.type, whole=True))
        return Whole(self._chunks(body, result=True))

    def _chunks(self, body: _Body, *, result: bool) -> Iterable[Chunk]:
        head = () if self.begun else self._begin(body.type, whole=result, negotiated=body.negotiated)
        if body.content is None or self.status in BODILESS:
            return head
        return chain(head, _pieces(body.content, body.form, result))

    def _begin(self, content_type: str, *, whole: bool, negotiated: bool = False) -> tuple[Head]:
        headers = self._headers
        self.begun = True
        self.status = self._next_status or 200
        if negotiated:
            # A cache must not serve it to a client with another Accept header (RFC 9110, 12.5.5).
            headers = (*headers, ("Vary", "Accept"))
        if not headers and self._default_type:
            return (Head(self.status, (("Content-Type", content_type),), bool(self._looked_at)),)
        if whole or self.status in BODILESS:
            # The frontend counts the bytes that it sends.
            headers = tuple(pair for pair in headers if pair[0].lower() != "content-length")
        if self._default_type and header(headers, "content-type") is None:
            headers = (("Content-Type", content_type), *headers)
        return (Head(self.status, headers, bool(self._looked_at)),)

    def _response(self, response: Any) -> ResultKind:
        """Return a response of werkzeug, Flask or werkzeug.sansio (which has no body) as a result.

        Status and headers of a response tuple around it win over its own.
        """
        status, headers = response.status_code, validated(list(response.headers))
        if not is_final_status(status):
            raise ValueError(f"a response's status is from 200 to 599; got {status}")
        self._next_status = self._next_status or status
        self._headers = merged(headers, self._headers)
        self._default_type = False
        if not hasattr(response, "response"):
            return Whole(self._begin(HTML, whole=True))
        if self._next_status in BODILESS:
            response.close()
            return Whole(self._begin(HTML, whole=True))
        if not response.is_sequence:
            return Stream(iter(response.response), response.close)
        body = b"".join(response.iter_encoded())
        response.close()
        return self._whole(_Body(body, _form(body, response.mimetype), HTML))

    def _yielded(self, value: Any) -> _Body:
        make = _YIELDED.get(type(value))
        return self._other(value, _YIELDED) if make is None else make(value)

    def _other(self, value: Any, makers: _Makers) -> _Body:
        """Return the body of a value that is of none of the plain types, by its capabilities."""
        if isinstance(value, loaded("numpy", "generic")):
            value = json_encoding.scalar(value)
            return makers.get(type(value), makers[dict])(value)
        if isinstance(value, str):
            return makers[str](value)
        if isinstance(value, (bytes, bytearray)):
            return makers[bytes](value)
        if isinstance(value, (int, float)) and not isinstance(value, enum.Enum):
            return makers[int](value)
        if isinstance(value, loaded("pandas", "Series")) or not json_encoding.is_array(value):
            rich = representations.find(value, self._shell.display_formatter)
            if rich is not None:
                streamed = makers is _YIELDED
                body = self._represented(rich, streamed=streamed)
                return body._replace(type=JSON_LINES) if streamed and body.form == "json" else body
        if json_encoding.is_document(value):
            return makers[dict](value)
        raise _refusal(value)

    def _represented(self, rich: representations.Rich, *, streamed: bool) -> _Body:
        if self._call.sse or (streamed and self._call.sse_streams):
            return _Body(rich.bundle(), "json", JSON)
        content_type = (header(self._headers, "content-type") or "").partition(";")[0].strip().lower()
        negotiated = content_type not in rich
        chosen = rich.choose(self._call.accept if negotiated else content_type)
        return _Body(chosen.body, chosen.form, chosen.content_type, negotiated)


def _refusal(value: object) -> TypeError:
    return TypeError(
        f"an adaptor cannot answer with a value of type {type_name(value)}; return str, bytes, a number, "
        "None, something that JSON holds (dict, list, dataclass, array), (body, status, headers), an "
        "iterator, a werkzeug Response, or an object with IPython's rich representations"
    )


def _text(value: str) -> _Body:
    # Not `value.encode`: of an enum that is a str, this gives the value.
    return _Body(str.encode(value), "text", HTML)


def _raw(value: bytes | bytearray | memoryview) -> _Body:
    return _Body(value, "bytes", HTML)


def _number(value: float) -> _Body:
    return _Body(str(value).encode(), "text", HTML)


def _nothing(value: None) -> _Body:
    return _Body(None, "text", HTML)


def _json(value: object) -> _Body:
    return _Body(json_encoding.encode(value), "json", JSON)


def _json_line(value: object) -> _Body:
    return _Body(json_encoding.encode(value), "json", JSON_LINES)


_Makers = dict[type, Callable[[Any], _Body]]

_RETURNED: _Makers = {
    str: _text,
    type(None): _nothing,
    **dict.fromkeys((dict, list, tuple, set, frozenset), _json),
    **dict.fromkeys((bytes, bytearray, memoryview), _raw),
    **dict.fromkeys((int, float, bool), _number),
}
def _negotiated(make: Callable[[Any], _Body]) -> Callable[[Any], _Body]:
    return lambda value: make(value)._replace(negotiated=True)


_SCALARS_IN_JSON = _RETURNED | dict.fromkeys((str, int, float, bool, type(None)), _negotiated(_json))
_SCALARS_IN_TEXT = _RETURNED | {
    kind: _negotiated(_RETURNED[kind]) for kind in (str, int, float, bool, type(None))
}
_YIELDED: _Makers = dict.fromkeys(_RETURNED, _json_line) | dict.fromkeys((bytes, bytearray, memoryview), _raw)
_YIELDED[str] = _text


def _form(body: bytes, mimetype: str | None) -> Form:
    """Return the form of a response's body: text if its type says so and it is UTF-8."""
    if not mimetype or not (mimetype.startswith("text/") or mimetype.endswith(("json", "xml", "javascript"))):
        return "bytes"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "bytes"
    return "text"


def _method(value: Any, name: str) -> Any:
    """Return a method that the value's class has, or None. An instance may pretend to have any attribute."""
    return getattr(value, name) if callable(getattr(type(value), name, None)) else None


def _is_file(value: object) -> bool:
    kind = type(value)
    if hasattr(kind, "__next__"):
        return hasattr(kind, "__iter__") and callable(getattr(kind, "read", None))
    # Wrappers of files whose instances forward what their classes lack. The first class has no public name;
    # tests/kernel/answer/test_values.py fails when it changes.
    return isinstance(
        value, (loaded("tempfile", "_TemporaryFileWrapper"), loaded("werkzeug.datastructures", "FileStorage"))
    )


def _blocks(file: Any) -> Iterator[object]:
    """Yield a file's content: blocks of a binary file, lines of a text file."""
    read = getattr(file, "read1", file.read if isinstance(file, io.RawIOBase) else None)
    if read is None:
        yield from file
        return
    while block := read(FILE_BLOCK):
        yield block


def _pieces(content: bytes | bytearray | memoryview, form: Form, result: bool) -> Iterable[Data]:
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
