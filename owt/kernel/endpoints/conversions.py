"""Conversions of JSON values and contents to types that msgspec does not know.

A protocol of the class decides, and the first that it has counts:

| protocol | example | from JSON | from content |
|---|---|---|---|
| `model_validate` | pydantic.BaseModel | what the method accepts | JSON |
| `__arrow_c_stream__` or `__dataframe__` | pandas.DataFrame, pyarrow.Table | records, columns | Arrow, CSV |
| `column_names` and `from_dict` | datasets.Dataset | records, columns | Arrow, CSV |
| `__array__` or `__array_namespace__`, and `asarray` of its library | torch.Tensor | lists of numbers | npy |
| `_repr_png_`, and `open` of its module | PIL.Image.Image | base64, data URL | any image |
| constructor that takes text | pathlib.Path, complex | text | a file, for a Path |

Each library is found through the class, so that nothing is imported for other types. Annotations that contain
pydantic's classes or fields are left to pydantic as a whole.
"""

from __future__ import annotations

import base64
import mimetypes
import re
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote_to_bytes

from owt.kernel import context
from owt.kernel.endpoints.contents import JSON, TABLES, Content
from owt.wire.endpoint import REFERENCE
from owt.wire.media import ARROW, ARROW_FILE, NPY

Schema = dict[str, Any]

TEMPLATE = REFERENCE + "{model}"
FROM_TEXT = (PurePath, complex, Fraction)
"""Classes that are constructed from text."""
_STREAM = re.compile(r"\s*<_io\.\w+ object at \w+>")
_FROM_RECORDS = ("from_pylist", "from_list")
_FROM_COLUMNS = ("from_pydict", "from_dict")
"""Class methods that make a table, of libraries whose constructors do not."""
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),")


@dataclass(frozen=True)
class Conversion:
    """Conversion to the classes of one protocol.

    `media_types` are those of bodies that it takes, `type/*` being all of one kind. It is `structured` if
    JSON writes values with brackets.
    """

    noun: str
    has_protocol: Callable[[Any], bool]
    from_json: Callable[[Any, Any], Any]
    from_content: Callable[[Any, Content], Any]
    schema: Callable[[Any], Schema]
    media_types: tuple[str, ...] = ()
    structured: bool = False


def conversion_of(kind: Any) -> Conversion | None:
    """Return the conversion to a type, or None."""
    cls = typing.get_origin(kind) or kind
    if not isinstance(cls, type):
        return None
    return next((conversion for conversion in _CONVERSIONS if conversion.has_protocol(cls)), None)


def convert(kind: Any, value: Any) -> Any:
    """Return a value of a type that msgspec does not know; `value` itself if there is no conversion to it.

    Raises ValueError for a value that does not fit.
    """
    cls = typing.get_origin(kind) or kind
    if isinstance(cls, type) and isinstance(value, cls):
        return value
    conversion = conversion_of(cls)
    if conversion is None:
        return value
    is_content = isinstance(value, Content)
    try:
        return (conversion.from_content if is_content else conversion.from_json)(kind, value)
    except (RecursionError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"expected {conversion.noun}: {reason(error)}") from error


def schema_of(kind: Any) -> Schema | None:
    """Return the JSON Schema of a type that msgspec does not know, or None.

    Its definitions are in `$defs`.
    """
    conversion = conversion_of(kind)
    return None if conversion is None else conversion.schema(kind)


def reason(error: BaseException) -> str:
    """Return the message of an error in one line; of pydantic's, each field and its problem."""
    errors = getattr(error, "errors", None)
    if callable(errors):
        problems = [
            ": ".join([*([".".join(map(str, item["loc"]))] if item["loc"] else []), item["msg"]])
            for item in errors()[:10]
        ]
        return "; ".join(problems)
    return " ".join(_STREAM.sub("", str(error)).split()) or type(error).__name__


# Pydantic as a whole -------------------------------------------------------------------------------


def pydantic_adapter(kind: Any) -> Any:
    """Return pydantic's adapter of a type that contains its classes or fields; None for other types."""
    pydantic: Any = sys.modules.get("pydantic")
    if pydantic is None or not any(map(_is_pydantic, _parts(kind))):
        return None
    for options in ({}, {"config": {"arbitrary_types_allowed": True}}):
        try:
            return pydantic.TypeAdapter(kind, **options)
        except Exception:
            continue
    return None


def pydantic_schema(kind: Any, mode: str) -> Schema | None:
    """Return pydantic's own schema of a type for values that are received (`validation`) or sent
    (`serialization`); None for types that are not pydantic's."""
    if pydantic_adapter(kind) is None:
        return None
    # As the items of a list, classes are definitions rather than a part of the schema.
    adapter = pydantic_adapter(list[kind])
    schema = adapter.json_schema(ref_template=TEMPLATE, mode=mode)
    return {**schema["items"], "$defs": schema.get("$defs", {})}


def _parts(kind: Any) -> Iterator[Any]:
    yield kind
    for part in (*typing.get_args(kind), *getattr(kind, "__metadata__", ())):
        yield from _parts(part)


def _is_pydantic(part: Any) -> bool:
    if isinstance(part, type):
        return hasattr(part, "__pydantic_validator__")
    return type(part).__module__.partition(".")[0] in ("pydantic", "annotated_types")


# Protocols -----------------------------------------------------------------------------------------


def _library(cls: type) -> Any:
    return sys.modules.get(cls.__module__.partition(".")[0])


def _model(cls: Any, value: Any) -> Any:
    return cls.model_validate(value.json() if isinstance(value, Content) else value)


def _model_schema(cls: Any) -> Schema:
    schema: Schema = cls.model_json_schema(ref_template=TEMPLATE)
    return schema


def _encoded(value: Any) -> Content:
    """Return the content of a data URL or of base64."""
    if not isinstance(value, str):
        raise ValueError(f"send the file in base64 or as a data URL; got {type(value).__name__}")
    if (url := _DATA_URL.match(value)) is None:
        return Content(_decoded(value))
    text = value[url.end() :]
    return Content(_decoded(text) if ";base64" in url[2] else unquote_to_bytes(text), url[1])


def _decoded(text: str) -> bytes:
    text = text.translate({ord("-"): "+", ord("_"): "/", 10: None, 13: None})
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(
            "its text is neither base64 nor a data URL; to upload a file, send -F NAME=@FILE"
        ) from None


def data_of_url(value: Any) -> Any:
    """Return the bytes of a data URL; any other value as received."""
    return _encoded(value).data if isinstance(value, str) and _DATA_URL.match(value) else value


def _namespace(cls: Any) -> Any:
    """Return the module with `asarray` for a class of arrays, as in the array API standard, or None."""
    library = _library(cls)
    return next(
        (module for module in (library, getattr(library, "numpy", None)) if hasattr(module, "asarray")), None
    )


def _array(kind: Any, value: Any) -> Any:
    cls = typing.get_origin(kind) or kind
    if isinstance(value, str):
        value = _encoded(value)
    if isinstance(value, Content) and value.kind == JSON:
        value = value.json()
    if isinstance(value, Content):
        if value.kind != NPY:
            raise ValueError(f"send JSON lists or {NPY}")
        value = value.array()
    elif not isinstance(value, (list, tuple, int, float, complex)) and not hasattr(value, "__array__"):
        raise ValueError(f"send lists of numbers; got {type(value).__name__}")
    element = _element(kind)
    array = _namespace(cls).asarray(value, **({} if element is None else {"dtype": element}))
    if getattr(getattr(array, "dtype", None), "kind", None) == "O":
        raise ValueError("send lists of numbers")
    return array


def _element(kind: Any) -> Any:
    """Return the type of the elements in `numpy.typing.NDArray[...]`, or None."""
    for argument in typing.get_args(kind):
        if getattr(typing.get_origin(argument), "__name__", "") == "dtype":
            [element] = typing.get_args(argument)
            return element if isinstance(element, type) else None
    return None


def _table(cls: Any, value: Any) -> Any:
    if isinstance(value, str):
        value = _encoded(value)
    if isinstance(value, Content) and value.kind == JSON:
        value = value.json()
    if isinstance(value, Content):
        library = cls.__module__.partition(".")[0]
        if value.kind in (ARROW, ARROW_FILE) and hasattr(cls, "from_arrow"):
            return cls.from_arrow(value.table("pyarrow"))
        value = value.table(library if hasattr(_library(cls), "read_csv") else "pyarrow")
        if hasattr(cls, "from_dict") and hasattr(cls, "column_names"):
            value = value.to_pydict()
    elif not isinstance(value, (list, dict)):
        raise ValueError(f"send a list of records or an object of columns; got {type(value).__name__}")
    if isinstance(value, cls):
        return value
    names = _FROM_RECORDS if isinstance(value, list) else _FROM_COLUMNS
    return next((getattr(cls, name) for name in names if hasattr(cls, name)), cls)(value)


def _image(cls: Any, value: Any) -> Any:
    content = value if isinstance(value, Content) else _encoded(value)
    return content.image(sys.modules[cls.__module__])


def _is_image(cls: Any) -> bool:
    return hasattr(cls, "_repr_png_") and hasattr(sys.modules.get(cls.__module__), "open")


def _from_text(cls: Any, value: Any) -> Any:
    if isinstance(value, Content):
        if not issubclass(cls, Path):
            return cls(value.text())
        return _upload(cls, value)
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"got {type(value).__name__}")
    if isinstance(value, str) and issubclass(cls, Path) and _DATA_URL.match(value):
        return _upload(cls, _encoded(value))
    return cls(value)


def _upload(cls: Any, content: Content) -> Any:
    """Return the path of a temporary file with the content, which is removed at the end of the run."""
    run = context.running()
    if run is None:
        raise ValueError("a file needs a call")
    folder = Path(run.new_folder())
    # The client's name may have directories in it, of any system.
    name = re.split(r"[/\\]", content.filename or "")[-1].replace("\0", "")
    while len(name.encode(errors="replace")) > 200:
        name = name[1:]
    if name in ("", ".", ".."):
        name = f"upload{mimetypes.guess_extension(content.media_type) or ''}"
    path = folder / name
    path.write_bytes(content.data)
    return cls(path)


def _has_table_protocol(cls: Any) -> bool:
    # A column or an array has the first too, and no name for a table's columns.
    by_columns = hasattr(cls, "column_names") and hasattr(cls, "from_dict")
    by_arrow = hasattr(cls, "__arrow_c_stream__") and hasattr(cls, "columns")
    return hasattr(cls, "__dataframe__") or by_arrow or by_columns


def _has_array_protocol(cls: Any) -> bool:
    # An abstract class of arrays has the second.
    is_array = hasattr(cls, "__array__") or hasattr(cls, "__array_namespace__")
    return is_array and _namespace(cls) is not None


def _file_schema(media_type: str) -> Schema:
    return {"type": "string", "contentEncoding": "base64", "contentMediaType": media_type}


_CONVERSIONS = (
    Conversion(
        "an object of this model", lambda cls: hasattr(cls, "model_validate"), _model, _model, _model_schema,
        (JSON,), structured=True,
    ),
    Conversion(
        "a table", _has_table_protocol, _table, _table,
        lambda cls: {
            "anyOf": [
                {"type": "array", "items": {"type": "object"}}, {"type": "object"}, *map(_file_schema, TABLES)
            ]
        },
        (*TABLES, JSON), structured=True,
    ),
    Conversion(
        "an array", _has_array_protocol, _array, _array,
        lambda cls: {"anyOf": [{"type": "array"}, {"type": "number"}, _file_schema(NPY)]},
        (NPY, JSON), structured=True,
    ),
    Conversion("an image", _is_image, _image, _image, lambda cls: _file_schema("image/*"), ("image/*",)),
    Conversion(
        "a path or a file", lambda cls: issubclass(cls, Path), _from_text, _from_text,
        lambda cls: {"type": "string", "format": "path"}, ("*/*",),
    ),
    Conversion(
        "text for it", lambda cls: issubclass(cls, FROM_TEXT), _from_text, _from_text,
        lambda cls: {"type": "string"},
    ),
)  # fmt: skip
