"""What a call sends back, piece by piece, as a notebook shows it: from a server's events, or from the
chunks of a call in this very kernel.

    Printed   text of stdout or stderr
    Text      a value that is text; a piece of an answer that comes in pieces
    Json      a value that JSON holds
    Blob      bytes, with the Content-Type of the answer that they are a part of
    Bundle    a MIME bundle: a display, or a value that is a figure or a table
    Named     an event of an adaptor that writes its own
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from owt.client.events import Event, container, is_bundle, is_end
from owt.wire import sse
from owt.wire.chunk import FACTS, Chunk, Data, Display, Head

LINES = "application/x-ndjson"
WIDGET = "application/vnd.jupyter.widget-view+json"
"""What ipywidgets displays beside text: a view of a model, which a notebook has from its own kernel alone."""


@dataclass(frozen=True)
class Printed:
    """Text that the adaptor printed."""

    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class Text:
    """Text that was yielded, or returned; `line`: it has a line of its own. `type` is the answer's
    Content-Type, of text that was returned."""

    text: str
    line: bool = False
    returned: bool = False
    type: str = ""


@dataclass(frozen=True)
class Json:
    """What JSON holds, yielded or returned."""

    value: Any
    returned: bool = False


@dataclass(frozen=True)
class Blob:
    """Bytes that were yielded, or returned."""

    data: bytes
    type: str
    returned: bool = False


@dataclass(frozen=True)
class Bundle:
    """A MIME bundle. `value`: the adaptor yielded or returned it; else it displayed it, under this `id` if
    there is one, and with `update` in the place of the one before."""

    data: dict[str, Any]
    value: bool = False
    returned: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    update: bool = False


@dataclass(frozen=True)
class Cleared:
    """What was shown so far makes way, with `wait` for what follows."""

    wait: bool


@dataclass(frozen=True)
class Named:
    """An event under a name of the adaptor's own."""

    name: str
    data: Any


@dataclass(frozen=True)
class Over:
    """The end, with the answer's status."""

    status: int


Piece = Printed | Text | Json | Blob | Bundle | Cleared | Named | Over


class Facts(Protocol):
    """What a server's events do not say of an answer; "" where it cannot be had."""

    @property
    def type(self) -> str:
        """The answer's Content-Type."""

    @property
    def form(self) -> str:
        """The form of the newest value: see `owt.wire.chunk.Data`."""


def of_event(event: Event, facts: Facts) -> Piece | None:
    """What a server's event is. None: an end that says no more than that; None was returned."""
    match event:
        case Event("stdout" | "stderr" as stream, str(text)):
            return Printed(stream, text)
        case Event("display", dict(bundle)):
            # A widget's model is in the other kernel, and a notebook would say that it has none.
            without = {kind: data for kind, data in bundle.items() if kind != WIDGET}
            return _display(without if "text/plain" in without else bundle)
        case Event("bytes", bytes(data)):
            return Blob(data, facts.type)
        case Event("incomplete", str(text)):
            return Printed("stderr", f"owt: a value broke off after {len(text)} characters\n")
        case Event("done", dict(end)) if is_end(event):
            return Over(int(end["status"]))
        case Event("message", str(text)):
            kind = kind_of(facts.type)
            if kind == sse.CONTENT_TYPE:
                return _own("message", text)
            return _yielded(text, lines=kind == LINES)
        case Event("result", str(text)):
            return _returned(text, facts.form, facts.type)
    return Named(event.name, event.data)


class Chunks:
    """What the chunks of one run are, which come from a kernel and not from a server."""

    def __init__(self) -> None:
        self._type = ""
        self._body = bytearray()
        self._own: sse.Decoder | None = None

    def feed(self, chunk: Chunk) -> Iterator[Piece]:
        """The pieces that a chunk completes."""
        match chunk:
            case Head(headers=headers):
                said = [value for name, value in headers if name.lower() == "content-type"]
                self._type = said[-1] if said else ""
                if sse.announced(headers):
                    self._own = sse.Decoder()
            case Data() if self._own is not None:
                for event in self._own.feed(chunk.body):
                    yield _own(event.event, event.data)
            case Data(more=True):
                self._body += chunk.body
            case Data():
                body = bytes(self._body) + chunk.body
                self._body.clear()
                yield from filter(None, [self._value(chunk, body)])
            case Display(bundle=bundle):
                yield _display(bundle)

    def _value(self, chunk: Data, body: bytes) -> Piece | None:
        if chunk.form == "bytes":
            return Blob(body, self._type, returned=chunk.result)
        text = body.decode()
        if chunk.result:
            return _returned(text, chunk.form, self._type)
        return Text(text) if chunk.form == "text" else _yielded(text, lines=True)


def _yielded(text: str, *, lines: bool) -> Text | Json | Bundle:
    document: Any = container(text)
    if document is None and lines:
        try:
            document = json.loads(text)
        except ValueError:
            return Text(text, line=True)
        # A number, a word or nothing, on a line of its own.
        return Json(document)
    if isinstance(document, dict) and is_bundle(document):
        return Bundle(document, value=True)
    return Text(text) if document is None else Json(document)


def _returned(text: str, form: str, type: str) -> Piece | None:
    match form:
        case "bytes":
            try:
                return Blob(base64.b64decode(text, validate=True), type, returned=True)
            except binascii.Error:
                return Text(text, returned=True)
        case "text":
            return Text(text, returned=True, type=type)
    if text == "null":
        return None
    match _yielded(text, lines=form == "json"):
        case Text() | Json() | Bundle() as value:
            return replace(value, returned=True)
    return None


def _own(name: str, text: str) -> Piece:
    document = container(text)
    if name != "message":
        return Named(name, text if document is None else document)
    return Text(text, line=True) if document is None else Json(document)


def _display(bundle: dict[str, Any]) -> Bundle | Cleared:
    data = dict(bundle)
    facts = data.pop(FACTS, None)
    if not isinstance(facts, dict):
        facts = {}
    if clear := facts.get("clear"):
        return Cleared(clear == "wait")
    return Bundle(
        data,
        metadata=facts.get("metadata") or {},
        id=facts.get("display_id"),
        update=bool(facts.get("update")),
    )


def kind_of(content_type: str) -> str:
    """The media type of a Content-Type."""
    return content_type.partition(";")[0].strip().lower()
