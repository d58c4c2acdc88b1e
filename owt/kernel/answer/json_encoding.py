"""JSON encoding of values: JSON's own types, and others that adaptors use.

msgspec writes dicts, lists, dataclasses, Structs, enums, dates, UUIDs and decimals; `_nearest` converts
everything else. NaN and the infinities are null. This module imports no library of arrays or tables: values
of its types exist only where it is already loaded.
"""

from __future__ import annotations

import array
import collections.abc as abc
import dataclasses
import datetime
import decimal
import enum
import os
import sys
import uuid
from collections import deque
from typing import Any

import msgspec

_SAFE_RECURSION = 5_000
"""Depth that fits the C stack of any thread in a kernel (8 MiB), whatever is nested."""

_DOCUMENTS = (
    *(dict, list, tuple, set, frozenset, deque, range, array.array, msgspec.Struct, os.PathLike),
    *(abc.Mapping, abc.Set, abc.ValuesView, enum.Enum, uuid.UUID, decimal.Decimal),
    *(datetime.date, datetime.time, datetime.timedelta),
)


def type_name(value: object) -> str:
    """Return the qualified name of `value`'s type for a message."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def loaded(module: str, name: str) -> Any:
    """Return the class `name` of `module` if that is loaded, else `()`; `isinstance` accepts both."""
    return getattr(sys.modules.get(module), name, ())


def encode(value: object) -> bytes:
    """Return `value` as one compact JSON document, without a newline.

    Raises TypeError for a value or a key that JSON cannot hold, naming its type, and ValueError for a value
    that is nested too deeply or contains itself.
    """
    try:
        if sys.getrecursionlimit() > _SAFE_RECURSION and sys.version_info < (3, 12):
            return _encode_shallow(value)
        return _encoder.encode(value)
    except RecursionError:
        raise ValueError(
            f"the answer, of type {type_name(value)}, is nested too deeply for JSON, or contains itself"
        ) from None


def is_document(value: object) -> bool:
    """Return True if `value` as a whole is answered as JSON."""
    return not is_mock(value) and (isinstance(value, _DOCUMENTS) or is_array(value) or _is_record(value))


def is_mock(value: object) -> bool:
    """Return True for a mock of `unittest.mock`, which has every capability and no value."""
    return issubclass(type(value), loaded("unittest.mock", "NonCallableMock"))


def is_array(value: object) -> bool:
    """Return True if `value` is an array or a tensor of any library, on any device."""
    kind = type(value)
    return hasattr(kind, "__array__") and hasattr(kind, "tolist")


def scalar(value: Any) -> Any:
    """Return the Python value of a NumPy scalar. Times are cut to microseconds, the finest unit of Python."""
    if value.dtype.kind in "mM":
        value = value.astype(_microseconds(value.dtype))
    item = value.item()
    if type(item) is type(value):
        # Extended precision has no Python counterpart; `item` then returns the scalar itself.
        return complex(item) if value.dtype.kind == "c" else float(item)
    return item


def records(table: Any) -> list[Any]:
    """Return the rows of a pandas DataFrame as dicts, or the values of a Series.

    Raises ValueError if two columns have the same name, because a dict would lose one of them.
    """
    if isinstance(table, loaded("pandas", "Series")):
        values: list[Any] = table.tolist()
        return values
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(f"the DataFrame has more than one column {twice!r}; rename them for JSON records")
    rows: list[Any] = table.to_dict(orient="records")
    return rows


def encode_table(table: Any) -> msgspec.Raw:
    """Return the rows of a pandas DataFrame as JSON.

    Raises TypeError for a value that JSON cannot hold, naming the column, and ValueError like `records`.
    """
    rows = records(table)
    try:
        return msgspec.Raw(_encoder.encode(rows))
    except TypeError:
        for name, column in table.items():
            try:
                _encoder.encode(column.tolist())
            except TypeError as error:
                raise TypeError(f"column {name!r}: {error}") from None
        raise


def _is_record(value: object) -> bool:
    """Return True for an instance of a dataclass or a Struct."""
    return dataclasses.is_dataclass(type(value)) or isinstance(value, msgspec.Struct)


def _nearest(value: Any) -> Any:
    """Return the nearest value that msgspec can write.

    msgspec calls this for keys too, also for keys of types that it can write as values: a value of such a
    type is a key.
    """
    if is_mock(value):
        return _nearest_of_libraries(value)
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict() | list() | tuple() | set() | frozenset():
            raise _bad_key(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case datetime.date() | datetime.time():
            # pandas' NaT is a datetime.
            return None if value is loaded("pandas", "NaT") else value.isoformat()
        case datetime.timedelta():
            if (isoformat := getattr(type(value), "isoformat", None)) is not None:
                return isoformat(value)
            return datetime.timedelta(value.days, value.seconds, value.microseconds)
        case uuid.UUID() | decimal.Decimal():
            return str(value)
        case os.PathLike():
            return os.fspath(value)
        case abc.Mapping():
            return dict(value)
        case abc.Set() | abc.ValuesView() | deque() | range() | array.array():
            return list(value)
    return _nearest_of_libraries(value)


def _nearest_of_libraries(value: Any) -> Any:
    if isinstance(value, loaded("numpy", "generic")):
        return scalar(value)
    if isinstance(value, loaded("pandas", "DataFrame")):
        return encode_table(value)
    if isinstance(value, loaded("pandas", "Series")):
        return records(value)
    if isinstance(value, (loaded("pandas", "Period"), loaded("pandas", "Interval"))):
        return str(value)
    if value is loaded("pandas", "NA"):
        return None
    if is_array(value):
        return _listed(value)
    if _is_record(value):
        raise _bad_key(value)
    raise TypeError(
        f"JSON cannot hold a value of type {type_name(value)}; make it a dict, list, str or number first"
    )


def _listed(array: Any) -> Any:
    """Return the nested lists of an array or tensor, or one number if it has no dimensions."""
    kind = type(array)
    if hasattr(kind, "detach") and hasattr(kind, "cpu"):
        array = array.detach().cpu()
    if isinstance(array, loaded("numpy", "ndarray")) and array.dtype.kind in "mM":
        array = array.astype(_microseconds(array.dtype))
    return array.tolist()


def _microseconds(dtype: Any) -> Any:
    """Return a NumPy time type no finer than microseconds: `tolist` and `item` return integers for finer
    ones."""
    import numpy

    unit = numpy.datetime_data(dtype)[0]
    return f"{dtype.kind}8[us]" if unit in ("ns", "ps", "fs", "as") else dtype


def _bad_key(value: object) -> TypeError:
    return TypeError(f"JSON cannot have a key of type {type_name(value)}; make it a str or a number")


def _encode_shallow(value: object) -> bytes:
    """Encode where an adaptor has raised Python's recursion limit so far that a cycle would overflow the C
    stack and end the kernel. Python 3.12 and later bound recursion in C."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_SAFE_RECURSION)
    try:
        return _encoder.encode(value)
    finally:
        sys.setrecursionlimit(limit)


_encoder = msgspec.json.Encoder(enc_hook=_nearest)
