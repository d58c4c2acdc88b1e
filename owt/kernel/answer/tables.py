"""Tables of any library, by the protocols that they offer: JSON records, CSV, Arrow and Parquet.

A table has `__arrow_c_stream__` (the Arrow PyCapsule interface), `__dataframe__` (the interchange protocol),
or `column_names` and a method `to_dict` for its columns. pyarrow, if it can be imported, or polars reads it.
The tables of pandas are read by pandas, which knows more about them than these protocols say.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from owt.wire.media import ARROW, CSV, PARQUET

_COUNTS = ("integer", "empty")
"""Kinds of labels, in the words of pandas, that are not data if they have no name."""


def is_table(kind: type) -> bool:
    """Return True if values of this type are tables, rather than single columns."""
    if not (hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__dataframe__")):
        return hasattr(kind, "column_names") and hasattr(kind, "to_dict")
    if hasattr(kind, "columns") or hasattr(kind, "column_names"):
        return True
    return not any(hasattr(kind, name) for name in ("tolist", "to_list", "to_pylist", "__array__"))


def sources(table: Any, encode: Callable[[object], bytes]) -> dict[str, Callable[[], Any]]:
    """Return functions that compute the representations of a table, by media type.

    A type that nothing here can write is absent. `encode` returns the JSON of a value.
    """
    writers: dict[str, Callable[[], Any]] = {
        "application/json": lambda: encoded_records(table, encode),
        CSV: lambda: _csv(table, encode),
    }
    if _can_import("pyarrow"):
        writers |= {
            ARROW: lambda: _if_possible(lambda: _arrow_stream(_arrow(table))),
            PARQUET: lambda: _if_possible(lambda: _parquet(table)),
        }
    elif _can_import("polars") and hasattr(type(table), "__arrow_c_stream__"):
        writers |= {
            ARROW: lambda: _written(_polars(table).write_ipc_stream),
            PARQUET: lambda: _written(_polars(table).write_parquet),
        }
    return writers


def encoded_records(table: Any, encode: Callable[[object], bytes]) -> msgspec.Raw:
    """Return the rows of a table as JSON.

    Raises TypeError for a value that JSON cannot hold, naming the column, and ValueError if two columns have
    the same name.
    """
    rows = _records(table)
    try:
        return msgspec.Raw(encode(rows))
    except TypeError:
        for name in rows[0]:
            try:
                encode([row[name] for row in rows])
            except TypeError as error:
                raise TypeError(f"column {name!r}: {error}") from None
        raise


def _records(table: Any) -> list[dict[Any, Any]]:
    records: list[dict[Any, Any]]
    if is_pandas(table):
        table = _with_labels(table)
        _check_names(table.columns)
        records = table.to_dict(orient="records")
        return records
    if not _can_import("pyarrow"):
        records = _polars(table).to_dicts()
        return records
    arrow = _arrow(table)
    _check_names(arrow.column_names)
    types = import_module("pyarrow").types
    # JSON has numbers of any length.
    whole = [
        field.name for field in arrow.schema if types.is_decimal(field.type) and field.type.scale == 0
    ]
    records = arrow.to_pylist()
    for name in whole:
        for row in records:
            row[name] = None if row[name] is None else int(row[name])
    return records


def _with_labels(table: Any) -> Any:
    """Return a table of pandas with the labels of its rows as columns, except numbers without a name. The
    name of a column of several levels has dots between them."""
    labels = [level for level in _labels(table.index) if table.index.names[level] not in table]
    if table.columns.nlevels > 1:
        names = [".".join(str(part) for part in name if part != "") for name in table.columns]
        table = table.set_axis(names, axis="columns")
    return table.reset_index(level=labels) if labels else table


def _labels(index: Any) -> list[int]:
    """Return the levels of an index of pandas that are data."""
    return [
        level
        for level, name in enumerate(index.names)
        if name is not None or index.get_level_values(level).inferred_type not in _COUNTS
    ]


def series_values(series: Any) -> Any:
    """Return the values of a Series of pandas: an object by its labels, records if a label repeats or has
    several levels, and a list if the labels only count."""
    index = series.index
    if not _labels(index):
        return series.to_list()
    if index.nlevels == 1 and index.is_unique:
        return series.to_dict()
    is_named = series.name is not None and series.name not in index.names
    return _records(series.to_frame(series.name if is_named else "value"))


def _check_names(names: Any) -> None:
    if len(set(names)) != len(names):
        twice = next(name for at, name in enumerate(names) if name in list(names)[:at])
        raise ValueError(f"the table has more than one column {twice!r}; rename them for JSON records")


def is_pandas(table: object) -> bool:
    """Return True for a DataFrame of pandas or of a package that extends it."""
    return isinstance(table, getattr(sys.modules.get("pandas"), "DataFrame", ()))


def _csv(table: Any, encode: Callable[[object], bytes]) -> str:
    if is_pandas(table):
        text: str = table.to_csv()
        return text
    rows = _records(table)
    output = io.StringIO()
    names = list(rows[0]) if rows else _names(table)
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        # CSV has no lists and records; they are JSON there.
        writer.writerow([encode(v).decode() if isinstance(v, (list, dict)) else v for v in row.values()])
    return output.getvalue()


def _names(table: Any) -> list[str]:
    names: list[str] = _arrow(table).column_names if _can_import("pyarrow") else _polars(table).columns
    return names


def _if_possible(write: Callable[[], bytes]) -> bytes | None:
    """Return what a function writes, or None if the format cannot hold the table: a column of values of
    several types, two columns of one name. The client then receives another format that it accepts."""
    try:
        return write()
    except (TypeError, ValueError):
        # Errors of pyarrow are such.
        return None


def _arrow(table: Any) -> Any:
    pyarrow = import_module("pyarrow")
    if is_pandas(table) and hasattr(type(table), "to_arrow"):
        # A package that extends pandas, by columns that pandas itself cannot convert.
        table = table.to_arrow()
    if hasattr(type(table), "__arrow_c_stream__"):
        arrow = pyarrow.table(table)
    elif hasattr(type(table), "__dataframe__"):
        arrow = import_module("pyarrow.interchange").from_dataframe(table)
    else:
        arrow = pyarrow.table(table.to_dict())
    for at, field in enumerate(arrow.schema):
        if pyarrow.types.is_decimal(field.type) and field.type.scale == 0:
            # Sums of integers are decimals in some engines. Larger numbers stay such.
            with suppress(ValueError):
                arrow = arrow.set_column(at, field.name, arrow.column(at).cast("int64"))
    return arrow


def _polars(table: Any) -> Any:
    if not _can_import("polars"):
        raise TypeError(f"a table of type {type(table).__name__}: install pyarrow for this kernel")
    return import_module("polars").DataFrame(table)


def _arrow_stream(table: Any) -> bytes:
    with io.BytesIO() as output:
        with import_module("pyarrow").ipc.new_stream(output, table.schema) as writer:
            writer.write_table(table)
        return output.getvalue()


def _parquet(table: Any) -> bytes:
    if is_pandas(table):
        # With its metadata, and that of packages that extend pandas.
        return _written(table.to_parquet)
    arrow, parquet = _arrow(table), import_module("pyarrow.parquet")
    return _written(lambda output: parquet.write_table(arrow, output))


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    with io.BytesIO() as output:
        write(output)
        return output.getvalue()


def _can_import(name: str) -> bool:
    return name in sys.modules or find_spec(name) is not None
