"""owt.client.values: arrays, tables and images of responses."""

from __future__ import annotations

import io
import sys
import types
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from owt.client import values
from owt.client.parts import ARROW
from owt.client.values import accept_of, value_of
from owt.errors import UnexpectedValue
from owt.wire.media import NPY

JSON = "application/json"


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 3)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def installed(monkeypatch):
    """Set of the packages that count as installed."""
    packages = {"numpy", "pandas", "PIL"}
    values._accept.cache_clear()
    monkeypatch.setattr(values, "_is_installed", packages.__contains__)
    yield packages
    values._accept.cache_clear()


@pytest.mark.parametrize(
    ("packages", "accept"),
    [
        ((), "application/json, */*;q=0.9"),
        (("pandas",), "application/json, */*;q=0.9"),
        (("numpy",), f"{NPY}, application/json;q=0.9, */*;q=0.8"),
        (("numpy", "polars"), f"{NPY}, {ARROW}, application/json;q=0.9, */*;q=0.8"),
        (("pyarrow",), f"{ARROW}, application/json;q=0.9, */*;q=0.8"),
    ],
)
def test_the_accept_header_names_what_can_be_read_here(installed, packages, accept):
    installed.clear()
    installed.update(packages)
    assert accept_of(None) == accept_of(np.ndarray) == accept
    assert accept_of(list) == accept_of(Image.Image) == "application/json, */*;q=0.9"


def test_an_array_is_a_writable_array_again():
    array = value_of("array", NPY, npy(np.eye(2)), None)
    array[0] = 2
    assert array.tolist() == [[2, 2], [0, 1]]


def test_an_image_is_an_image_and_an_adaptors_bytes_stay_bytes():
    image = value_of("image", "image/png", png(), None)
    assert isinstance(image, Image.Image)
    assert image.size == (2, 3)
    assert value_of(None, "image/png", png(), None) == png()
    assert value_of("image", "image/svg+xml", b"<svg/>", bytes) == b"<svg/>"


def test_a_file_is_bytes_whatever_its_type():
    assert value_of("file", "text/plain", b"[1]", None) == b"[1]"
    assert value_of("file", JSON, b"[1]", None) == b"[1]"


def test_a_table_of_records_is_a_data_frame():
    table = value_of("table", JSON, b'[{"a":1,"b":"x"}]', None)
    pd.testing.assert_frame_equal(table, pd.DataFrame({"a": [1], "b": ["x"]}))
    assert value_of(None, JSON, b'[{"a":1}]', None) == [{"a": 1}]
    assert value_of("table", "text/csv", b"a\r\n1\r\n", None) == "a\r\n1\r\n"


@pytest.mark.parametrize("package", ["numpy", "PIL", "pandas"])
def test_without_their_libraries_values_are_bytes_and_records(installed, package):
    installed.remove(package)
    kind, content_type, body, value = {
        "numpy": ("array", NPY, npy([1]), npy([1])),
        "PIL": ("image", "image/png", png(), png()),
        "pandas": ("table", JSON, b'[{"a":1}]', [{"a": 1}]),
    }[package]
    assert value_of(kind, content_type, body, None) == value


def test_the_library_that_reads_arrow_makes_the_table(installed, monkeypatch):
    class Table:
        def to_pandas(self) -> str:
            return "pandas"

    reader = types.SimpleNamespace(read_all=Table)
    frame = types.SimpleNamespace(read_ipc_stream=lambda file: f"polars {file.read().decode()}")
    monkeypatch.setitem(sys.modules, "pyarrow.ipc", types.SimpleNamespace(open_stream=lambda body: reader))
    monkeypatch.setitem(sys.modules, "pyarrow", types.SimpleNamespace(Table=Table))
    monkeypatch.setitem(sys.modules, "polars", frame)
    installed |= {"polars", "pyarrow"}
    assert value_of("table", ARROW, b"x", None) == "pandas"
    installed.remove("pandas")
    assert value_of("table", ARROW, b"x", None) == "polars x"
    installed.remove("polars")
    assert isinstance(value_of("table", ARROW, b"x", None), Table)


@pytest.mark.parametrize(
    ("content_type", "body", "returns", "value"),
    [
        (NPY, npy([1, 2]), np.ndarray, np.array([1, 2])),
        (JSON, b"[[1.5], [2]]", np.ndarray, np.array([[1.5], [2]])),
        (NPY, npy(np.float32(2)), npt.NDArray[np.float32], np.float32(2)),
        (NPY, npy([1]), npt.NDArray[np.integer[Any]], np.array([1])),
        (NPY, npy([1]), npt.NDArray[Any], np.array([1])),
    ],
)
def test_a_call_returns_an_array_of_the_type_that_its_caller_gives(content_type, body, returns, value):
    result = value_of(None, content_type, body, returns)
    assert (result.dtype, result.tolist()) == (value.dtype, value.tolist())


def test_a_call_returns_a_frame_an_image_or_bytes_by_the_type_that_its_caller_gives():
    assert value_of(None, JSON, b'[{"a":1}]', pd.DataFrame).to_dict("list") == {"a": [1]}
    assert value_of(None, "image/png; x=y", png(), Image.Image).size == (2, 3)
    assert value_of("array", NPY, b"any", bytes) == b"any"
    assert value_of(None, "text/plain", b"42", bytes) == b"42"
    assert value_of("table", JSON, b'[{"a":1}]', list[dict[str, int]]) == [{"a": 1}]


@pytest.mark.parametrize(
    ("content_type", "body", "returns", "words"),
    [
        (JSON, b'"text"', np.ndarray, "no ndarray: expected lists of numbers; got 'text'"),
        (JSON, b"[[1], [1, 2]]", np.ndarray, "no ndarray: .*inhomogeneous"),
        (JSON, b'[{"a":1}]', np.ndarray, "no ndarray: expected lists of numbers"),
        (NPY, npy([1]), npt.NDArray[np.float64], "an array of int64; expected float64"),
        (NPY, b"broken", np.ndarray, "the value is no ndarray: "),
        (JSON, b"{}", pd.DataFrame, r"no DataFrame: expected a list of records; got \{\}"),
        ("text/plain", b"x", pd.DataFrame, "no DataFrame: its type is text/plain; got 'x'"),
        ("image/png", b"\x89PNG", Image.Image, "the value is no Image: "),
        ("", b"", Image.Image, "the value is no Image: its type is unknown; got None"),
    ],
)
def test_a_value_that_is_not_of_the_type_is_unexpected(content_type, body, returns, words):
    with pytest.raises(UnexpectedValue, match=words):
        value_of(None, content_type, body, returns)


@pytest.mark.parametrize(("kind", "media_type"), [("array", NPY), ("image", "image/png")])
def test_a_body_that_does_not_match_its_type_stays_bytes(kind, media_type):
    assert value_of(kind, media_type, b"broken", None) == b"broken"


def test_an_array_with_python_objects_is_never_unpickled():
    with pytest.raises(UnexpectedValue, match="allow_pickle"):
        value_of("array", NPY, npy(np.array([{}])), np.ndarray)
