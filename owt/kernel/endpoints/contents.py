"""Contents of a request: bytes of one media type, from a part of a form or from a whole body.

A part named `kwargs.NAME` is the argument NAME of any call. Its media type decides what it is, unless the
parameter of this name has a type (`conversions`).

Sources: RFC 7578 (multipart/form-data), RFC 2046 (its syntax), NumPy's format of npy files.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from typing import TYPE_CHECKING, Any

import msgspec

from owt.errors import BadRequest, shortened
from owt.wire import media
from owt.wire.call import RequestFacts

if TYPE_CHECKING:
    from werkzeug.datastructures import FileStorage

ARGUMENT = "kwargs."
"""Beginning of the name of a part that is an argument."""
FORM = "multipart/form-data"
JSON = "application/json"
_BINARY_TABLES = (media.ARROW, media.ARROW_FILE, media.PARQUET)
_TEXT_TABLES = (media.CSV, media.TSV)
TABLES = (*_BINARY_TABLES, *_TEXT_TABLES)

_UNKNOWN = ("", media.OCTETS)
_SVG = "image/svg+xml"
"""Type of the images that Pillow does not read."""
_ARROW_START = b"\xff\xff\xff\xff"
"""First bytes of an Arrow stream. Other files can have them too, so they count only where one is expected."""


_BYTES_HEAD = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)\{'descr': '\|u1', 'fortran_order': \w+, "
    rb"'shape': \(\d+,\), ?\} *\n",
    re.DOTALL,
)
"""Head of an npy file of one dimension of bytes."""


class Texts(list[Any]):
    """Texts and contents of one name in a request. Any other value of a field is one of a JSON document."""


class ArgumentTexts(Texts):
    """Texts and contents of the parts `kwargs.NAME`; several are a list, whatever the parameter."""


@dataclass(frozen=True, eq=False)
class Content:
    """Bytes of one media type. `name` is that of the part; `filename` is the client's name of the file."""

    data: bytes
    media_type: str = ""
    filename: str | None = None
    name: str = ""
    charset: str = "utf-8"

    @property
    def kind(self) -> str:
        """Return the media type; of unknown bytes, the type that their first bytes or the file's name show.

        The first bytes of a binary table count more than its label, as Arrow's two formats share their names.
        """
        if self.media_type not in (*_UNKNOWN, *_BINARY_TABLES):
            return self.media_type
        if self.data.startswith(_ARROW_START):
            return media.ARROW
        kind = media.media_type(self.data) or self.label
        return JSON if kind in _UNKNOWN and self.data.lstrip()[:1] in (b"[", b"{") else kind

    @property
    def label(self) -> str:
        """Return the media type; of unknown bytes, the type that the file's name shows."""
        if self.media_type in _UNKNOWN and self.filename:
            return media.media_type_of_name(self.filename) or self.media_type
        return self.media_type

    def text(self) -> str:
        """Return the content as text. Raises ValueError for bytes that are none."""
        try:
            return self.data.decode(self.charset)
        except LookupError:
            raise ValueError(f"has an unknown charset {shortened(self.charset)}") from None

    def json(self) -> Any:
        """Return the value of a JSON document. Raises ValueError."""
        return msgspec.json.decode(self.data)

    def value(self) -> Any:
        """Return the value for a parameter without a type. Raises ValueError for unreadable content."""
        kind = self.label
        if kind == JSON:
            return self.json()
        if kind == media.NPY:
            return self.array()
        if kind in TABLES and (library := _table_library(kind)) is not None:
            return self.table(library)
        if kind.startswith("image/") and kind != _SVG and importlib.util.find_spec("PIL") is not None:
            try:
                return self.image(importlib.import_module("PIL.Image"))
            except OSError as error:
                raise ValueError("Pillow cannot read this image") from error
        return self.text() if kind.startswith("text/") else self.data

    def unwrapped(self) -> Content:
        """Return the bytes that were sent as an array of bytes, such as JavaScript's Uint8Array; any other
        content, and a file of such an array, as it is."""
        head = _BYTES_HEAD.match(self.data) if self.media_type == media.NPY else None
        if head is None or (self.filename or "").lower().endswith(".npy"):
            return self
        return replace(self, data=self.data[head.end() :], media_type="", filename=None)

    def file(self) -> FileStorage:
        """Return the content as the file of a form, in werkzeug's class."""
        from werkzeug.datastructures import FileStorage

        return FileStorage(io.BytesIO(self.data), self.filename, self.name, self.media_type or None)

    def array(self) -> Any:
        """Return the NumPy array of an npy file without pickled objects. Raises ValueError."""
        if media.media_type(self.data) != media.NPY:
            raise ValueError("its bytes are no npy file")
        numpy = _library("numpy", "an array")
        return numpy.load(io.BytesIO(self.data), allow_pickle=False)

    def image(self, module: Any) -> Any:
        """Return the image as `module.open` reads it. Raises whatever that raises for other content."""
        image = module.open(io.BytesIO(self.data))
        image.load()
        return image

    def table(self, library: str) -> Any:
        """Return the table as this library reads it: pyarrow's Table, else a DataFrame. Raises ValueError."""
        stream, kind = io.BytesIO(self.data), self.kind
        if kind not in TABLES:
            # Some systems label CSV as a spreadsheet, or as any text.
            kind = media.media_type_of_name(self.filename or "") or kind
        if kind not in TABLES:
            raise ValueError(f"send JSON or one of {', '.join(TABLES)}; this is {kind or 'of no media type'}")
        is_arrow = kind in (media.ARROW, media.ARROW_FILE)
        if library == "pyarrow" or (is_arrow and library != "polars"):
            return _arrow_table(stream, kind, library)
        module = _library(library, "a table")
        if is_arrow:
            return (module.read_ipc_stream if kind == media.ARROW else module.read_ipc)(stream)
        if kind == media.PARQUET:
            return module.read_parquet(stream)
        separator = {"separator" if library == "polars" else "sep": "\t"}
        return module.read_csv(stream, **(separator if kind == media.TSV else {}))


def _arrow_table(stream: io.BytesIO, kind: str, library: str) -> Any:
    purpose = "a table in Arrow's format"
    if kind == media.ARROW:
        table = _library("pyarrow.ipc", purpose).open_stream(stream).read_all()
    elif kind == media.ARROW_FILE:
        table = _library("pyarrow.ipc", purpose).open_file(stream).read_all()
    elif kind == media.PARQUET:
        table = _library("pyarrow.parquet", purpose).read_table(stream)
    else:
        csv = _library("pyarrow.csv", purpose)
        options = csv.ParseOptions(delimiter="\t" if kind == media.TSV else ",")
        table = csv.read_csv(stream, parse_options=options)
    return table.to_pandas() if library == "pandas" else table


def _table_library(kind: str) -> str | None:
    """Return the library that reads a table for a parameter without a type."""
    for library in ("pandas", "polars", "pyarrow"):
        # pandas reads Arrow streams, and mostly Parquet, by pyarrow.
        needed = (library, "pyarrow") if library == "pandas" and kind in _BINARY_TABLES else (library,)
        if all(importlib.util.find_spec(name) is not None for name in needed):
            return library
    if kind in _TEXT_TABLES:
        return None
    raise ValueError(f"{kind} needs pyarrow or polars, and this kernel has neither; install one, or send CSV")


def _library(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ValueError(f"reading {purpose} needs {package}, which this kernel does not have") from error


# Forms ---------------------------------------------------------------------------------------------


def read_form(body: bytes, content_type: str) -> dict[str, Texts]:
    """Return the parts of a form by name. A part without a file name, or of text, is a text.

    The frontend has checked that the form can be read.
    """
    boundary = HeaderParser().parsestr(f"Content-Type: {content_type}\n").get_param("boundary")
    form: dict[str, Texts] = {}
    for head, data in _parts(body, str(boundary).encode("latin-1")):
        headers = HeaderParser().parsestr(head)
        name = headers.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            continue
        part = Content(
            data,
            headers.get_content_type() if "content-type" in headers else "",
            headers.get_filename(),
            name,
            headers.get_content_charset("utf-8"),
        )
        is_text = part.filename is None and (part.media_type in ("", "text/plain"))
        texts = ArgumentTexts() if name.startswith(ARGUMENT) else Texts()
        form.setdefault(name, texts).append(data.decode(errors="replace") if is_text else part)
    return form


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the head and the data of each part. The data is copied once."""
    mark = b"--" + boundary
    start = body.find(mark)
    while start >= 0:
        end = body.find(b"\r\n" + mark, start + len(mark))
        if end < 0:
            return
        line_end = body.find(b"\r\n", start, end)
        head_end = body.find(b"\r\n\r\n", start, end + 2)
        if 0 <= line_end <= head_end:
            # A part without data ends with its head.
            yield body[line_end + 2 : head_end].decode("utf-8", "replace"), body[head_end + 4 : end]
        start = end + 2


def argument_parts(facts: RequestFacts) -> dict[str, Texts]:
    """Return the parts of a request that are arguments, by the names of the arguments."""
    content_type = next((value for name, value in facts.headers if name.lower() == "content-type"), "")
    if not content_type.lower().lstrip().startswith(FORM) or ARGUMENT.encode() not in facts.body:
        return {}
    form = read_form(facts.body, content_type)
    parts = {key.removeprefix(ARGUMENT): texts for key, texts in form.items() if key.startswith(ARGUMENT)}
    if "" in parts:
        raise BadRequest(ARGUMENT, "names no argument", hint=f"Write {ARGUMENT}NAME")
    return parts
