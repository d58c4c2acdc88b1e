"""Values of an adaptor to chunks: what it returns, and what its iterator yields.

The first of these that fits a value decides:

    a type that a user has registered   what its function returns: `owt.kernel.answer.conversions`
    str, numbers, None                  its text, or no body; JSON for clients that prefer it
    bytes                               the bytes, with the type that the first ones show
    dict, list, tuple, set              JSON: `owt.kernel.answer.json_encoding`
    (body, status, headers)             the body with these: `owt.kernel.answer.response_tuple`
    a werkzeug or Flask response        its status, headers and body
    a path of a file, an open file      the content
    iterators, sync and async           item by item, pulled by the execution
    arrays, tables, pictures, sounds,   as the client prefers: `owt.kernel.answer.representations`
    rich representations
    records, other collections          JSON

Nothing in this module does I/O except for reading files; iterating, awaiting and sending belong to the
execution.
"""

from __future__ import annotations

import base64
import enum
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Literal, NamedTuple, Union

import msgspec
from msgspec import Struct

from owt.kernel.answer import conversions, files, json_encoding, media, representations
from owt.kernel.answer.json_encoding import loaded, type_name
from owt.kernel.answer.response_tuple import Headers, header, merged, parse_response_tuple, validated
from owt.wire.accept import names, prefers_json, ranks_first
from owt.wire.call import Call
from owt.wire.chunk import FACTS, Chunk, Data, Display, Form, Head
from owt.wire.http import BODILESS, is_final_status
from owt.wire.media import NPY, OCTETS, media_type

MAX_PIECE = 255 * 1024
"""Maximum number of bytes of a body in one chunk; a multiple of three (see `Data`)."""
HTML = "text/html; charset=utf-8"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
MIXED = "multipart/mixed"
VALUE_HEADER = "Owt-Value"
"""Header that says which kind of value an answer was: `array`, `table`, `image` or `file`. No other kinds."""

_VARY = ("Vary", "Accept")


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


ResultKind = Union[Whole, Stream, AsyncStream]


class _Body(NamedTuple):
    """Bytes of a value; `content` is None if there is no body. `negotiated`: the Accept header decided the
    type. `kind` is for `VALUE_HEADER`; the `displays` come before the value."""

    content: bytes | bytearray | memoryview | None
    form: Form
    type: str
    negotiated: bool = False
    kind: str | None = None
    displays: tuple[Display, ...] = ()


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
        self._scalars: Literal["text", "json"] = "text"
        self._kind: str | None = None
        self._media_count = 0
        self.begun = False

    def declare_scalar(self, form: Literal["text", "json"]) -> None:
        """Answer numbers, booleans and strings in this form, unless the client prefers the other one."""
        self._scalars = form

    def classify(self, value: Any) -> ResultKind:
        """Return how the adaptor's result is delivered. Awaitables are awaited before."""
        if conversions.functions:
            value = conversions.converted(value)
        if type(value) is tuple:
            parts = parse_response_tuple(value)
            if parts is None:
                return self._whole(self._sound(value) or self._encoded(value, _json))
            self._headers = merged(self._headers, parts.headers)
            if parts.status is not None:
                self._next_status = parts.status
            value = parts.body
        makers = self._makers()
        make = makers.get(type(value))
        if make is not None:
            return self._whole(make(value) if make is not _json else self._encoded(value, make))
        if json_encoding.is_mock(value):
            raise _refusal(value)
        if isinstance(value, loaded("werkzeug.sansio.response", "Response")):
            return self._response(value)
        if isinstance(value, os.PathLike):
            return self._path(value, makers)
        if files.is_file(value):
            return self._file(value)
        if hasattr(type(value), "__next__"):
            return Stream(value, _method(value, "close"))
        if hasattr(type(value), "__aiter__"):
            async_items = value.__aiter__()
            return AsyncStream(async_items, _method(async_items, "aclose"))
        return self._whole(self._other(value, makers))

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
        result = self.classify(returned)
        if isinstance(result, Whole):
            return result.chunks
        raise TypeError(
            f"the generator returned a value of type {type_name(returned)}, which is not iterated; write "
            "`yield from` it"
        )

    def _makers(self) -> _Makers:
        """Return the functions for a result's plain types: scalars are in JSON if the client prefers it. The
        content type of an adaptor says that text is of this type."""
        if self._call.sse:
            return _NUMBERS_IN_JSON
        if self._headers and (content_type := header(self._headers, "content-type")) is not None:
            return _NUMBERS_IN_JSON if content_type.lower().startswith(JSON) else _RETURNED
        in_json = prefers_json(self._call.accept, by_default=self._scalars == "json", problem=False)
        return _SCALARS_IN_JSON if in_json else _SCALARS_IN_TEXT

    def _whole(self, body: _Body) -> Whole:
        if body.content is None:
            if self._call.sse:
                body = _Body(b"null", "json", HTML)
            else:
                return Whole(self._begin(body.type, whole=True, negotiated=body.negotiated))
        return Whole(self._chunks(body, result=True))

    def _chunks(self, body: _Body, *, result: bool) -> Iterable[Chunk]:
        if not self.begun:
            self._kind = body.kind or self._kind
            head: tuple[Chunk, ...] = self._begin(body.type, whole=result, negotiated=body.negotiated)
        else:
            head = ()
        if body.content is None or self.status in BODILESS:
            return head
        if body.displays:
            head = (*head, *body.displays)
        return chain(head, _pieces(body.content, body.form, result))

    def _begin(self, content_type: str, *, whole: bool, negotiated: bool = False) -> tuple[Head]:
        headers = self._headers
        self.begun = True
        self.status = self._next_status or 200
        if not headers and self._default_type and self._kind is None:
            pair = ("Content-Type", content_type)
            return (Head(self.status, (pair, _VARY) if negotiated else (pair,), bool(self._looked_at)),)
        if negotiated:
            # A cache must not serve it to a client with another Accept header (RFC 9110, 12.5.5).
            headers = (*headers, _VARY)
        if whole or self.status in BODILESS:
            # The frontend counts the bytes that it sends.
            headers = tuple(pair for pair in headers if pair[0].lower() != "content-length")
        if self._default_type and header(headers, "content-type") is None:
            headers = (("Content-Type", content_type), *headers)
        if self._kind is not None:
            headers = (*headers, (VALUE_HEADER, self._kind))
        return (Head(self.status, headers, bool(self._looked_at)),)

    def _path(self, path: os.PathLike[Any], makers: _Makers) -> ResultKind:
        """Return the file at a path as the result; its name for clients that prefer text or JSON, and if
        there is no such file."""
        name, accept = os.fsdecode(path), self._call.accept
        in_text = ranks_first(accept, "text/plain") or ranks_first(accept, "text/*")
        if in_text or self._call.sse or prefers_json(accept, problem=False) or not os.path.isfile(name):
            make = makers[str] if in_text else _json
            return self._whole(make(name)._replace(negotiated=True))
        try:
            response = files.response(name, self._call.request)
        except ModuleNotFoundError:
            # Without ranges and conditions: the environment of a model may have no werkzeug.
            return self._file(open(name, "rb"))
        self._headers = merged(self._headers, (_VARY,))
        self._kind = "file"
        return self._response(response)

    def _file(self, file: Any) -> Stream:
        """Return an open file as a stream, with the type that its name or its first bytes show."""
        if files.reader(file) is not None:
            self._kind = "file"
            if (kind := files.named_type(file)) and header(self._headers, "content-type") is None:
                self._headers = (("Content-Type", kind), *self._headers)
        return Stream(files.blocks(file), _method(file, "close"))

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
        if conversions.functions:
            value = conversions.converted(value)
        make = _YIELDED.get(type(value))
        if make is None:
            return self._other(value, _YIELDED)
        return make(value) if make is not _json_line else self._encoded(value, make)

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
        is_array = json_encoding.is_array(value)
        is_chosen = bool(self._headers) or names(self._call.accept, NPY)
        if is_array and (makers is _YIELDED or self._call.sse or not is_chosen):
            # Most arrays: without the time of a choice.
            body = self._encoded(value, makers[dict])
            is_whole = makers is not _YIELDED and not self._call.sse and body.type == JSON
            return body._replace(negotiated=True, kind="array") if is_whole else body
        rich = representations.array(value) if is_array else self._rich(value)
        if rich is not None:
            return self._represented(rich, streamed=makers is _YIELDED)
        if json_encoding.is_document(value):
            return self._encoded(value, makers[dict])
        raise _refusal(value)

    def _rich(self, value: object) -> representations.Rich | None:
        return representations.find(value, self._shell.display_formatter)

    def _represented(self, rich: representations.Rich, *, streamed: bool) -> _Body:
        accept = self._call.accept
        if self._reads_events(streamed=streamed):
            return _Body(rich.bundle(accept), "json", JSON)
        content_type = (header(self._headers, "content-type") or "").partition(";")[0].strip().lower()
        negotiated = content_type not in rich
        chosen = rich.choose(accept if negotiated else content_type, item=streamed and negotiated)
        if streamed:
            type = JSON_LINES if chosen.form == "json" else chosen.content_type
            return _Body(chosen.body, chosen.form, type, negotiated)
        return _Body(chosen.body, chosen.form, chosen.content_type, negotiated, rich.kind)

    def _reads_events(self, *, streamed: bool) -> bool:
        return self._call.sse or (streamed and self._call.sse_streams)

    def _sound(self, value: tuple[Any, ...]) -> _Body | None:
        """Return `(rate, samples)` as a WAV if the client asks for a sound."""
        if self._call.sse or "audio/" not in self._call.accept.lower():
            return None
        sound = media.wav(value)
        return None if sound is None else _Body(sound, "bytes", media.WAV, negotiated=True)

    def _encoded(self, value: Any, make: Callable[[Any], _Body]) -> _Body:
        """Return a document; if JSON cannot hold what is in it, with pictures and sounds, or as the figure
        that the values are parts of."""
        try:
            return make(value)
        except TypeError:
            # What fails below has no other failure as its context.
            pass
        streamed = make is _json_line
        if (figure := media.figure_of(value)) is not None and (rich := self._rich(figure)) is not None:
            return self._represented(rich, streamed=streamed)
        return self._with_media(value, streamed=streamed)

    def _with_media(self, value: Any, *, streamed: bool) -> _Body:
        """Return a document in which pictures and sounds are data URLs. In events, and if the client accepts
        `multipart/mixed`, they are displays or parts of their own, which the document names (RFC 2392)."""
        accept, parts = self._call.accept, list[tuple[str, representations.Representation]]()
        in_events = self._reads_events(streamed=streamed)
        is_mixed = not (in_events or streamed) and names(accept, MIXED)

        def place(item: object) -> object:
            rich = self._rich(item)
            chosen = None if rich is None else rich.in_document(accept)
            if chosen is None:
                raise json_encoding.unsuitable(item)
            if not representations.is_media(chosen.mime):
                return msgspec.Raw(chosen.body) if chosen.form == "json" else chosen.body.decode()
            if not (in_events or is_mixed):
                return f"data:{chosen.mime};base64,{_base64(chosen.body)}"
            self._media_count += 1
            id = f"value-{self._media_count}"
            parts.append((id, chosen))
            return f"cid:{id}"

        body = json_encoding.encode(value, place)
        if is_mixed and parts:
            return _multipart(body, parts)
        displays = tuple(
            Display(
                {
                    chosen.mime: chosen.body.decode() if chosen.form == "text" else _base64(chosen.body),
                    FACTS: {"display_id": id},
                }
            )
            for id, chosen in parts
        )
        return _Body(body, "json", JSON_LINES if streamed else JSON, negotiated=True, displays=displays)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _multipart(document: bytes, parts: Iterable[tuple[str, representations.Representation]]) -> _Body:
    """Return a document and what it names as one body (RFC 2046, 5.1)."""
    boundary = f"owt-{os.urandom(16).hex()}"
    lines = [f"--{boundary}\r\nContent-Type: {JSON}\r\n\r\n".encode(), document]
    for id, chosen in parts:
        head = f"\r\n--{boundary}\r\nContent-Type: {chosen.content_type}\r\nContent-ID: <{id}>\r\n\r\n"
        lines += [head.encode(), chosen.body]
    lines.append(f"\r\n--{boundary}--\r\n".encode())
    return _Body(b"".join(lines), "bytes", f'{MIXED}; boundary="{boundary}"', negotiated=True)


def _refusal(value: object) -> TypeError:
    return TypeError(
        f"an adaptor cannot answer with a value of type {type_name(value)}; return str, bytes, a number, "
        "None, something that JSON holds (dict, list, dataclass, array), (body, status, headers), an "
        "iterator, a werkzeug Response, or an object with IPython's rich representations"
    )


def _text(value: str, negotiated: bool = False) -> _Body:
    # Not `value.encode`: of an enum that is a str, this gives the value.
    try:
        return _Body(str.encode(value), "text", HTML, negotiated)
    except UnicodeEncodeError as error:
        raise json_encoding.surrogate(error) from None


def _raw(value: bytes | bytearray | memoryview) -> _Body:
    # The first 16 items of a view may be wide.
    start = value[:16] if not isinstance(value, memoryview) or value.itemsize * value.ndim == 1 else b""
    return _Body(value, "bytes", media_type(bytes(start)) or OCTETS)


def _number(value: float, negotiated: bool = False) -> _Body:
    return _Body(str(value).encode(), "text", HTML, negotiated)


def _nothing(value: None, negotiated: bool = False) -> _Body:
    return _Body(None, "text", HTML, negotiated)


def _json(value: object, negotiated: bool = False) -> _Body:
    return _Body(json_encoding.encode(value), "json", JSON, negotiated)


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
_SCALARS = (str, int, float, bool, type(None))
_SCALARS_IN_JSON = _RETURNED | dict.fromkeys(_SCALARS, partial(_json, negotiated=True))
_SCALARS_IN_TEXT = _RETURNED | {
    str: partial(_text, negotiated=True),
    type(None): partial(_nothing, negotiated=True),
    **dict.fromkeys((int, float, bool), partial(_number, negotiated=True)),
}
_NUMBERS_IN_JSON = _RETURNED | dict.fromkeys((int, float, bool), _json)
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
