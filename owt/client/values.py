"""Values of libraries in responses: arrays, tables and images, as the header `Owt-Value` names them.

    array   numpy.ndarray
    table   pandas.DataFrame, else polars.DataFrame, else pyarrow.Table, else a list of dicts
    image   PIL.Image.Image, else bytes
    file    bytes

What is installed decides, and is imported with the first such value. The Accept header names only media types
that can be read here. Bytes of an adaptor that happen to be an image have no such header, and stay bytes.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_args, get_origin

from owt.client import answers
from owt.errors import UnexpectedValue, shortened
from owt.wire import media

JSON = "application/json"
_BYTES = f"{media.OCTETS}, */*;q=0.9"
"""Accept header for bytes: of a path, the file rather than its name."""

_TYPES = (
    *(("numpy", "ndarray"), ("torch", "Tensor"), ("PIL.Image", "Image")),
    *(("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")),
)
"""Modules and classes of values. A class that a caller gives is one of a module that is loaded."""


def accept_of(returns: object) -> str:
    """Return the Accept header of a call whose value is of this type, or of any type if that is None."""
    if returns is None or _library(returns) in ("numpy", "torch", "pandas", "polars", "pyarrow"):
        return _accept()
    return _BYTES if returns is bytes else answers.ANYTHING


@lru_cache(maxsize=1)
def _accept() -> str:
    kinds = [media.NPY] if _is_installed("numpy") else []
    if _is_installed("pyarrow") or _is_installed("polars"):
        kinds.append(media.ARROW)
    return ", ".join([*kinds, f"{JSON};q=0.9", "*/*;q=0.8"]) if kinds else answers.ANYTHING


def value_of(kind: str | None, content_type: str, body: bytes, returns: Any) -> Any:
    """Return the value of a response; `kind` is its `Owt-Value`, if that counts.

    If `returns` is not None, the value is converted to this type. Raises `UnexpectedValue`.
    """
    if returns is bytes:
        return body
    media_type = content_type.partition(";")[0].strip().lower()
    if library := _library(returns):
        return _of_type(returns, library, media_type, content_type, body)
    if returns is None:
        # A body that does not match its type stays bytes.
        with suppress(Exception):
            return _of_kind(kind, media_type, content_type, body)
        return body
    return answers.converted(answers.decoded(content_type, body), returns)


def _of_kind(kind: str | None, media_type: str, content_type: str, body: bytes) -> Any:
    match kind, media_type:
        case "file", _:
            return body
        case "array", media.NPY if _is_installed("numpy"):
            return _array(body)
        case "image", _ if media_type.startswith("image/") and _is_installed("PIL"):
            return _image(body)
        case "table", (media.ARROW | "application/json"):
            if library := _table_library(media_type):
                return _table(library, media_type, content_type, body)
    return answers.decoded(content_type, body)


def _library(returns: Any) -> str:
    """Return the library of a type that this module makes, or ""."""
    kind = get_origin(returns) or returns
    if isinstance(kind, type):
        for module, name in _TYPES:
            known = getattr(sys.modules.get(module), name, None)
            if known is not None and issubclass(kind, known):
                return module.partition(".")[0]
    return ""


def _of_type(returns: Any, library: str, media_type: str, content_type: str, body: bytes) -> Any:
    try:
        match library, media_type:
            case (("numpy" | "torch"), (media.NPY | "application/json")):
                is_npy = media_type == media.NPY
                array = _array(body) if is_npy else _array_of_lists(answers.decoded(content_type, body))
                return (
                    _checked(array, returns)
                    if library == "numpy"
                    else import_module("torch").as_tensor(array)
                )
            case (
                ("pandas" | "polars" | "pyarrow"),
                (media.ARROW | "application/json"),
            ):
                return _table(library, media_type, content_type, body)
            case "PIL", _ if media_type.startswith("image/"):
                return _image(body)
    except UnexpectedValue:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnexpectedValue(f"the value is no {_name(returns)}: {reason}") from error
    value = shortened(answers.decoded(content_type, body))
    raise UnexpectedValue(
        f"the value is no {_name(returns)}: its type is {media_type or 'unknown'}; got {value}"
    )


def _name(returns: Any) -> str:
    return getattr(get_origin(returns) or returns, "__name__", str(returns))


def _checked(array: Any, returns: Any) -> Any:
    """Return an array if its elements are of the type in `numpy.typing.NDArray[...]`."""
    for argument in get_args(returns)[1:]:
        [element] = get_args(argument) or [None]
        if isinstance(element, type) and element is not Any and not issubclass(array.dtype.type, element):
            raise UnexpectedValue(f"the value is an array of {array.dtype.name}; expected {element.__name__}")
    return array


def _array(body: bytes) -> Any:
    return import_module("numpy").load(io.BytesIO(body), allow_pickle=False)


def _array_of_lists(value: Any) -> Any:
    array = import_module("numpy").array(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"expected lists of numbers; got {shortened(value)}")
    return array


def _image(body: bytes) -> Any:
    image = import_module("PIL.Image").open(io.BytesIO(body))
    image.load()
    return image


def _table_library(media_type: str) -> str | None:
    """Return the library that makes a table of this media type."""
    for library in ("pandas", "polars", "pyarrow"):
        # pandas reads Arrow by pyarrow.
        needed = {library, "pyarrow"} if library == "pandas" and media_type == media.ARROW else {library}
        if all(map(_is_installed, needed)):
            return library
    return None


def _table(library: str, media_type: str, content_type: str, body: bytes) -> Any:
    module = import_module(library)
    if media_type == JSON:
        records = answers.decoded(content_type, body)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError(f"expected a list of records; got {shortened(records)}")
        return module.Table.from_pylist(records) if library == "pyarrow" else module.DataFrame(records)
    if library == "polars":
        return module.read_ipc_stream(io.BytesIO(body))
    table = import_module("pyarrow.ipc").open_stream(body).read_all()
    return table.to_pandas() if library == "pandas" else table


@lru_cache(maxsize=16)
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
