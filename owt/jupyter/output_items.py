"""Output of a call as items for a notebook, and the value that the notebook gets.

    Printed       text on stdout or stderr
    TextValue     a value that is text, or a piece of it
    JsonValue     a value that JSON has
    Blob          bytes, with the Content-Type of their response
    MimeBundle    a display, or a value that is a figure or a table
    ClearOutput   removal of earlier output
    AdaptorEvent  an event that an adaptor writes itself
    End           the end, with the status of the response

`item_of_event` makes items of a server's events, `ChunkReader` of the chunks of a call in this kernel.
`ResultCollector` makes the value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from owt.client.events import Event, container, is_bundle, is_end
from owt.errors import OwtError
from owt.wire import sse
from owt.wire.chunk import FACTS, Chunk, Data, Display, Head

JSON_LINES = "application/x-ndjson"
WIDGET = "application/vnd.jupyter.widget-view+json"
"""Media type of a view of an ipywidgets model. The model exists in the kernel that displays it only."""


@dataclass(frozen=True)
class Printed:
    """Text that the adaptor printed."""

    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class TextValue:
    """Text that was yielded or returned. `line`: it is a line of its own. `type` is the Content-Type of
    returned text."""

    text: str
    line: bool = False
    returned: bool = False
    type: str = ""


@dataclass(frozen=True)
class JsonValue:
    """JSON that was yielded or returned."""

    value: Any
    returned: bool = False


@dataclass(frozen=True)
class Blob:
    """Bytes that were yielded or returned."""

    data: bytes
    type: str
    returned: bool = False


@dataclass(frozen=True)
class MimeBundle:
    """MIME bundle that was yielded or returned (`value`), or displayed.

    `id` is the display's id; with `update` it replaces the earlier display of this id.
    """

    data: dict[str, Any]
    value: bool = False
    returned: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    update: bool = False


@dataclass(frozen=True)
class ClearOutput:
    """Removal of earlier output, with `wait` not before the next output."""

    wait: bool


@dataclass(frozen=True)
class AdaptorEvent:
    """Event under a name that the adaptor chose."""

    name: str
    data: Any


@dataclass(frozen=True)
class End:
    """End of a call, with the status of its response."""

    status: int


OutputItem = Printed | TextValue | JsonValue | Blob | MimeBundle | ClearOutput | AdaptorEvent | End


class RunInfo:
    """Fact about the response of a run that its events do not contain; the server is asked when necessary.

    `get_run` returns the server's document about the run with this id.
    """

    def __init__(self, get_run: Callable[[str], dict[str, Any]]) -> None:
        self.run = ""
        self._get_run = get_run
        self._type = ""

    @property
    def type(self) -> str:
        """Content-Type of the response, which does not change once the response has begun; "" if the server
        cannot be asked."""
        if not self._type and self.run:
            # The value is known, and its display is guessed.
            with suppress(OwtError):
                self._type = str(self._get_run(self.run).get("content_type") or "")
        return self._type


def item_of_event(event: Event, info: RunInfo) -> OutputItem | None:
    """Return the item of a server's event; None for a returned None."""
    match event:
        case Event("stdout" | "stderr" as stream, str(text)):
            return Printed(stream, text)
        case Event("display", dict(bundle)):
            # A widget's model is in the other kernel, and a notebook would report that it is missing.
            without_widget = {kind: data for kind, data in bundle.items() if kind != WIDGET}
            return _display(without_widget if "text/plain" in without_widget else bundle)
        case Event("bytes", bytes(data)):
            return Blob(data, info.type)
        case Event("incomplete", str(text)):
            return Printed("stderr", f"owt: a value broke off after {len(text)} characters\n")
        case Event("done", dict(document)) if is_end(event):
            return End(int(document["status"]))
        case Event("message", str(text)):
            kind = essence(info.type)
            if kind == sse.CONTENT_TYPE:
                return _adaptor_event("message", text)
            return _yielded(text, lines=kind == JSON_LINES)
        case Event("result", bytes(data)):
            return Blob(data, info.type, returned=True)
        case Event("result", str(text)):
            return _returned_json(text) if event.is_json else _returned_text(text, info.type)
    return AdaptorEvent(event.name, event.data)


class ChunkReader:
    """Reader of the chunks of one run in this kernel."""

    def __init__(self) -> None:
        self._type = ""
        self._body = bytearray()
        self._events: sse.Decoder | None = None

    def feed(self, chunk: Chunk) -> Iterator[OutputItem]:
        """Yield the items that a chunk completes."""
        match chunk:
            case Head(headers=headers):
                types = [value for name, value in headers if name.lower() == "content-type"]
                self._type = types[-1] if types else ""
                if sse.is_event_stream(headers):
                    self._events = sse.Decoder()
            case Data() if self._events is not None:
                for event in self._events.feed(chunk.body):
                    yield _adaptor_event(event.event, event.data)
            case Data(more=True):
                self._body += chunk.body
            case Data():
                body = bytes(self._body) + chunk.body
                self._body.clear()
                if (item := self._item(chunk, body)) is not None:
                    yield item
            case Display(bundle=bundle):
                yield _display(bundle)

    def _item(self, chunk: Data, body: bytes) -> OutputItem | None:
        if chunk.form == "bytes":
            return Blob(body, self._type, returned=chunk.result)
        text = body.decode()
        if chunk.result:
            return _returned_text(text, self._type) if chunk.form == "text" else _returned_json(text)
        return TextValue(text) if chunk.form == "text" else _yielded(text, lines=True)


class ResultCollector:
    """Collector of the values among a call's items.

    A returned value is the result: text, decoded JSON, bytes, or a MIME bundle as a dict. Yielded texts are
    joined, as yielded bytes are; other yielded values are a list. An adaptor's own event is
    `{"event": its name, "data": its data}`. Pictures and sounds in decoded JSON, which are displays before
    it, are data URLs, as in a response in JSON.
    """

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._urls: dict[str, str] = {}
        self._is_single = False
        self._has_lines = False

    def add(self, item: OutputItem) -> None:
        """Add the next item."""
        match item:
            case TextValue(text=value, line=line):
                self._has_lines = self._has_lines or line
            case MimeBundle(data=bundle, value=False, id=str(id)):
                # The kernel's displays have one type; an adaptor's own may have the same id.
                if len(bundle) == 1 and isinstance(data := next(iter(bundle.values())), str):
                    kind = next(iter(bundle))
                    if kind.endswith("+xml"):
                        data = base64.b64encode(data.encode()).decode()
                    self._urls[f"cid:{id}"] = f"data:{kind};base64,{data}"
                return
            case JsonValue(value=value) if self._urls:
                value = self._with_urls(value)
            case JsonValue(value=value) | Blob(data=value) | MimeBundle(data=value, value=True):
                pass
            case AdaptorEvent(name=name, data=data):
                value = {"event": name, "data": data}
            case _:
                return
        self._is_single = getattr(item, "returned", False) and not self._values
        self._values.append(value)

    def _with_urls(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._urls.get(value, value)
        if isinstance(value, list):
            return [self._with_urls(item) for item in value]
        if isinstance(value, dict):
            return {name: self._with_urls(item) for name, item in value.items()}
        return value

    @property
    def value(self) -> Any:
        """The result; None if there is none."""
        values = self._values
        if not values or self._is_single:
            return values[0] if values else None
        if all(isinstance(value, str) for value in values) and not self._has_lines:
            return "".join(values)
        if all(isinstance(value, bytes) for value in values):
            return b"".join(values)
        return list(values)


def essence(content_type: str) -> str:
    """Return the media type of a Content-Type, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def _yielded(text: str, *, lines: bool) -> TextValue | JsonValue | MimeBundle:
    document: Any = container(text)
    if document is None and lines:
        try:
            document = json.loads(text)
        except ValueError:
            return TextValue(text, line=True)
        # JSON's numbers, texts and constants are values in a stream of lines only.
        return JsonValue(document)
    if isinstance(document, dict) and is_bundle(document):
        return MimeBundle(document, value=True)
    return TextValue(text) if document is None else JsonValue(document)


def _returned_text(text: str, type: str) -> OutputItem:
    kind = essence(type)
    if kind == "application/json" or kind.endswith("+json"):
        # A response of the adaptor's own.
        with suppress(ValueError):
            return JsonValue(json.loads(text), returned=True)
    return TextValue(text, returned=True, type=type)


def _returned_json(text: str) -> OutputItem | None:
    return None if text == "null" else replace(_yielded(text, lines=True), returned=True)


def _adaptor_event(name: str, text: str) -> OutputItem:
    document = container(text)
    if name != "message":
        return AdaptorEvent(name, text if document is None else document)
    return TextValue(text, line=True) if document is None else JsonValue(document)


def _display(bundle: dict[str, Any]) -> MimeBundle | ClearOutput:
    data = dict(bundle)
    facts = data.pop(FACTS, None)
    if not isinstance(facts, dict):
        facts = {}
    if clear := facts.get("clear"):
        return ClearOutput(clear == "wait")
    return MimeBundle(
        data,
        metadata=facts.get("metadata") or {},
        id=facts.get("display_id"),
        update=bool(facts.get("update")),
    )
