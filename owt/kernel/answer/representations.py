"""Objects that can show themselves in several media types, and which of them a client gets.

The representations are IPython's (`_repr_*_`, `_repr_mimebundle_`, functions registered with a
display formatter), with what HTTP clients want besides: CSV and JSON records of pandas tables, and
matplotlib's formats without `%matplotlib inline`. Each is computed when it is chosen.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from owt.kernel.answer import json_encoding
from owt.kernel.answer.json_encoding import loaded, type_name
from owt.wire.accept import media_ranges
from owt.wire.chunk import Form

if TYPE_CHECKING:
    from IPython.core.formatters import DisplayFormatter

Source = Callable[[], Any]

PREFERRED = (
    *("image/png", "image/svg+xml", "image/jpeg", "text/html", "text/markdown", "text/latex"),
    *("application/json", "text/plain"),
)
"""What is given of several media types that the client takes equally."""

_ANYTHING = ("image/png", "image/svg+xml", "image/jpeg", "text/plain")
"""What is given to a client that takes anything, such as curl."""

_BINARY = ("image/", "audio/", "video/", "font/", "application/pdf", "application/octet-stream")


class Representation(NamedTuple):
    """One representation of an object, as bytes of the media type `mime`."""

    mime: str
    body: bytes
    form: Form

    @property
    def content_type(self) -> str:
        """The Content-Type header's value."""
        return f"{self.mime}; charset=utf-8" if self.mime.startswith("text/") else self.mime


class Rich:
    """The representations of one object. `sources` compute them, or give None where there is none;
    those in `extra` are for clients that ask, and no part of bundles."""

    def __init__(self, value: object, sources: dict[str, Source], extra: Iterable[str] = ()) -> None:
        self._value = value
        self._sources = sources
        self._extra = frozenset(extra)

    def __contains__(self, mime: str) -> bool:
        return mime in self._sources

    def choose(self, accept: str) -> Representation:
        """The representation that an Accept header prefers; if it takes none of them, the one that
        `*/*` would give."""
        for mime in ranked(accept, self._sources):
            representation = self._represent(mime)
            if representation is not None:
                return representation
        raise TypeError(f"{type_name(self._value)} has no representation at all: each of them is None")

    def bundle(self) -> bytes:
        """All representations as a MIME bundle, in JSON: text as it is, bytes in base64, JSON as JSON
        (Jupyter message spec, `display_data`)."""
        bundle: dict[str, object] = {}
        for mime in self._sources.keys() - self._extra:
            match self._represent(mime):
                case Representation(body=body, form="bytes"):
                    bundle[mime] = base64.b64encode(body).decode("ascii")
                case Representation(body=body, form="json"):
                    bundle[mime] = msgspec.Raw(body)
                case Representation(body=body):
                    bundle[mime] = body.decode()
        return json_encoding.encode(dict(sorted(bundle.items())))

    def _represent(self, mime: str) -> Representation | None:
        try:
            data = self._sources[mime]()
        except NotImplementedError:
            # IPython's way for a method to say that there is none.
            return None
        if isinstance(data, tuple) and len(data) == 2:
            data, _ = data  # with metadata
        if data is None:
            return None
        is_json = mime == "application/json" or mime.endswith("+json")
        is_binary = mime.startswith(_BINARY) and not mime.endswith("+xml")
        match data:
            case str() if is_json:
                return Representation(mime, _json_text(data), "json")
            case str() if is_binary:
                return Representation(mime, base64.b64decode(data), "bytes")
            case str():
                return Representation(mime, data.encode(), "text")
            case bytes() | bytearray() | memoryview():
                is_text = mime.startswith("text/") or mime.endswith(("+xml", "/xml", "/javascript"))
                form: Form = "json" if is_json else "text" if is_text else "bytes"
                return Representation(mime, bytes(data), form)
        if is_json:
            return Representation(mime, json_encoding.encode(data), "json")
        raise TypeError(f"{type_name(self._value)} gives a {type_name(data)} as {mime}; that must be a str")


def find(value: object, formatter: DisplayFormatter) -> Rich | None:
    """The representations of `value`, or None if it has no other than plain text."""
    sources = _bundled(value, formatter)
    for mime, one in formatter.formatters.items():
        if mime != "text/plain":
            registered, source = _printer(one, value)
            if source is not None and (registered or mime not in sources):
                sources[mime] = source
    extra: list[str] = []
    if isinstance(value, loaded("matplotlib.figure", "Figure")):
        for mime, format in _FIGURE_FORMATS.items():
            if mime not in sources:
                sources[mime] = _figure(value, format)
                extra += [] if mime == "image/png" else [mime]
    elif isinstance(value, (loaded("pandas", "DataFrame"), loaded("pandas", "Series"))):
        sources["text/csv"] = value.to_csv
        sources["application/json"] = lambda: json_encoding.records(value)
        extra += ["text/csv", "application/json"]
    if not sources.keys() - {"text/plain"}:
        return None
    sources.setdefault("text/plain", lambda: formatter.formatters["text/plain"](value))
    return Rich(value, sources, extra)


def ranked(accept: str, available: Iterable[str]) -> list[str]:
    """`available` media types, the ones that an Accept header takes first, best first; the others
    follow as `*/*` would take them.

    RFC 9110, 12.5.1: of the ranges that fit a type the most specific one gives its quality. Of the
    same quality, types that are named more specifically come first, then the order of `PREFERRED`.
    """
    ranges: dict[str, float] = {}
    for name, quality in media_ranges(accept or "*/*"):
        # Repeated ranges differ by parameters only, which do not count; the best comes first.
        ranges.setdefault(name, quality)
    wanted: list[tuple[float, int, int, str]] = []
    rest: list[tuple[int, str]] = []
    for mime in available:
        fitting = (mime, mime.partition("/")[0] + "/*", "*/*")
        vague, name = next(((at, name) for at, name in enumerate(fitting) if name in ranges), (0, ""))
        quality = ranges.get(name, 0.0)
        if quality:
            order = _place(_ANYTHING if name == "*/*" else PREFERRED, mime)
            wanted.append((-quality, vague, order, mime))
        else:
            rest.append((_place(_ANYTHING, mime), mime))
    return [mime for *_, mime in sorted(wanted)] + [mime for _, mime in sorted(rest)]


def _place(order: tuple[str, ...], mime: str) -> int:
    return order.index(mime) if mime in order else len(order)


def _bundled(value: object, formatter: DisplayFormatter) -> dict[str, Source]:
    """What `_repr_mimebundle_` gives. It has to be called to know which types there are."""
    _, source = _printer(formatter.mimebundle_formatter, value)
    bundle = source() if source is not None else None
    if isinstance(bundle, tuple):
        bundle = bundle[0]  # with metadata
    if not isinstance(bundle, dict):
        return {}

    def given(data: object) -> Source:
        return lambda: data

    return {mime: given(data) for mime, data in bundle.items()}


def _printer(formatter: Any, value: object) -> tuple[bool, Source | None]:
    """How one of IPython's formatters would show `value`, and whether by a registered function.

    The formatter itself is not called: it prints what goes wrong and gives None, where a client
    must see a failure, and it gives nothing where a terminal would show nothing.
    """
    from IPython.core.formatters import MimeBundleFormatter
    from IPython.utils.dir2 import get_real_method

    try:
        function = formatter.lookup(value)
    except KeyError:
        function = None
    if function is not None:
        return True, lambda: function(value)
    method = get_real_method(value, formatter.print_method)
    if method is not None and isinstance(formatter, MimeBundleFormatter):
        return False, lambda: method(include=None, exclude=None)
    return False, method


_FIGURE_FORMATS = {
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
}


def _figure(figure: Any, format: str) -> Source:
    def render() -> bytes:
        buffer = io.BytesIO()
        # The margins are cut as notebooks cut them, so that no label is lost.
        figure.savefig(buffer, format=format, dpi="figure", bbox_inches="tight")
        return buffer.getvalue()

    return render


def _json_text(text: str) -> bytes:
    """JSON that came as text, in one line; any other text as a JSON string."""
    try:
        return msgspec.json.format(text.encode(), indent=-1)
    except msgspec.DecodeError:
        return json_encoding.encode(text)
