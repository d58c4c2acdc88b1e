"""Representations of an object in several media types, and the choice by the client's Accept header.

The representations are IPython's (`_repr_*_`, `_repr_mimebundle_`, functions registered with a display
formatter), and some more for HTTP clients: those of tables, arrays, sounds, and matplotlib's figures. A
representation is computed when it is chosen.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from owt.kernel.answer import json_encoding, media, tables
from owt.kernel.answer.json_encoding import loaded, type_name
from owt.wire.accept import media_ranges, names
from owt.wire.chunk import Form
from owt.wire.media import ARROW, NPY, PARQUET

if TYPE_CHECKING:
    from IPython.core.formatters import DisplayFormatter

Source = Callable[[], Any]

_NAMED = (NPY, ARROW, PARQUET)
"""Media types for programs: only a client that names one receives it."""

PREFERRED = (
    *(*_NAMED, "image/png", "image/svg+xml", "image/jpeg", "image/*", "audio/*", "video/*", "text/html"),
    *("text/markdown", "text/latex", "application/json", "text/plain"),
)
"""Order among media types that the client accepts equally."""

_ANYTHING = (
    *("image/png", "image/svg+xml", "image/jpeg", "image/*", "audio/*", "video/*", "text/plain"),
    *("text/html", "text/markdown", "text/latex", "application/json"),
)
"""Order for a client that accepts anything, such as curl."""

_DEFAULT_TEXT = re.compile(rb"<[\w.]+( object)?( at 0x[0-9a-fA-F]+)?>")
"""Text of an object whose class has no text of its own."""

_BINARY = ("image/", "audio/", "video/", "font/", "application/pdf", "application/octet-stream")


class Representation(NamedTuple):
    """Representation of an object as bytes of the media type `mime`."""

    mime: str
    body: bytes
    form: Form

    @property
    def content_type(self) -> str:
        """Value of the Content-Type header."""
        return f"{self.mime}; charset=utf-8" if self.mime.startswith("text/") else self.mime


def text_representation(text: str) -> Representation:
    """Return `text` as plain text. Lone surrogates become escapes, as on Python's stderr."""
    return Representation("text/plain", text.encode("utf-8", "backslashreplace"), "text")


class Rich:
    """Representations of one object. `kind` is the value of the header `Owt-Value`, or None."""

    def __init__(
        self,
        value: object,
        sources: dict[str, Source],
        extra: Iterable[str] = (),
        *,
        kind: str | None = None,
        has_text: bool = True,
    ) -> None:
        """Create the representations of `value`.

        `sources` compute them, or return None where there is none. Those in `extra` are for clients that
        accept them explicitly, and not part of bundles. If not `has_text`, plain text is only Python's.
        """
        self.kind = kind
        self._value = value
        self._sources = sources
        self._extra = frozenset(extra)
        self._has_text = has_text

    def __contains__(self, mime: str) -> bool:
        return mime in self._sources

    def choose(self, accept: str, *, item: bool = False) -> Representation:
        """Return the representation that an Accept header prefers; if it accepts none, that for `*/*`.

        An `item` of a stream has none of the types for programs, because a row of their files is no file.
        Python's default text of an object is for clients that name plain text, or if there is nothing else.
        """
        default = None
        for mime in ranked(accept, self._sources):
            if mime in _NAMED and (item or not names(accept, mime)):
                continue
            representation = self._represent(mime)
            if representation is None:
                continue
            is_default = mime == "text/plain" and (
                not self._has_text or _DEFAULT_TEXT.fullmatch(representation.body) is not None
            )
            if not is_default or names(accept, mime):
                return representation
            default = representation
        if default is not None:
            return default
        raise TypeError(f"{type_name(self._value)} has no representation: each of them is None")

    def in_document(self, accept: str) -> Representation | None:
        """Return the representation that stands for the object in a JSON document: a picture or a sound, as
        the client prefers, else JSON, else text of a markup language; None if there is none."""
        mimes = ranked(accept, self._sources.keys() - {"text/plain"})
        for mime in sorted(mimes, key=lambda mime: (not is_media(mime), mime != "application/json")):
            if (representation := self._represent(mime)) is not None:
                return representation
        return None

    def bundle(self, accept: str = "*/*") -> bytes:
        """Return the representations as a MIME bundle in JSON: text, bytes in base64, JSON as JSON (Jupyter
        message spec, `display_data`). Of several pictures, the bundle has the one that the client prefers."""
        bundle: dict[str, object] = {}
        kept = [mime for mime in self._sources if mime not in self._extra or names(accept, mime)]
        has_picture = False
        for mime in ranked(accept, kept):
            if (is_picture := mime.startswith("image/")) and has_picture:
                continue
            if (representation := self._represent(mime)) is None:
                continue
            body, form = representation.body, representation.form
            if form == "bytes":
                bundle[mime] = base64.b64encode(body).decode("ascii")
            else:
                bundle[mime] = msgspec.Raw(body) if form == "json" else body.decode()
            has_picture = has_picture or is_picture
        return json_encoding.encode(dict(sorted(bundle.items())))

    def _represent(self, mime: str) -> Representation | None:
        try:
            data = self._sources[mime]()
        except NotImplementedError:
            # Methods of IPython's protocol raise this if there is no representation.
            return None
        if isinstance(data, tuple) and len(data) == 2:
            data, _ = data  # with metadata
        if data is None:
            return None
        is_json = mime == "application/json" or mime.endswith("+json")
        is_binary = mime.startswith(_BINARY) and not mime.endswith("+xml")
        if isinstance(data, str):
            if is_json:
                return Representation(mime, _json_text(data), "json")
            if is_binary:
                return Representation(mime, base64.b64decode(data), "bytes")
            return Representation(mime, data.encode(), "text")
        if isinstance(data, (bytes, bytearray, memoryview)):
            is_text = mime.startswith("text/") or mime.endswith(("+xml", "/xml", "/javascript"))
            form: Form = "json" if is_json else "text" if is_text else "bytes"
            return Representation(mime, bytes(data), form)
        if is_json:
            return Representation(mime, json_encoding.encode(data), "json")
        raise TypeError(
            f"{type_name(self._value)} returns a value of type {type_name(data)} as {mime}; return a str"
        )


def find(value: object, formatter: DisplayFormatter) -> Rich | None:
    """Return the representations of `value`, or None if it has only plain text."""
    figure = media.figure_of(value)
    value = value if figure is None else figure
    sources = _bundled(value, formatter)
    # A bundle without text says that there is none.
    has_text = not hasattr(type(value), "_repr_mimebundle_") or "text/plain" in sources
    for mime, type_formatter in formatter.formatters.items():
        if mime != "text/plain":
            registered, source = _printer(type_formatter, value)
            if source is not None and (registered or mime not in sources):
                sources[mime] = source
    kind = "image" if isinstance(value, loaded("PIL.Image", "Image")) else None
    extra: dict[str, Source] = {}
    if kind is not None:
        sources["image/tiff"] = lambda: media.tiff(value)
    if figure is not None:
        extra = media.figure_sources(figure)
        # matplotlib's inline backend has none of an empty figure.
        inline, own = sources.get("image/png"), extra["image/png"]
        sources["image/png"] = own if inline is None else lambda: inline() or own()
    elif tables.is_table(type(value)):
        has_text = has_text and "text/html" in sources
        extra, kind = dict(tables.sources(value, json_encoding.encode)), "table"
        if "text/html" not in sources:
            # Its text is the only other thing to show.
            sources["application/json"] = extra["application/json"]
    elif (file := media.file_of_display(value)) is not None:
        # A notebook shows its player.
        extra = dict([file])
    elif isinstance(value, (loaded("pandas", "Series"), loaded("polars", "Series"))):
        sources["application/json"] = lambda: value
        extra = {"text/csv": value.to_csv} if hasattr(value, "to_csv") else {}
    elif sources and json_encoding.is_document(value):
        extra = {"application/json": lambda: value}
    extra = {mime: source for mime, source in extra.items() if mime not in sources}
    sources |= extra
    if not sources.keys() - {"text/plain"}:
        return None
    sources.setdefault("text/plain", lambda: formatter.formatters["text/plain"](value))
    return Rich(value, sources, extra, kind=kind, has_text=has_text)


def array(value: Any) -> Rich:
    """Return the representations of an array or a tensor."""
    sources: dict[str, Source] = {"application/json": lambda: value, NPY: lambda: media.npy(value)}
    return Rich(value, sources, [NPY], kind="array")


def is_media(mime: str) -> bool:
    """Return True for a type of pictures, sounds and other files."""
    return mime.startswith(_BINARY) or mime == "image/svg+xml"


def of_bundle(bundle: dict[str, Any]) -> Rich:
    """Return the representations in a MIME bundle."""
    return Rich(bundle, {mime: _constant(data) for mime, data in bundle.items()})


def with_one_picture(bundle: dict[str, Any], accept: str) -> dict[str, Any]:
    """Return a MIME bundle with the one of its pictures that an Accept header prefers."""
    pictures = [mime for mime in bundle if mime.startswith("image/")]
    others = ranked(accept, pictures)[1:]
    return {mime: data for mime, data in bundle.items() if mime not in others} if others else bundle


def ranked(accept: str, available: Iterable[str]) -> list[str]:
    """Return `available` media types: those that an Accept header accepts, best first, then the others in the
    order for `*/*`.

    The most specific range that matches a type decides its quality (RFC 9110, 12.5.1). Among types of the
    same quality, a more specific range comes first, then the order of `PREFERRED`.
    """
    ranges: dict[str, float] = {}
    for name, quality in media_ranges(accept or "*/*"):
        # Repeated ranges differ in parameters only, which do not count; the best comes first.
        ranges.setdefault(name, quality)

    def rank(mime: str) -> tuple[float, int, int, str]:
        matching = (mime, mime.partition("/")[0] + "/*", "*/*")
        breadth, name = next(((at, name) for at, name in enumerate(matching) if name in ranges), (0, ""))
        quality = ranges.get(name, 0.0)
        order = PREFERRED if quality and name != "*/*" else _ANYTHING
        position = next((order.index(name) for name in matching[:2] if name in order), len(order))
        return -quality, breadth if quality else 0, position, mime

    return sorted(available, key=rank)


def _bundled(value: object, formatter: DisplayFormatter) -> dict[str, Source]:
    """Return the representations of `_repr_mimebundle_`, which has to be called to know their types."""
    _, source = _printer(formatter.mimebundle_formatter, value)
    bundle = source() if source is not None else None
    if isinstance(bundle, tuple):
        bundle = bundle[0]  # with metadata
    if not isinstance(bundle, dict):
        return {}
    return {mime: _constant(data) for mime, data in bundle.items()}


def _constant(data: object) -> Source:
    return lambda: data


def _printer(formatter: Any, value: object) -> tuple[bool, Source | None]:
    """Return the function by which one of IPython's formatters shows `value`, and True first if it is
    registered.

    The formatter itself is not called: it prints an error and returns None, where a client must see a
    failure, and it returns None where a terminal shows nothing.
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


def _json_text(text: str) -> bytes:
    """Return JSON text in one line; any other text as a JSON string."""
    try:
        return msgspec.json.format(text.encode(), indent=-1)
    except msgspec.DecodeError:
        return json_encoding.encode(text)
