"""Answers with the tables, charts and arrays of libraries that the other tests do without."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import altair
import datasets
import duckdb
import numpy as np
import pandas as pd
import plotly.graph_objects
import polars
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.sparse
import seaborn
import xarray
from value_answers import answer

from owt.kernel.answer import tables
from owt.wire.media import ARROW, PARQUET

JSON = "application/json"
RECORDS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
TABLES = {
    "pandas": lambda: pd.DataFrame(RECORDS),
    "polars": lambda: polars.DataFrame(RECORDS),
    "pyarrow": lambda: pa.Table.from_pylist(RECORDS),
    "batch": lambda: pa.RecordBatch.from_pylist(RECORDS),
    "datasets": lambda: datasets.Dataset.from_list(RECORDS),
    "duckdb": lambda: duckdb.sql("select * from (values (1, 'x'), (2, null)) t(a, b)"),
}


class Capsule:
    """Table with nothing but Arrow's protocol."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.Table.from_pylist(RECORDS).__arrow_c_stream__(requested_schema)


class Interchange:
    """Table with nothing but the interchange protocol."""

    def __dataframe__(self, **options: Any) -> Any:
        return pa.Table.from_pylist(RECORDS).__dataframe__(**options)


TABLES |= {"capsule": Capsule, "interchange": Interchange}


def use(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "polars":
        monkeypatch.setattr(tables, "_can_import", lambda name: name != "pyarrow")


@pytest.fixture(params=["pyarrow", "polars"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    use(request.param, monkeypatch)
    return request.param


# polars reads no other protocol than Arrow's.
PAIRS = [(name, engine) for name in TABLES for engine in ("pyarrow", "polars")]
PAIRS.remove(("interchange", "polars"))
PAIRS.remove(("datasets", "polars"))


@pytest.fixture(params=PAIRS, ids="-".join)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a table, which this environment reads by one of the engines."""
    name, engine = request.param
    use(engine, monkeypatch)
    return name


def test_a_table_is_records(name: str) -> None:
    headers, body = answer(TABLES[name](), JSON)
    assert (headers["Content-Type"], headers["Owt-Value"]) == (JSON, "table")
    assert json.loads(body) == RECORDS
    assert json.loads(answer({"t": [TABLES[name]()]}, "*/*")[1]) == {"t": [RECORDS]}


def test_a_table_is_csv(name: str) -> None:
    rows = list(csv.DictReader(io.StringIO(answer(TABLES[name](), "text/csv")[1].decode())))
    assert [(row["a"], row["b"]) for row in rows] == [("1", "x"), ("2", "")]


# pandas needs pyarrow for Arrow.
@pytest.mark.parametrize(("name", "engine"), [pair for pair in PAIRS if pair != ("pandas", "polars")])
def test_a_table_is_arrow_or_parquet_for_a_client_that_names_it(
    name: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(engine, monkeypatch)
    headers, body = answer(TABLES[name](), f"{ARROW}, {JSON}")
    assert (headers["Content-Type"], headers["Owt-Value"]) == (ARROW, "table")
    assert pa.ipc.open_stream(body).read_all().select(["a", "b"]).to_pylist() == RECORDS
    headers, body = answer(TABLES[name](), PARQUET)
    assert headers["Content-Type"] == PARQUET
    assert pyarrow.parquet.read_table(io.BytesIO(body)).select(["a", "b"]).to_pylist() == RECORDS


@pytest.mark.parametrize("accept", ["application/*", "*/*"])
def test_a_client_that_does_not_name_arrow_does_not_receive_it(name: str, accept: str) -> None:
    assert answer(TABLES[name](), accept)[0]["Content-Type"].startswith(("text/plain", JSON))


def test_a_table_without_rows_has_its_columns(engine: str) -> None:
    table = pa.table({"a": pa.array([], pa.int64())})
    assert answer(table, "text/csv")[1] == b"a\n"
    assert answer(table, JSON)[1] == b"[]"


def test_a_sum_of_integers_is_a_number() -> None:
    relation = duckdb.sql("select sum(x) as s, 1.5::decimal(5, 2) as d from (values (1), (2)) t(x)")
    assert answer(relation, JSON)[1] == b'[{"s":3,"d":"1.50"}]'


def test_a_sum_of_integers_is_a_number_in_arrow_unless_it_is_too_large() -> None:
    sums = "sum(x) as s, max(9223372036854775807::hugeint + x) as h"
    relation = duckdb.sql(f"select {sums} from range(2) t(x)")
    schema = pa.ipc.open_stream(answer(relation, ARROW)[1]).schema
    assert (schema.field("s").type, schema.field("h").type) == (pa.int64(), pa.decimal128(38, 0))


def test_a_table_that_arrow_cannot_hold_comes_in_the_next_format() -> None:
    table = pd.DataFrame({"a": [1, "x"]})
    headers, body = answer(table, f"{ARROW}, {JSON};q=0.9")
    assert (headers["Content-Type"], body) == (JSON, b'[{"a":1},{"a":"x"}]')


def test_lists_and_records_in_csv_are_json() -> None:
    table = pa.table({"a": [[1, 2]], "b": [{"c": 1}]})
    assert next(csv.reader(io.StringIO(answer(table, "text/csv")[1].decode().split("\n", 1)[1]))) == [
        "[1,2]", '{"c":1}'
    ]


def test_two_columns_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="more than one column 'a'"):
        answer(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), JSON)


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (polars.Series([1, None]), [1, None]),
        (pa.array([1, None]), [1, None]),
        (pa.chunked_array([[1], [2]]), [1, 2]),
        (pa.scalar(3), 3),
        (scipy.sparse.csr_matrix(np.eye(2)), [[1.0, 0.0], [0.0, 1.0]]),
        ({"m": scipy.sparse.coo_array(np.eye(1))}, {"m": [[1.0]]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_columns_and_sparse_matrices_are_lists(value: object, document: object) -> None:
    assert json.loads(answer(value, JSON)[1]) == document


@pytest.mark.parametrize("value", [xarray.DataArray([1, 2], dims="x"), xarray.Dataset({"v": ("x", [1, 2])})])
def test_labelled_arrays_are_text_or_their_dictionary(value: Any) -> None:
    assert answer(value, "*/*")[1].startswith(b"<xarray.")
    document = json.loads(answer(value, JSON)[1])
    assert document.get("data") == [1, 2] or document["data_vars"]["v"]["data"] == [1, 2]


@pytest.mark.parametrize(
    "value",
    [
        plotly.graph_objects.Figure(plotly.graph_objects.Bar(y=[1, 2])),
        altair.Chart(pd.DataFrame({"a": [1]})).mark_bar().encode(x="a"),
    ],
    ids=["plotly", "altair"],
)
def test_a_chart_is_a_document_or_its_specification(value: Any) -> None:
    assert answer(value, "*/*")[0]["Content-Type"] == "text/html; charset=utf-8"
    assert "data" in json.loads(answer(value, JSON)[1])
    assert "data" in json.loads(answer([value], "*/*")[1])[0]


def test_a_grid_of_seaborn_is_a_picture() -> None:
    grid = seaborn.relplot(pd.DataFrame({"x": [1, 2], "y": [1, 2]}), x="x", y="y")
    assert answer(grid, "*/*")[0]["Content-Type"] == "image/png"
