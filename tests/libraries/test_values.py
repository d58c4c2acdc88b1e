"""Arrays of jax, datasets of Hugging Face and tables of geopandas on a live server, in both directions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import datasets
import geopandas
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from shapely.geometry import Point

from owt.client import Client
from owt.errors import RemoteError
from owt.testing import LiveServer
from owt.wire.media import ARROW, NPY, PARQUET

SESSION = "values"
ENDPOINTS = """
import datasets, geopandas, jax, jax.numpy as jnp
from shapely.geometry import Point

places = geopandas.GeoDataFrame({"name": ["a"]}, geometry=[Point(1, 2)], crs=4326).set_index("name")
rows = datasets.Dataset.from_list([{"a": 1, "b": ["x"]}, {"a": None, "b": []}])

@endpoint("/array")
def array(x: jax.Array) -> jax.Array:
    return x * 2

@endpoint("/rows")
def count(x: datasets.Dataset) -> list:
    return [type(x).__name__, x.num_rows, x.column_names]

@endpoint("/places")
def place(x: geopandas.GeoDataFrame) -> list:
    return [type(x).__name__, x.crs.to_epsg(), *x.geometry.x]
"""


@pytest.fixture(scope="module")
def url(server: LiveServer) -> Iterator[str]:
    """Define endpoints and variables in a session of the shared server. Return the server's URL."""
    assert server.call(ENDPOINTS, session=SESSION).status_code == 200
    yield server.url
    server.ask("DELETE", f"/_owt/sessions/{SESSION}")


def ask(server: LiveServer, code: str, accept: str) -> tuple[str, str | None, bytes]:
    """Return media type, kind of value and body of an answer."""
    data = {"code": code, "session": SESSION}
    answer = server.ask("POST", "/", data=data, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer.headers["content-type"].partition(";")[0], answer.headers.get("owt-value"), answer.content


@pytest.mark.parametrize(
    ("code", "document", "dtype"),
    [
        ("jnp.arange(4).reshape(2, 2)", [[0, 1], [2, 3]], "int32"),
        ("jnp.float32(3.5)", 3.5, "float32"),
        ("jnp.array([0.5, jnp.nan], dtype=jnp.bfloat16)", [0.5, None], "float32"),
        ("jnp.ones(1, dtype=jnp.float8_e4m3fn)", [1.0], "float32"),
        ("jnp.array([1 + 2j])", ["1+2j"], "complex64"),
        ("jax.grad(lambda x: x * x)(2.0)", 4.0, "float32"),
    ],
)
def test_an_array_of_jax_is_lists_or_an_npy_file(
    url: str, server: LiveServer, code: str, document: object, dtype: str
) -> None:
    for accept in "*/*", "application/json":
        media_type, kind, body = ask(server, code, accept)
        assert (media_type, kind, json.loads(body)) == ("application/json", "array", document)
    media_type, kind, body = ask(server, code, NPY)
    assert (media_type, kind, str(np.load(io.BytesIO(body)).dtype)) == (NPY, "array", dtype)
    assert json.loads(ask(server, f"[{{'x': {code}}}]", "*/*")[2]) == [{"x": document}]


@pytest.mark.parametrize(
    "value", [[1, 2.5], jnp.array([1, 2.5]), jnp.array([1, 2.5], dtype=jnp.bfloat16), np.array([1, 2.5])]
)
def test_a_parameter_of_jax_takes_lists_and_arrays(url: str, value: object) -> None:
    with Client(f"{url}/array") as client:
        assert client.call(x=value).tolist() == [2.0, 5.0]


def test_another_value_than_arrays_is_refused_by_its_name(url: str) -> None:
    refused = pytest.raises(RemoteError, match="x: expected an array")
    with Client(f"{url}/array") as client, refused as error:
        client.call(x={"a": 1})
    assert error.value.status == 422


def test_a_dataset_is_a_table(url: str, server: LiveServer) -> None:
    records = [{"a": 1, "b": ["x"]}, {"a": None, "b": []}]
    for accept in "*/*", "application/json":
        media_type, kind, body = ask(server, "rows", accept)
        assert (media_type, kind, json.loads(body)) == ("application/json", "table", records)
    assert ask(server, "rows", "text/csv")[2] == b'a,b\n1,"[""x""]"\n,[]\n'
    media_type, kind, body = ask(server, "rows", ARROW)
    assert (media_type, kind) == (ARROW, "table")
    assert pa.ipc.open_stream(body).read_all().to_pylist() == records
    assert json.loads(ask(server, "datasets.DatasetDict({'train': rows})", "*/*")[2]) == {"train": records}


def test_tables_of_a_stream_are_json_lines(url: str, server: LiveServer) -> None:
    lines = ask(server, "iter([rows.select([0]), rows.select([1])])", f"{ARROW}, application/json;q=0.9")
    assert lines == ("application/x-ndjson", None, b'[{"a":1,"b":["x"]}]\n[{"a":null,"b":[]}]\n')
    with Client(url, session=SESSION) as client:
        assert client.call("iter([rows.select([0])])") == [[{"a": 1, "b": ["x"]}]]


@pytest.mark.parametrize(
    "value",
    [
        [{"a": 1}, {"a": 2}],
        {"a": [1, 2]},
        datasets.Dataset.from_dict({"a": [1, 2]}),
        pd.DataFrame({"a": [1, 2]}),
        pa.table({"a": [1, 2]}),
    ],
    ids=["records", "columns", "dataset", "pandas", "pyarrow"],
)
def test_a_parameter_takes_a_dataset(url: str, value: Any) -> None:
    with Client(f"{url}/rows") as client:
        assert client.call(x=value) == ["Dataset", 2, ["a"]]


def test_a_geographic_table_keeps_its_shapes(url: str, server: LiveServer) -> None:
    document = json.loads(ask(server, "places", "application/json")[2])
    assert document == [{"name": "a", "geometry": {"type": "Point", "coordinates": [1.0, 2.0]}}]
    assert ask(server, "places", "text/csv")[2] == b"name,geometry\na,POINT (1 2)\n"
    arrow = geopandas.GeoDataFrame.from_arrow(pa.ipc.open_stream(ask(server, "places", ARROW)[2]).read_all())
    parquet = geopandas.read_parquet(io.BytesIO(ask(server, "places", PARQUET)[2]))
    for table in arrow.reset_index(), parquet.reset_index():
        assert (table.crs.to_epsg(), table.geometry[0], table["name"][0]) == (4326, Point(1, 2), "a")


def test_the_client_sends_a_geographic_table(url: str) -> None:
    places = geopandas.GeoDataFrame({"n": [1]}, geometry=[Point(3, 4)], crs=4326)
    with Client(f"{url}/places") as client:
        assert client.call(x=places) == ["GeoDataFrame", 4326, 3.0]
