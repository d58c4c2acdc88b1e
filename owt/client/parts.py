"""Arguments that travel as parts of a form, because JSON does not have them: their bytes and media types.

    array, tensor            application/x-npy
    table, data frame        application/vnd.apache.arrow.stream
    PIL image                image/png
    bytes, bytearray, ...    application/octet-stream
    pathlib.Path, open file  the content, of the type that the name shows

Nothing is pickled. A library is looked up only for its own values: where these exist it is loaded.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from owt.errors import CannotSend, shortened
from owt.wire.media import ARROW, NPY, OCTETS, media_type_of_name, npy

_BOUNDARY = b"owt-part-of-a-call".ljust(60, b"-")
"""The longer it is, the faster is the search for it."""
_JSON = (str, int, float, list, tuple, dict, type(None))
_IN_NAME = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""Characters of a name in a form (HTML standard, "multipart form data")."""


@dataclass(frozen=True, slots=True)
class Part:
    """Content of one argument, and its media type. `filename` is that of a file.

    `head` comes before the content. A view is of the argument itself, which is not copied before the body of
    the request.
    """

    content: bytes | bytearray | memoryview
    media_type: str = OCTETS
    filename: str | None = None
    head: bytes = b""


def split(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Part]]:
    """Return the arguments that are left for JSON, and the others as parts. Raises `CannotSend`."""
    others: dict[str, Any] = {}
    parts: dict[str, Part] = {}
    for name, value in kwargs.items():
        part = None if isinstance(value, _JSON) else _part(name, value)
        if part is None:
            others[name] = value
        else:
            parts[name] = part
    return others, parts


def encode(fields: Mapping[str, bytes], parts: Mapping[str, Part]) -> tuple[str, bytes]:
    """Return the Content-Type and the body of a form (RFC 7578) with these fields, and arguments as parts.

    Equal forms are equal bytes, so that the cache can find the response to an equal call.
    """
    boundary = _BOUNDARY
    while (body := _body(boundary, fields, parts)).count(boundary) > len(fields) + len(parts) + 1:
        boundary = _BOUNDARY + os.urandom(8).hex().encode()
    return f"multipart/form-data; boundary={boundary.decode()}", body


def _body(boundary: bytes, fields: Mapping[str, bytes], parts: Mapping[str, Part]) -> bytes:
    pieces: list[bytes | bytearray | memoryview] = []
    for name, value in fields.items():
        pieces += _head(boundary, name), value, b"\r\n"
    for name, part in parts.items():
        # The server keeps the bytes of a part with a file name as they are.
        filename = part.filename or name
        pieces += (
            _head(boundary, f"kwargs.{name}", filename, part.media_type),
            part.head,
            part.content,
            b"\r\n",
        )
    pieces.append(b"--%b--\r\n" % boundary)
    return b"".join(pieces)


def _head(boundary: bytes, name: str, filename: str | None = None, media_type: str | None = None) -> bytes:
    lines = f'Content-Disposition: form-data; name="{name.translate(_IN_NAME)}"'
    if filename is not None:
        lines += f'; filename="{filename.translate(_IN_NAME)}"\r\nContent-Type: {media_type}'
    return b"--%b\r\n%b\r\n\r\n" % (boundary, lines.encode(errors="replace"))


def _part(name: str, value: Any) -> Part | None:
    """Return a value as a part, or None for a value of another kind."""
    match value:
        case bytes() | bytearray():
            return Part(value)
        case memoryview():
            return Part(value if value.c_contiguous else value.tobytes())
        case Path():
            return Part(_read(name, value), _media_type(value.name), value.name)
    if (file := _file(value)) is not None:
        filename = _filename(file)
        return Part(_read(name, file), _media_type(filename or ""), filename)
    for has_kind, write in ((_is_image, _png), (_is_table, _arrow), (_is_array, _npy)):
        if not has_kind(value):
            continue
        try:
            return write(value)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CannotSend(f"{name}: {type(value).__name__} cannot be sent: {reason}") from error
    return None


# Files


def _file(value: Any) -> io.IOBase | None:
    """Return an open file; of a temporary file, the file that it contains."""
    file = value if isinstance(value, io.IOBase) else getattr(value, "file", None)
    return file if isinstance(file, io.IOBase) else None


def _read(name: str, source: Any) -> bytes:
    """Return the content of a file, from its beginning unless it is a pipe. Raises `CannotSend`."""
    try:
        if isinstance(source, Path):
            return source.read_bytes()
        if isinstance(source, io.TextIOBase):
            raise CannotSend(f"{name}: the file is open as text; open it in binary mode ('rb')")
        if source.seekable():
            source.seek(0)
        content: bytes = source.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        file = str(source) if isinstance(source, Path) else _filename(source) or "the file"
        raise CannotSend(f"{name}: {shortened(file)[1:-1]} cannot be read: {reason}") from None
    return content


def _filename(file: Any) -> str | None:
    path = getattr(file, "name", None)
    return os.path.basename(path) or None if isinstance(path, str) else None


def _media_type(filename: str) -> str:
    return media_type_of_name(filename) or OCTETS


# Values of libraries


def _loaded(module: str, name: str) -> Any:
    """Return a class of a module that is loaded; a type without instances, else."""
    return getattr(sys.modules.get(module), name, ())


def _is_image(value: Any) -> bool:
    return isinstance(value, _loaded("PIL.Image", "Image"))


def _png(image: Any) -> Part:
    buffer = io.BytesIO()
    # More compression takes longer than it saves.
    image.save(buffer, "PNG", compress_level=1)
    return Part(buffer.getvalue(), "image/png")


def _is_table(value: Any) -> bool:
    kind = type(value)
    # A column or an array has the first too.
    by_arrow = hasattr(kind, "__arrow_c_stream__") and (hasattr(kind, "columns") or hasattr(kind, "schema"))
    return by_arrow or (hasattr(kind, "column_names") and hasattr(kind, "to_dict"))


def _arrow(table: Any) -> Part:
    if isinstance(table, _loaded("polars", "DataFrame")):
        buffer = io.BytesIO()
        table.write_ipc_stream(buffer)
        return Part(buffer.getvalue(), ARROW)
    try:
        pyarrow, ipc = import_module("pyarrow"), import_module("pyarrow.ipc")
    except ImportError:
        advice = 'install pyarrow, or send its .to_dict("records")'
        raise CannotSend(f"tables are sent in Arrow's format, which needs pyarrow; {advice}") from None
    if not isinstance(table, _loaded("pandas", "DataFrame")):
        table = pyarrow.table(table if hasattr(type(table), "__arrow_c_stream__") else table.to_dict())
    elif hasattr(type(table), "to_arrow"):
        # A package that extends pandas, by columns that pandas itself cannot convert.
        table = pyarrow.table(table.to_arrow())
    else:
        table = pyarrow.Table.from_pandas(table)
    sink = pyarrow.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Part(sink.getvalue().to_pybytes(), ARROW)


def _is_array(value: Any) -> bool:
    kind = type(value)
    # Scalars have these methods too. Columns of polars, which have them as well, may have missing values.
    is_other = isinstance(value, _loaded("numpy", "generic")) or hasattr(kind, "__arrow_c_stream__")
    return hasattr(kind, "__array__") and hasattr(kind, "reshape") and not is_other


def _npy(array: Any) -> Part:
    head, elements = npy(array)
    return Part(elements, NPY, head=head)
