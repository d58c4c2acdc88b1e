"""JSON encoding of values: JSON's own types, and others that adaptors use.

msgspec writes dicts, lists, records of dataclasses and attrs, Structs, enums, dates, UUIDs and decimals;
`_nearest` converts everything else, first by the methods that its class has (`tolist`, `model_dump`,
`to_dict`, ...), then by the abstract base classes. NaN and the infinities are null. This module imports no
library of arrays or tables: values of its types exist only where it is already loaded.
"""

from __future__ import annotations

import array
import collections.abc as abc
import dataclasses
import datetime
import enum
import numbers
import os
import re
import sys
import types
import uuid
from collections import UserString, deque
from collections.abc import Callable
from typing import Any

import msgspec

from owt.kernel.answer import conversions, tables
from owt.wire.media import on_cpu

_SAFE_RECURSION = 5_000
"""Depth that fits the C stack of any thread in a kernel (8 MiB), whatever is nested."""

_DOCUMENTS = (
    *(deque, array.array, msgspec.Struct, os.PathLike, types.SimpleNamespace, abc.Mapping, abc.Set),
    *(abc.Sequence, abc.ValuesView, enum.Enum, re.Pattern),
    *(datetime.date, datetime.time, datetime.timedelta),
)
_TEXTS = (uuid.UUID, numbers.Number, UserString, datetime.tzinfo)
"""Types whose values are their `str` in JSON, beside those of `_LIBRARY_TEXTS`."""
_LIBRARY_TEXTS = (
    *(("ipaddress", "IPv4Address"), ("ipaddress", "IPv6Address"), ("ipaddress", "IPv4Network")),
    *(("ipaddress", "IPv6Network"), ("numpy", "dtype"), ("pandas.api.extensions", "ExtensionDtype")),
    *(("pandas", "Period"), ("pandas", "Interval"), ("pydantic", "SecretStr"), ("pydantic", "SecretBytes")),
    ("pydantic", "AnyUrl"),
)

_LISTS = ("tolist", "to_list", "to_pylist")
"""Methods that return the nested lists of an array."""
_DUMPS = ("to_dict", "as_py", "dict")
"""Methods without arguments that return what a record or a scalar holds. `dict` is that of pydantic 1."""


def type_name(value: object) -> str:
    """Return the qualified name of `value`'s type for a message."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def loaded(module: str, name: str) -> Any:
    """Return the class `name` of `module` if that is loaded, else `()`; `isinstance` accepts both."""
    return getattr(sys.modules.get(module), name, ())


def encode(value: object, other: Callable[[object], object] | None = None) -> bytes:
    """Return `value` as one compact JSON document, without a newline.

    `other` returns the nearest value that JSON can hold for one that has none. Raises TypeError for a value
    or a key that JSON cannot hold, naming its type, and ValueError for a value that is nested too deeply or
    contains itself.
    """
    encoder = _encoder if other is None else msgspec.json.Encoder(enc_hook=lambda item: _nearest(item, other))
    try:
        if sys.getrecursionlimit() > _SAFE_RECURSION and sys.version_info < (3, 12):
            return _encode_shallow(encoder, value)
        return encoder.encode(value)
    except RecursionError:
        raise ValueError(
            f"the answer, of type {type_name(value)}, is nested too deeply for JSON, or contains itself"
        ) from None
    except UnicodeEncodeError as error:
        raise surrogate(error) from None


def is_document(value: object) -> bool:
    """Return True if `value` as a whole is answered as JSON."""
    if is_mock(value) or isinstance(value, type):
        return False
    kinds = (*_DOCUMENTS, *_TEXTS, loaded("argparse", "Namespace"))
    return (
        isinstance(value, kinds)
        or _is_library_text(value)
        or value is loaded("pandas", "NA")
        or _is_record(value)
        or _converter(value) is not None
    )


def is_mock(value: object) -> bool:
    """Return True for a mock of `unittest.mock`, which has every capability and no value."""
    return issubclass(type(value), loaded("unittest.mock", "NonCallableMock"))


def is_array(value: object) -> bool:
    """Return True if `value` is an array or a tensor of any library, on any device."""
    kind = type(value)
    return hasattr(kind, "reshape") and (
        (hasattr(kind, "__array__") and hasattr(kind, "tolist")) or hasattr(kind, "toarray")
    )


def scalar(value: Any) -> Any:
    """Return the Python value of a NumPy scalar. Times are cut to microseconds, the finest unit of Python."""
    if value.dtype.kind in "mM":
        value = value.astype(_microseconds(value.dtype))
    if value.dtype.names is not None:
        return {name: value[name] for name in value.dtype.names}
    item = value.item()
    if type(item) is type(value):
        # Extended precision has no Python counterpart; `item` then returns the scalar itself.
        return complex(item) if value.dtype.kind == "c" else float(item)
    return item


def _is_library_text(value: object) -> bool:
    return isinstance(value, tuple(loaded(module, name) for module, name in _LIBRARY_TEXTS))


def _is_record(value: object) -> bool:
    """Return True for an instance of a dataclass, of attrs or a Struct."""
    kind = type(value)
    return (
        dataclasses.is_dataclass(kind)
        or hasattr(kind, "__attrs_attrs__")
        or isinstance(value, msgspec.Struct)
    )


def _nearest(value: Any, other: Callable[[object], object] | None = None) -> Any:
    """Return the nearest value that msgspec can write.

    msgspec calls this for keys too, also for keys of types that it can write as values: a value of such a
    type is a key.
    """
    if is_mock(value) or isinstance(value, type):
        raise unsuitable(value)
    if conversions.functions and (simpler := conversions.converted(value)) is not value:
        return simpler
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        raise _bad_key(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        # As pydantic writes it; `complex` reads it.
        return str(value).strip("()")
    if isinstance(value, (datetime.date, datetime.time)):
        # pandas' NaT is a datetime.
        return None if value is loaded("pandas", "NaT") else value.isoformat()
    if isinstance(value, datetime.timedelta):
        if (isoformat := getattr(type(value), "isoformat", None)) is not None:
            return isoformat(value)
        return datetime.timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, loaded("numpy", "generic")):
        return scalar(value)
    if (convert := _converter(value)) is not None:
        return convert()
    if isinstance(value, (types.SimpleNamespace, loaded("argparse", "Namespace"))):
        return vars(value)
    if isinstance(value, _TEXTS):
        return str(value)
    if isinstance(value, re.Pattern):
        return value.pattern
    if isinstance(value, abc.Mapping):
        return dict(value)
    if isinstance(value, (abc.Set, abc.Sequence, abc.ValuesView, deque, array.array)):
        return list(value)
    if _is_library_text(value):
        return str(value)
    if value is loaded("pandas", "NA"):
        return None
    if _is_record(value):
        raise _bad_key(value)
    if other is not None:
        return other(value)
    raise unsuitable(value)


def _converter(value: Any) -> Callable[[], Any] | None:
    """Return a function that converts `value` to something simpler, by the protocols that its class has."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return None
    if tables.is_table(kind):
        return lambda: tables.encoded_records(value, _encoder.encode)
    if isinstance(value, loaded("pandas", "Series")):
        return lambda: tables.series_values(value)
    if any(hasattr(kind, name) for name in _LISTS) or hasattr(kind, "toarray"):
        return lambda: _listed(value)
    if hasattr(kind, "model_dump"):
        return lambda: _dumped(value)
    for name in _DUMPS:
        if callable(getattr(kind, name, None)) and (name != "dict" or hasattr(kind, "__fields__")):
            convert: Callable[[], Any] = getattr(value, name)
            return convert
    if hasattr(kind, "__geo_interface__"):
        return lambda: value.__geo_interface__
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
        return lambda: {key: value[key] for key in value.keys()}  # noqa: SIM118 - it may have no __iter__
    if hasattr(kind, "__array__") and "numpy" in sys.modules:
        return lambda: _listed(sys.modules["numpy"].asarray(value))
    return None


def _dumped(model: Any) -> Any:
    """Return the fields of a pydantic model, in JSON's types as far as pydantic knows them."""
    try:
        return model.model_dump(mode="json")
    except Exception:
        return model.model_dump()


def _listed(array: Any) -> Any:
    """Return the nested lists of an array or tensor, or one number if it has no dimensions."""
    array = on_cpu(array)
    if isinstance(array, loaded("numpy", "ndarray")):
        if array.dtype.kind in "mM":
            array = array.astype(_microseconds(array.dtype))
        if array.dtype.names is not None:
            names = array.dtype.names
            return _records_of(names, [_listed(array[name]) for name in names], array.ndim)
    return next(getattr(array, name) for name in _LISTS if hasattr(type(array), name))()


def _records_of(names: tuple[str, ...], columns: list[Any], ndim: int) -> Any:
    """Return the records of a structured array, from the nested lists of each field."""
    if ndim == 0:
        return dict(zip(names, columns))
    return [_records_of(names, [*values], ndim - 1) for values in zip(*columns)]


def _microseconds(dtype: Any) -> Any:
    """Return a NumPy time type no finer than microseconds: `tolist` and `item` return integers for finer
    ones."""
    import numpy

    unit = numpy.datetime_data(dtype)[0]
    return f"{dtype.kind}8[us]" if unit in ("ns", "ps", "fs", "as") else dtype


def _bad_key(value: object) -> TypeError:
    return TypeError(f"JSON cannot have a key of type {type_name(value)}; make it a str or a number")


def surrogate(error: UnicodeEncodeError) -> ValueError:
    """Return the error for a text that UTF-8 cannot hold, such as the name of a file in another encoding."""
    return ValueError(
        f"a str has the lone surrogate {error.object[error.start]!r} at {error.start}, which no answer can "
        "hold; return bytes, os.fsencode(name), or text.encode(errors='backslashreplace').decode()"
    )


def unsuitable(value: object) -> TypeError:
    """Return the error for a value that JSON cannot hold."""
    return TypeError(
        f"JSON cannot hold a value of type {type_name(value)}; make it a dict, list, str or number first, or "
        "say by owt.register(type, function) what values of this type become"
    )


def _encode_shallow(encoder: msgspec.json.Encoder, value: object) -> bytes:
    """Encode where an adaptor has raised Python's recursion limit so far that a cycle would overflow the C
    stack and end the kernel. Python 3.12 and later bound recursion in C."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_SAFE_RECURSION)
    try:
        return encoder.encode(value)
    finally:
        sys.setrecursionlimit(limit)


_encoder = msgspec.json.Encoder(enc_hook=_nearest)
