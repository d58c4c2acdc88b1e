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

import enum
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import Any, Literal, Union

import msgspec
from msgspec import Struct

from owt.kernel.answer import conversions, files, json_encoding, media, representations
from owt.kernel.answer.bodies import (
    HTML,
    JSON,
    JSON_LINES,
    LINES,
    MIXED,
    NUMBERS_IN_JSON,
    RETURNED,
    SCALARS_IN_JSON,
    SCALARS_IN_TEXT,
    YIELDED,
    Body,
    Makers,
    as_base64,
    form_of,
    json_line,
    multipart,
    pieces,
    whole_json,
)
from owt.kernel.answer.json_encoding import loaded, type_name
from owt.kernel.answer.response_tuple import Headers, header, merged, parse_response_tuple, validated
from owt.wire.accept import names, prefers_json, ranks_first
from owt.wire.call import Call
from owt.wire.chunk import FACTS, Chunk, Display, Head
from owt.wire.http import BODILESS, is_final_status
from owt.wire.media import NPY

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
        self._item_makers = YIELDED
        self._separates_items = False
        self._in_text = False
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
                return self._whole(self._sound(value) or self._encoded(value, whole_json))
            self._headers = merged(self._headers, parts.headers)
            if parts.status is not None:
                self._next_status = parts.status
            value = parts.body
        makers = self._makers()
        make = makers.get(type(value))
        if make is not None:
            return self._whole(make(value) if make is not whole_json else self._encoded(value, make))
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
        return self._whole(Body(chosen.body, chosen.form, chosen.content_type, negotiated))

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

    def _makers(self) -> Makers:
        """Return the functions for a result's plain types: scalars are in JSON if the client prefers it. The
        content type of an adaptor says that text is of this type."""
        if self._call.sse:
            return NUMBERS_IN_JSON
        if self._headers and (content_type := header(self._headers, "content-type")) is not None:
            return NUMBERS_IN_JSON if content_type.lower().startswith(JSON) else RETURNED
        in_json = prefers_json(self._call.accept, by_default=self._scalars == "json", problem=False)
        return SCALARS_IN_JSON if in_json else SCALARS_IN_TEXT

    def _whole(self, body: Body) -> Whole:
        if body.content is None:
            if self._call.sse:
                body = Body(b"null", "json", HTML)
            else:
                return Whole(self._begin(body.type, whole=True, negotiated=body.negotiated))
        return Whole(self._chunks(body, result=True))

    def _chunks(self, body: Body, *, result: bool) -> Iterable[Chunk]:
        if not self.begun:
            self._kind = body.kind or self._kind
            head: tuple[Chunk, ...] = self._begin(body.type, whole=result, negotiated=body.negotiated)
        else:
            head = ()
        if body.content is None or self.status in BODILESS:
            return head
        if body.displays:
            head = (*head, *body.displays)
        return chain(head, pieces(body.content, body.form, result))

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

    def _path(self, path: os.PathLike[Any], makers: Makers) -> ResultKind:
        """Return the file at a path as the result; its name for clients that prefer text or JSON, and if
        there is no such file."""
        name, accept = os.fsdecode(path), self._call.accept
        in_text = ranks_first(accept, "text/plain") or ranks_first(accept, "text/*")
        if in_text or self._call.sse or prefers_json(accept, problem=False) or not os.path.isfile(name):
            make = makers[str] if in_text else whole_json
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
        return self._whole(Body(body, form_of(body, response.mimetype), HTML))

    def _yielded(self, value: Any) -> Body:
        if conversions.functions:
            value = conversions.converted(value)
        if not self.begun:
            self._choose_items(value)
        make = self._item_makers.get(type(value))
        if make is None:
            body = self._other(value, self._item_makers)
        else:
            body = make(value) if make is not json_line else self._encoded(value, make)
        return body if not self._separates_items else self._separated(body)

    def _choose_items(self, first: object) -> None:
        """Decide how items become a body, by the first of them.

        A client that prefers JSON reads the whole stream as one value, so it must be able to tell the items
        apart. After text and bytes, which are a text and a file, nothing else can become a line of JSON.
        """
        if self._reads_events(streamed=True) or not self._default_type:
            return
        if header(self._headers, "content-type") is None and prefers_json(self._call.accept, problem=False):
            self._separates_items = not isinstance(first, (bytes, bytearray, memoryview))
            if self._separates_items and not isinstance(first, str):
                self._item_makers = LINES

    def _separated(self, body: Body) -> Body:
        """Return a body of which a document in a stream of text is on a line of its own."""
        content = body.content
        assert content is not None
        if body.form == "json":
            if self._in_text:
                content, self._in_text = b"\n" + content, False
            return body._replace(content=content, negotiated=True)
        if content:
            self._in_text = not (isinstance(content, bytes) and content.endswith(b"\n"))
        return body

    def _other(self, value: Any, makers: Makers) -> Body:
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
        streamed = makers is self._item_makers
        if is_array and (streamed or self._call.sse or not is_chosen):
            # Most arrays: without the time of a choice.
            body = self._encoded(value, makers[dict])
            is_whole = not streamed and not self._call.sse and body.type == JSON
            return body._replace(negotiated=True, kind="array") if is_whole else body
        rich = representations.array(value) if is_array else self._rich(value)
        if rich is not None:
            return self._represented(rich, streamed=streamed)
        if json_encoding.is_document(value):
            return self._encoded(value, makers[dict])
        raise _refusal(value)

    def _rich(self, value: object) -> representations.Rich | None:
        return representations.find(value, self._shell.display_formatter)

    def _represented(self, rich: representations.Rich, *, streamed: bool) -> Body:
        accept = self._call.accept
        if self._reads_events(streamed=streamed):
            return Body(rich.bundle(accept), "json", JSON)
        if streamed and self._separates_items:
            chosen = rich.in_document(accept) or rich.choose("text/plain")
            return json_line(_in_document(chosen))
        content_type = (header(self._headers, "content-type") or "").partition(";")[0].strip().lower()
        negotiated = content_type not in rich
        chosen = rich.choose(accept if negotiated else content_type, item=streamed and negotiated)
        if streamed:
            type = JSON_LINES if chosen.form == "json" else chosen.content_type
            # Tables and other texts of objects have no line end.
            end = b"\n" if chosen.mime.startswith("text/") and not chosen.body.endswith(b"\n") else b""
            return Body(chosen.body + end, chosen.form, type, negotiated)
        return Body(chosen.body, chosen.form, chosen.content_type, negotiated, rich.kind)

    def _reads_events(self, *, streamed: bool) -> bool:
        return self._call.sse or (streamed and self._call.sse_streams)

    def _sound(self, value: tuple[Any, ...]) -> Body | None:
        """Return `(rate, samples)` as a WAV if the client asks for a sound."""
        if self._call.sse or "audio/" not in self._call.accept.lower():
            return None
        sound = media.wav(value)
        return None if sound is None else Body(sound, "bytes", media.WAV, negotiated=True)

    def _encoded(self, value: Any, make: Callable[[Any], Body]) -> Body:
        """Return a document; if JSON cannot hold what is in it, with pictures and sounds, or as the figure
        that the values are parts of."""
        try:
            return make(value)
        except TypeError:
            # What fails below has no other failure as its context.
            pass
        streamed = make is json_line
        if (figure := media.figure_of(value)) is not None and (rich := self._rich(figure)) is not None:
            return self._represented(rich, streamed=streamed)
        return self._with_media(value, streamed=streamed)

    def _with_media(self, value: Any, *, streamed: bool) -> Body:
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
            if not (representations.is_media(chosen.mime) and (in_events or is_mixed)):
                return _in_document(chosen)
            self._media_count += 1
            id = f"value-{self._media_count}"
            parts.append((id, chosen))
            return f"cid:{id}"

        body = json_encoding.encode(value, place)
        if is_mixed and parts:
            return multipart(body, parts)
        displays = tuple(
            Display(
                {
                    chosen.mime: chosen.body.decode() if chosen.form == "text" else as_base64(chosen.body),
                    FACTS: {"display_id": id},
                }
            )
            for id, chosen in parts
        )
        return Body(body, "json", JSON_LINES if streamed else JSON, negotiated=True, displays=displays)


def _in_document(chosen: representations.Representation) -> object:
    """Return what stands for an object in a JSON document: a data URL for a picture or a sound."""
    if representations.is_media(chosen.mime):
        return f"data:{chosen.mime};base64,{as_base64(chosen.body)}"
    return msgspec.Raw(chosen.body) if chosen.form == "json" else chosen.body.decode()


def _refusal(value: object) -> TypeError:
    return TypeError(
        f"an adaptor cannot answer with a value of type {type_name(value)}; return str, bytes, a number, "
        "None, something that JSON holds (dict, list, dataclass, array), (body, status, headers), an "
        "iterator, a werkzeug Response, or an object with IPython's rich representations, or say by "
        "owt.register(type, function) what values of this type become"
    )


def _method(value: Any, name: str) -> Any:
    """Return a method that the value's class has, or None. An instance may pretend to have any attribute."""
    return getattr(value, name) if callable(getattr(type(value), name, None)) else None
