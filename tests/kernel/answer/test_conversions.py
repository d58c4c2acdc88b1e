"""owt.kernel.answer: the answers with values of many types, for curl, for clients of JSON and in events."""

from __future__ import annotations

import argparse
import base64
import collections
import dataclasses
import datetime
import decimal
import email
import enum
import fractions
import io
import ipaddress
import json
import re
import sqlite3
import types
import uuid
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import attrs
import matplotlib.pyplot as plt
import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.display import HTML, JSON, SVG, Audio, Latex, Markdown, Video
from matplotlib.figure import Figure
from PIL import Image

import owt
from owt.kernel.answer import conversions
from owt.kernel.answer.tables import is_table
from owt.kernel.answer.values import Stream, ValueEncoder, Whole
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import FACTS, Chunk, Data, Display, Head

PNG = b"\x89PNG\r\n\x1a\n"
SHELL = SimpleNamespace(display_formatter=DisplayFormatter())
HTML_TEXT = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
IN_JSON = "application/json"
OCTETS = "application/octet-stream"


@dataclasses.dataclass
class Point:
    x: int


@attrs.define
class Attrs:
    x: int


class Struct(msgspec.Struct):
    x: int


class Model(pydantic.BaseModel):
    x: int
    children: list[Model] = []


class WithArray(pydantic.BaseModel, arbitrary_types_allowed=True):
    values: np.ndarray
    points: list[Point] = []


class WithSecret(pydantic.BaseModel):
    password: pydantic.SecretStr


class Pair(NamedTuple):
    a: int
    b: int


class Color(enum.Enum):
    RED = "red"


class OldModel:
    """Model of pydantic 1."""

    __fields__ = ("x",)

    def dict(self) -> Any:
        return {"x": 1}


class Chart:
    """Object of a library that shows it by a MIME bundle: plotly, altair."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {"text/html": "<div>chart</div>", "application/vnd.chart+json": {"mark": "bar"}}

    def to_dict(self) -> Any:
        return {"mark": "bar"}

    def __repr__(self) -> str:
        return "Chart(...)"


class Labelled:
    """Object with labels beside its values, such as xarray's."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("it has something better")

    def _repr_html_(self) -> str:
        return "<table>"

    def __repr__(self) -> str:
        return "<Labelled (x: 1)> 1"

    def to_dict(self) -> Any:
        return {"dims": ["x"], "data": np.array([1])}


class Sparse:
    """Sparse matrix, such as SciPy's."""

    def reshape(self) -> None: ...

    def toarray(self) -> Any:
        return np.eye(2, dtype=int)


class Brain:
    """Tensor of half precision that NumPy does not know."""

    def reshape(self) -> None: ...

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Got unsupported ScalarType BFloat16")

    def float(self) -> Any:
        return np.array([0.5], dtype="f4")

    def tolist(self) -> Any:
        return [0.5]


class Eager:
    """Tensor with nothing but `__array__`."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array([1, 2])


class Column:
    """Column of a table: it offers Arrow, but no columns."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        raise AssertionError("it is no table")

    def to_pylist(self) -> Any:
        return [1, None]


class Geometry:
    @property
    def __geo_interface__(self) -> Any:
        return {"type": "Point", "coordinates": (1.0, 2.0)}


class Scalar:
    def as_py(self) -> Any:
        return decimal.Decimal("1.5")


class Plan:
    """Object whose text says nothing."""

    def _repr_html_(self) -> str:
        return "<i>plan</i>"

    def __repr__(self) -> str:
        return "<Plan at 0x7F84BC2DD450>"


class Grid:
    """Grid of seaborn: it has the figure as a property."""

    def __init__(self) -> None:
        self._figure = drawing()[0]

    @property
    def figure(self) -> Figure:
        return self._figure


def drawing() -> tuple[Figure, Any]:
    figure = Figure(figsize=(1, 1))
    return figure, figure.subplots()


def image(mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (2, 2))


def row() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    result = connection.execute("select 1 as a, 'x' as b").fetchone()
    connection.close()
    return result


def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})


def boxes() -> dict[str, Any]:
    return drawing()[1].boxplot([1, 2, 3])


def colour_bar() -> Any:
    figure, axes = drawing()
    return figure.colorbar(axes.imshow([[1]]))


def axes_in_array() -> Any:
    return Figure(figsize=(1, 1)).subplots(1, 2)


Row = tuple[Callable[[], object], str, str | bytes, str | bytes]

# Value; type and body for `*/*`; body for `application/json`, bytes if it is no JSON either.
ROWS: dict[str, Row] = {
    "int": (lambda: 3, HTML_TEXT, "3", "3"),
    "float": (lambda: 3.5, HTML_TEXT, "3.5", "3.5"),
    "nan": (lambda: float("nan"), HTML_TEXT, "nan", "null"),
    "bool": (lambda: True, HTML_TEXT, "True", "true"),
    "None": (lambda: None, HTML_TEXT, "", "null"),
    "str": (lambda: "ä", HTML_TEXT, "ä", '"ä"'),
    "large int": (lambda: 2**70, HTML_TEXT, str(2**70), str(2**70)),
    "complex": (lambda: 1 + 2j, IN_JSON, '"1+2j"', '"1+2j"'),
    "Fraction": (lambda: fractions.Fraction(1, 3), IN_JSON, '"1/3"', '"1/3"'),
    "Decimal": (lambda: decimal.Decimal("1.10"), IN_JSON, '"1.10"', '"1.10"'),
    "bytes": (lambda: b"abc", OCTETS, b"abc", b"abc"),
    "PNG": (lambda: PNG, "image/png", PNG, PNG),
    "JPEG": (lambda: b"\xff\xd8\xff", "image/jpeg", b"\xff\xd8\xff", b"\xff\xd8\xff"),
    "GIF": (lambda: b"GIF89a", "image/gif", b"GIF89a", b"GIF89a"),
    "WAV": (lambda: b"RIFF....WAVE", "audio/wav", b"RIFF....WAVE", b"RIFF....WAVE"),
    "PDF": (lambda: b"%PDF-1.7", "application/pdf", b"%PDF-1.7", b"%PDF-1.7"),
    "ZIP": (lambda: b"PK\x03\x04", "application/zip", b"PK\x03\x04", b"PK\x03\x04"),
    "MP4": (lambda: b"....ftypmp42", "video/mp4", b"....ftypmp42", b"....ftypmp42"),
    "WebP": (lambda: bytearray(b"RIFF....WEBP"), "image/webp", b"RIFF....WEBP", b"RIFF....WEBP"),
    "view of a GIF": (lambda: memoryview(b"GIF89a"), "image/gif", b"GIF89a", b"GIF89a"),
    "view of numbers": (lambda: np.zeros((1, 1), "i2").data, OCTETS, b"\0\0", b"\0\0"),
    "list": (lambda: [1, "a", None], IN_JSON, '[1,"a",null]', '[1,"a",null]'),
    "dict": (lambda: {"a": (1, 2)}, IN_JSON, '{"a":[1,2]}', '{"a":[1,2]}'),
    "set": (lambda: {1}, IN_JSON, "[1]", "[1]"),
    "range": (lambda: range(2), IN_JSON, "[0,1]", "[0,1]"),
    "deque": (lambda: collections.deque([1]), IN_JSON, "[1]", "[1]"),
    "UserList": (lambda: collections.UserList([1]), IN_JSON, "[1]", "[1]"),
    "UserDict": (lambda: collections.UserDict(a=1), IN_JSON, '{"a":1}', '{"a":1}'),
    "UserString": (lambda: collections.UserString("a"), IN_JSON, '"a"', '"a"'),
    "bytes in a dict": (lambda: {"b": b"abc"}, IN_JSON, '{"b":"YWJj"}', '{"b":"YWJj"}'),
    "complex key": (lambda: {1j: 1}, IN_JSON, '{"1j":1}', '{"1j":1}'),
    "SimpleNamespace": (lambda: types.SimpleNamespace(a=[1]), IN_JSON, '{"a":[1]}', '{"a":[1]}'),
    "argparse": (lambda: argparse.Namespace(a=1), IN_JSON, '{"a":1}', '{"a":1}'),
    "namespaces": (lambda: [types.SimpleNamespace(a=1)], IN_JSON, '[{"a":1}]', '[{"a":1}]'),
    "dataclass": (lambda: Point(1), IN_JSON, '{"x":1}', '{"x":1}'),
    "attrs": (lambda: Attrs(1), IN_JSON, '{"x":1}', '{"x":1}'),
    "attrs in a list": (lambda: [Attrs(1)], IN_JSON, '[{"x":1}]', '[{"x":1}]'),
    "Struct": (lambda: Struct(1), IN_JSON, '{"x":1}', '{"x":1}'),
    "namedtuple": (lambda: Pair(1, 2), IN_JSON, "[1,2]", "[1,2]"),
    "pydantic": (lambda: Model(x=1), IN_JSON, '{"x":1,"children":[]}', '{"x":1,"children":[]}'),
    "pydantic nested": (
        lambda: {"m": [Model(x=1, children=[Model(x=2)])]},
        IN_JSON,
        '{"m":[{"x":1,"children":[{"x":2,"children":[]}]}]}',
        '{"m":[{"x":1,"children":[{"x":2,"children":[]}]}]}',
    ),
    "pydantic 1": (OldModel, IN_JSON, '{"x":1}', '{"x":1}'),
    "dataclass of models": (
        lambda: Point(Model(x=1)),  # type: ignore[arg-type]
        IN_JSON,
        '{"x":{"x":1,"children":[]}}',
        '{"x":{"x":1,"children":[]}}',
    ),
    "IP address": (lambda: ipaddress.ip_address("::1"), IN_JSON, '"::1"', '"::1"'),
    "network": (lambda: [ipaddress.ip_network("10.0.0.0/8")], IN_JSON, '["10.0.0.0/8"]', '["10.0.0.0/8"]'),
    "pattern": (lambda: re.compile("a+"), IN_JSON, '"a+"', '"a+"'),
    "time zone": (lambda: datetime.UTC, IN_JSON, '"UTC"', '"UTC"'),
    "secret": (lambda: [pydantic.SecretStr("x")], IN_JSON, '["**********"]', '["**********"]'),
    "URL": (lambda: pydantic.HttpUrl("http://a/"), IN_JSON, '"http://a/"', '"http://a/"'),
    "row of SQLite": (row, IN_JSON, '{"a":1,"b":"x"}', '{"a":1,"b":"x"}'),
    "date": (lambda: datetime.date(2026, 1, 2), IN_JSON, '"2026-01-02"', '"2026-01-02"'),
    "timedelta": (lambda: datetime.timedelta(1), IN_JSON, '"P1D"', '"P1D"'),
    "UUID": (lambda: uuid.UUID(int=5), IN_JSON, f'"{uuid.UUID(int=5)}"', f'"{uuid.UUID(int=5)}"'),
    "Enum": (lambda: Color.RED, IN_JSON, '"red"', '"red"'),
    "path of no file": (lambda: Path("/no/where"), IN_JSON, '"/no/where"', '"/no/where"'),
    "path in a list": (lambda: [Path(__file__)], IN_JSON, f'["{__file__}"]', f'["{__file__}"]'),
    "geometry": (
        Geometry,
        IN_JSON,
        '{"type":"Point","coordinates":[1.0,2.0]}',
        '{"type":"Point","coordinates":[1.0,2.0]}',
    ),
    "Arrow's scalar": (Scalar, IN_JSON, '"1.5"', '"1.5"'),
    "Arrow's column": (Column, IN_JSON, "[1,null]", "[1,null]"),
    "array": (lambda: np.arange(3), IN_JSON, "[0,1,2]", "[0,1,2]"),
    "array without dimensions": (lambda: np.array(5), IN_JSON, "5", "5"),
    "complex array": (lambda: np.array([1 + 2j, 3]), IN_JSON, '["1+2j","3+0j"]', '["1+2j","3+0j"]'),
    "complex scalar": (lambda: np.complex64(1 + 2j), IN_JSON, '"1+2j"', '"1+2j"'),
    "NaN in an array": (lambda: np.array([[1.5, np.nan]]), IN_JSON, "[[1.5,null]]", "[[1.5,null]]"),
    "masked array": (lambda: np.ma.array([1, 2], mask=[0, 1]), IN_JSON, "[1,null]", "[1,null]"),
    "array of objects": (lambda: np.array(["a", None], dtype=object), IN_JSON, '["a",null]', '["a",null]'),
    "records": (lambda: np.array([(1, 2.0)], "i4,f4"), IN_JSON, '[{"f0":1,"f1":2.0}]', '[{"f0":1,"f1":2.0}]'),
    "record": (lambda: np.array([(1, 2)], "i4,i4")[0], IN_JSON, '{"f0":1,"f1":2}', '{"f0":1,"f1":2}'),
    "nested records": (
        lambda: {"a": np.zeros((1, 1), [("x", "f4", 2)])},
        IN_JSON,
        '{"a":[[{"x":[0.0,0.0]}]]}',
        '{"a":[[{"x":[0.0,0.0]}]]}',
    ),
    "NumPy's type": (lambda: np.dtype("f4"), IN_JSON, '"float32"', '"float32"'),
    "NumPy's float": (lambda: np.float32(1.5), HTML_TEXT, "1.5", "1.5"),
    "NumPy's bool": (lambda: np.bool_(True), HTML_TEXT, "True", "true"),
    "NumPy's date": (lambda: np.datetime64("2026-01-02"), IN_JSON, '"2026-01-02"', '"2026-01-02"'),
    "arrays in a dict": (lambda: {"a": np.arange(2), "n": np.int64(1)}, IN_JSON, '{"a":[0,1],"n":1}', ""),
    "sparse matrix": (Sparse, IN_JSON, "[[1,0],[0,1]]", "[[1,0],[0,1]]"),
    "sparse in a dict": (lambda: {"m": Sparse()}, IN_JSON, '{"m":[[1,0],[0,1]]}', ""),
    "bfloat16": (Brain, IN_JSON, "[0.5]", "[0.5]"),
    "array interface": (Eager, IN_JSON, "[1,2]", "[1,2]"),
    "(number, array)": (lambda: (16000, np.zeros(2)), IN_JSON, "[16000,[0.0,0.0]]", "[16000,[0.0,0.0]]"),
    "DataFrame": (
        frame, PLAIN, "   a  b\n0  1  x\n1  2  y", '[{"a":1,"b":"x"},{"a":2,"b":"y"}]'
    ),
    "DataFrame in a dict": (lambda: {"t": frame()}, IN_JSON, '{"t":[{"a":1,"b":"x"},{"a":2,"b":"y"}]}', ""),
    "Series": (lambda: pd.Series([1, 2]), PLAIN, "0    1\n1    2\ndtype: int64", "[1,2]"),
    "Index": (lambda: pd.Index([1]), IN_JSON, "[1]", "[1]"),
    "Timestamp": (lambda: pd.Timestamp("2026-01-02"), IN_JSON, '"2026-01-02T00:00:00"', ""),
    "Categorical": (lambda: pd.Categorical(["a"]), IN_JSON, '["a"]', '["a"]'),
    "NA": (lambda: [pd.NA, pd.NaT], IN_JSON, "[null,null]", "[null,null]"),
    "NA alone": (lambda: pd.NA, IN_JSON, "null", "null"),
    "Period": (lambda: pd.Period("2026-01"), IN_JSON, '"2026-01"', '"2026-01"'),
    "types of columns": (
        lambda: frame()[["a"]].dtypes, PLAIN, "a    int64\ndtype: object", '{"a":"int64"}'
    ),
    "columns of two levels": (
        lambda: frame().groupby("b").agg({"a": ["min"]}).head(1),
        PLAIN,
        "    a\n  min\nb    \nx   1",
        '[{"b":"x","a.min":1}]',
    ),
    "labelled array": (Labelled, PLAIN, "<Labelled (x: 1)> 1", '{"dims":["x"],"data":[1]}'),
    "labelled in a list": (lambda: [Labelled()], IN_JSON, '[{"dims":["x"],"data":[1]}]', ""),
    "chart": (Chart, HTML_TEXT, "<div>chart</div>", '{"mark":"bar"}'),
    "chart in a list": (lambda: [Chart()], IN_JSON, '[{"mark":"bar"}]', '[{"mark":"bar"}]'),
    "text that says nothing": (Plan, HTML_TEXT, "<i>plan</i>", b"<i>plan</i>"),
    "image": (image, "image/png", PNG, PNG),
    "image with a status": (lambda: (image(), 201), "image/png", PNG, PNG),
    "image of floats": (lambda: image("F"), "image/tiff", b"II*\0", b"II*\0"),
    "image of colours that no file has": (lambda: image("HSV"), "image/tiff", b"II*\0", b"II*\0"),
    "figure": (lambda: drawing()[0], "image/png", PNG, PNG),
    "Axes": (lambda: drawing()[1], "image/png", PNG, PNG),
    "(figure, Axes)": (drawing, "image/png", PNG, PNG),
    "array of Axes": (axes_in_array, "image/png", PNG, PNG),
    "lines": (lambda: drawing()[1].plot([1, 2]), "image/png", PNG, PNG),
    "bars": (lambda: drawing()[1].bar([1], [2]), "image/png", PNG, PNG),
    "histogram": (lambda: drawing()[1].hist([1, 2]), "image/png", PNG, PNG),
    "pie": (lambda: drawing()[1].pie([1]), "image/png", PNG, PNG),
    "colour bar": (colour_bar, "image/png", PNG, PNG),
    "box plot": (boxes, "image/png", PNG, PNG),
    "picture in Axes": (lambda: drawing()[1].imshow([[1]]), "image/png", PNG, PNG),
    "grid": (Grid, "image/png", PNG, PNG),
    "Audio": (lambda: Audio(b"RIFF....WAVE", rate=1), "audio/wav", b"RIFF", b"RIFF"),
    "Video": (lambda: Video(b"....ftypmp42", embed=True), "video/mp4", b"....ftyp", b"....ftyp"),
    "Video of a URL": (lambda: Video("http://a/b.mp4"), HTML_TEXT, b"<video", b"<video"),
    "HTML": (lambda: HTML("<b>"), HTML_TEXT, "<b>", b"<b>"),
    "Markdown": (lambda: Markdown("# a"), "text/markdown; charset=utf-8", "# a", b"# a"),
    "Latex": (lambda: Latex("$x$"), "text/latex; charset=utf-8", "$x$", b"$x$"),
    "JSON": (lambda: JSON({"a": 1}), IN_JSON, '{"a":1}', '{"a":1}'),
    "SVG": (lambda: SVG('<svg xmlns="a"/>'), "image/svg+xml", b"<svg", b"<svg"),
    "HTML in a list": (lambda: [HTML("<b>")], IN_JSON, '["<b>"]', '["<b>"]'),
    "Markdown in a dict": (lambda: {"m": Markdown("# a")}, IN_JSON, '{"m":"# a"}', '{"m":"# a"}'),
}


def encoder(accept: str = "*/*", *, sse: bool = False, **facts: Any) -> ValueEncoder:
    request = RequestFacts("GET", "/", "", facts.get("headers", ()), b"", "localhost:9876")
    return ValueEncoder(Call(request, accept=accept, sse=sse), SHELL)


def answer(value: object, accept: str = "*/*", **facts: Any) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the answer with a value."""
    chunks = chunks_of(value, encoder(accept, **facts))
    head = chunks[0]
    assert isinstance(head, Head)
    return dict(head.headers), b"".join(chunk.body for chunk in chunks if isinstance(chunk, Data))


def chunks_of(value: object, to: ValueEncoder) -> list[Chunk]:
    match to.classify(value):
        case Whole(chunks=chunks):
            return list(chunks)
        case Stream(items=items, close=close):
            chunks = [chunk for item in items for chunk in to.item(item)]
            chunks += to.finish()
            if close is not None:
                close()
            return chunks
    raise AssertionError


def events(value: object, accept: str = "text/event-stream") -> list[Chunk]:
    return chunks_of(value, encoder(accept, sse=True))[1:]


def beginning(body: bytes, expected: str | bytes) -> bytes | str:
    return body[: len(expected)] if isinstance(expected, bytes) else body.decode()


@pytest.mark.parametrize("name", ROWS)
def test_curl_receives_a_value_in_its_natural_type(name: str) -> None:
    make, kind, expected, _ = ROWS[name]
    headers, body = answer(make())
    assert headers["Content-Type"] == kind
    assert beginning(body, expected) == expected


@pytest.mark.parametrize("name", ROWS)
def test_a_client_that_prefers_json_receives_json(name: str) -> None:
    make, kind, text, expected = ROWS[name]
    headers, body = answer(make(), "application/json, */*;q=0.9")
    if isinstance(expected, bytes):
        assert (headers["Content-Type"], body[: len(expected)]) == (kind, expected)
    else:
        assert (headers["Content-Type"], body.decode()) == (IN_JSON, expected or text)


@pytest.mark.parametrize("name", ROWS)
def test_events_have_one_result_and_no_picture_twice(name: str) -> None:
    *before, last = events(ROWS[name][0]())
    assert before == []
    assert isinstance(last, Data)
    assert last.result
    if last.form == "json" and isinstance(bundle := json.loads(last.body), dict):
        assert sum(kind.startswith("image/") for kind in bundle) <= 1


@pytest.mark.parametrize("make", [object, lambda: print, lambda: [object()], lambda: {"a": {"b": print}}])
@pytest.mark.parametrize("accept", ["*/*", "application/json", "multipart/mixed"])
def test_a_value_without_any_representation_is_refused(make: Callable[[], object], accept: str) -> None:
    with pytest.raises(TypeError, match=r"value of type (object|builtin_function_or_method)"):
        answer(make(), accept)


def test_a_value_that_cannot_be_sent_is_the_only_failure() -> None:
    with pytest.raises(TypeError) as caught:
        answer([object()])
    assert caught.value.__context__ is None


def test_numbers_and_none_are_json_in_events_and_a_string_is_itself() -> None:
    values = (1.5, True, None, float("nan"), "1")
    assert [(chunk.body, chunk.form) for value in values for chunk in events(value)] == [  # type: ignore
        *((b"1.5", "json"), (b"true", "json"), (b"null", "json"), (b"null", "json"), (b"1", "text"))
    ]


def test_a_column_of_a_table_is_json_and_text_in_events() -> None:
    [result] = events(frame()["a"])
    assert isinstance(result, Data)
    assert json.loads(result.body)["application/json"] == [1, 2]


def test_a_pydantic_model_with_a_field_that_pydantic_cannot_write_has_its_values() -> None:
    body = answer(WithArray(values=np.arange(2), points=[Point(1)]))[1]
    assert body == b'{"values":[0,1],"points":[{"x":1}]}'


def test_a_secret_of_pydantic_stays_one() -> None:
    assert answer(WithSecret(password=pydantic.SecretStr("hidden")))[1] == b'{"password":"**********"}'


def test_an_array_may_have_a_type_that_the_adaptor_chooses() -> None:
    headers, body = answer((np.arange(2), {"Content-Type": "application/x-npy"}))
    assert (headers["Content-Type"], np.load(io.BytesIO(body)).tolist()) == ("application/x-npy", [0, 1])


# Headers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: np.arange(2), "array"),
        (Sparse, "array"),
        (frame, "table"),
        (image, "image"),
        (lambda: io.BytesIO(b"a"), "file"),
        (lambda: drawing()[0], None),
        (axes_in_array, None),
        (lambda: pd.Series([1]), None),
        (lambda: PNG, None),
        (lambda: [np.arange(2)], None),
        (lambda: io.StringIO("a"), None),
        (lambda: 1, None),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_the_header_owt_value_tells_what_was_returned(
    make: Callable[[], object], kind: str | None, accept: str
) -> None:
    assert answer(make(), accept)[0].get("Owt-Value") == kind


@pytest.mark.parametrize("make", [lambda: 1, lambda: "a", lambda: None, frame, image, lambda: np.arange(1)])
def test_an_answer_that_depends_on_accept_says_so(make: Callable[[], object]) -> None:
    assert answer(make())[0]["Vary"] == answer(make(), "application/json")[0]["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("value", "kind", "body"),
    [
        ('{"a":1}', "application/json", b'{"a":1}'),
        (True, "application/json; charset=utf-8", b"true"),
        (1, "text/csv", b"1"),
        ("a", "text/csv", b"a"),
    ],
)
def test_a_content_type_of_the_adaptor_says_what_its_text_is(value: object, kind: str, body: bytes) -> None:
    headers, sent = answer((value, {"Content-Type": kind}), "application/json")
    assert (headers, sent) == ({"Content-Type": kind}, body)


# Arrays, tables and sounds ------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: np.arange(3.0), Sparse, Brain, lambda: np.array(1j)])
def test_a_client_that_names_npy_receives_an_array_in_it(make: Callable[[], Any]) -> None:
    headers, body = answer(make(), "application/x-npy, application/json")
    assert (headers["Content-Type"], headers["Owt-Value"]) == ("application/x-npy", "array")
    array = np.load(io.BytesIO(body), allow_pickle=False)
    assert json.loads(answer(array)[1]) == json.loads(answer(make())[1])


def test_an_array_of_objects_is_never_pickled() -> None:
    headers, body = answer(np.array(["a", None], dtype=object), "application/x-npy")
    assert (headers["Content-Type"], body) == (IN_JSON, b'["a",null]')


def test_a_table_is_csv_if_the_client_asks_for_it() -> None:
    assert answer(frame(), "text/csv")[1] == b",a,b\n0,1,x\n1,2,y\n"


def test_two_columns_of_one_name_are_an_error() -> None:
    table = pd.DataFrame([[1, 2]], columns=["a", "a"])
    for value in (table, [table]):
        with pytest.raises(ValueError, match="more than one column 'a'"):
            answer(value, "application/json")


class Interchange:
    def __dataframe__(self) -> Any: ...


class ArrowTable:
    column_names = ()

    def __arrow_c_stream__(self) -> Any: ...

    def to_pylist(self) -> Any: ...


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Interchange, True),
        (ArrowTable, True),
        (pd.DataFrame, True),
        (Column, False),
        (Labelled, False),
        (pd.Series, False),
        (np.ndarray, False),
        (dict, False),
    ],
)
def test_a_table_is_known_by_its_protocol(kind: type, expected: bool) -> None:
    assert is_table(kind) is expected


@pytest.mark.parametrize(
    ("samples", "channels", "width", "frames"),
    [
        (np.array([0.0, 1.0, -2.0, np.nan]), 1, 2, [0, 32767, -32767, 0]),
        (np.array([1, -1], dtype="i2"), 1, 2, [1, -1]),
        (np.array([3, -7]), 1, 2, [3, -7]),
        (np.array([1 << 16, -1]), 1, 4, [0, 1, -1, -1]),
        (np.array([], dtype="i8"), 1, 2, []),
        (np.array([[1, 2], [3, 4]], dtype="i2"), 2, 2, [1, 2, 3, 4]),
        (np.arange(18, dtype="i2").reshape(2, 9), 2, 2, [*np.arange(18).reshape(2, 9).T.flat]),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_rate_and_samples_are_a_sound_for_a_client_that_asks_for_one(
    samples: Any, channels: int, width: int, frames: list[int], swapped: bool
) -> None:
    value = (samples, 8000) if swapped else (8000, samples)
    headers, body = answer(value, "audio/*, application/json;q=0.5")
    assert headers == {"Content-Type": "audio/wav", "Vary": "Accept"}
    with wave.open(io.BytesIO(body)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, channels, width)
        assert np.frombuffer(file.readframes(99), "<i2").tolist() == frames


@pytest.mark.parametrize(
    "value",
    [
        *((1, 2, 3), (True, np.zeros(2)), (8000, np.array(["a"])), (5, np.zeros(2)), (8000, [1, 2])),
        *((8000, np.array([1 << 31])), (8000, np.array([1], "u2")), (8000, np.zeros((2, 2, 2)))),
    ],
)
def test_other_tuples_are_no_sound(value: tuple[Any, ...]) -> None:
    assert answer(value, "audio/wav")[0]["Content-Type"] == IN_JSON


# Pictures and sounds in documents -----------------------------------------------------------------


def test_pictures_in_a_document_are_data_urls() -> None:
    headers, body = answer({"n": 1, "images": [image(), drawing()[0]], "a": Audio(b"RIFF....WAVE", rate=1)})
    document = json.loads(body)
    assert headers == {"Content-Type": IN_JSON, "Vary": "Accept"}
    assert document["n"] == 1
    for url in document["images"]:
        assert base64.b64decode(url.removeprefix("data:image/png;base64,")).startswith(PNG)
    assert document["a"].startswith("data:audio/wav;base64,UklGRi4uLi5XQVZF")


def test_pictures_in_a_document_have_the_type_that_the_client_prefers() -> None:
    (url,) = json.loads(answer([image()], "application/json, image/jpeg")[1])
    assert url.startswith("data:image/jpeg;base64,")


def test_pictures_in_a_document_are_parts_for_a_client_that_accepts_multipart() -> None:
    headers, body = answer([{"image": image()}, image()], "multipart/mixed, application/json;q=0.5")
    message = email.message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    assert headers["Vary"] == "Accept"
    document, *parts = message.get_payload()  # type: ignore[misc]
    assert document.get_content_type() == IN_JSON  # type: ignore[union-attr]
    ids = [part["Content-ID"].strip("<>") for part in parts]  # type: ignore[union-attr, index]
    assert json.loads(document.get_payload()) == [{"image": f"cid:{ids[0]}"}, f"cid:{ids[1]}"]  # type: ignore
    for part in parts:
        assert part.get_content_type() == "image/png"  # type: ignore[union-attr]
        assert part.get_payload(decode=True).startswith(PNG)  # type: ignore[union-attr]


def test_a_document_without_pictures_has_no_parts() -> None:
    assert answer({"a": 1}, "multipart/mixed")[0]["Content-Type"] == IN_JSON


def test_pictures_in_a_document_are_displays_in_events() -> None:
    first, second, result = events({"a": image(), "b": [SVG('<svg xmlns="a"/>')]})
    assert isinstance(first, Display)
    assert isinstance(second, Display)
    assert base64.b64decode(first.bundle["image/png"]).startswith(PNG)
    assert second.bundle["image/svg+xml"].startswith("<svg")
    ids = [display.bundle[FACTS]["display_id"] for display in (first, second)]
    assert isinstance(result, Data)
    assert json.loads(result.body) == {"a": f"cid:{ids[0]}", "b": [f"cid:{ids[1]}"]}


def test_a_yielded_document_has_its_pictures_before_it_in_events() -> None:
    kinds = [type(chunk) for chunk in chunks_of(iter([[image()], [image()]]), encoder(sse=True))]
    assert kinds == [Head, Display, Data, Display, Data]


def test_a_yielded_document_with_pictures_is_a_line() -> None:
    headers, body = answer(iter([[image()], {"a": 1}]))
    assert headers["Content-Type"] == "application/x-ndjson"
    assert body.startswith(b'["data:image/png;base64,')


def test_several_figures_are_several_pictures() -> None:
    assert len(json.loads(answer([drawing()[0], drawing()[0]])[1])) == 2
    assert len(json.loads(answer([drawing()[0]])[1])) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: (drawing()[1], 0.9),
        lambda: {"plot": drawing()[1], "n": 1},
        lambda: [*drawing()[1].plot([1]), "text"],
    ],
)
def test_values_beside_a_drawing_are_not_lost(make: Callable[[], object]) -> None:
    headers, body = answer(make())
    assert headers["Content-Type"] == IN_JSON
    assert b"data:image/png;base64," in body
    assert any(text in body for text in (b"0.9", b'"n":1', b'"text"'))


def test_an_empty_figure_is_a_png_even_if_the_shell_draws_none(monkeypatch: pytest.MonkeyPatch) -> None:
    formatter = DisplayFormatter()
    formatter.formatters["image/png"].for_type(Figure, lambda figure: None)
    monkeypatch.setattr(SHELL, "display_formatter", formatter)
    assert answer(Figure(figsize=(1, 1)))[0]["Content-Type"] == "image/png"


def test_figures_of_pyplot_stay_open() -> None:
    lines = plt.figure(figsize=(1, 1)).subplots().plot([1])
    try:
        answer(lines)
        assert plt.get_fignums()
    finally:
        plt.close("all")


# Files --------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "täble.csv"
    path.write_bytes(b"0123456789")
    return path


def test_a_path_of_a_file_is_the_file(path: Path) -> None:
    headers, body = answer(path)
    assert body == b"0123456789"
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Disposition"] == "inline; filename=table.csv; filename*=UTF-8''t%C3%A4ble.csv"
    assert (headers["Content-Length"], headers["Owt-Value"], headers["Vary"]) == ("10", "file", "Accept")
    assert headers["ETag"]
    assert headers["Last-Modified"]


@pytest.mark.parametrize(
    ("accept", "kind", "body"),
    [
        ("application/json", IN_JSON, '"{}"'),
        ("application/json, */*;q=0.9", IN_JSON, '"{}"'),
        ("text/plain", HTML_TEXT, "{}"),
        ("text/*, */*;q=0.1", HTML_TEXT, "{}"),
    ],
)
def test_a_path_is_its_name_for_clients_of_text_and_json(
    path: Path, accept: str, kind: str, body: str
) -> None:
    headers, sent = answer(path, accept)
    assert (headers["Content-Type"], sent.decode()) == (kind, body.format(path))
    assert "Owt-Value" not in headers


def test_a_path_is_its_name_in_events(path: Path) -> None:
    assert events(path) == [Data(f'"{path}"'.encode(), "json", result=True)]


@pytest.mark.parametrize(
    ("header", "value", "status", "sent"),
    [
        ("Range", "bytes=2-4", 206, b"234"),
        ("Range", "bytes=50-", 416, None),
        ("If-None-Match", None, 304, b""),
        ("If-None-Match", '"other"', 200, b"0123456789"),
    ],
)
def test_a_path_answers_ranges_and_conditions(
    path: Path, header: str, value: str | None, status: int, sent: bytes | None
) -> None:
    value = value or answer(path)[0]["ETag"]
    head, *data = chunks_of(path, encoder(headers=((header, value),)))
    assert isinstance(head, Head)
    assert head.status == status
    if sent is not None:
        assert b"".join(chunk.body for chunk in data if isinstance(chunk, Data)) == sent


def test_a_path_in_an_environment_without_werkzeug_is_the_whole_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: object) -> None:
        raise ModuleNotFoundError("No module named 'werkzeug'")

    monkeypatch.setattr("owt.kernel.answer.files.response", missing)
    headers, body = answer(path)
    assert (headers["Content-Type"], headers["Owt-Value"], body) == ("text/csv", "file", b"0123456789")


def test_an_open_file_has_the_type_of_its_name(path: Path) -> None:
    assert answer(path.open("rb"))[0]["Content-Type"] == "text/csv"
    assert answer((path.open("rb"), {"Content-Type": "a/b"}))[0]["Content-Type"] == "a/b"
    assert answer(io.BytesIO(PNG))[0]["Content-Type"] == "image/png"


# owt.register -------------------------------------------------------------------------------------


class Molecule:
    def __init__(self, smiles: str) -> None:
        self.smiles = smiles


class Acid(Molecule):
    pass


@pytest.fixture
def register() -> Iterator[Any]:
    yield owt.register
    conversions.functions.clear()


def test_a_registered_type_is_answered_by_its_function(register: Any) -> None:
    register(Molecule, lambda molecule: {"smiles": molecule.smiles})
    document = b'{"smiles":"C"}'
    assert answer(Molecule("C")) == ({"Content-Type": IN_JSON}, document)
    assert answer(Acid("C"))[1] == document
    assert answer((Molecule("C"), 201))[1] == document
    assert answer(iter([Molecule("C")]))[1] == document
    assert events(Molecule("C")) == [Data(document, "json", result=True)]
    nested = [{"a": (Molecule("C"),)}, {Molecule("O"): 1}.keys(), Point(Molecule("N"))]  # type: ignore[arg-type]
    assert json.loads(answer(nested)[1]) == [
        *({"a": [{"smiles": "C"}]}, [{"smiles": "O"}], {"x": {"smiles": "N"}})
    ]


def test_a_registered_function_may_return_whatever_an_adaptor_may(register: Any) -> None:
    register(Molecule, lambda molecule: (image(), {"X-Smiles": molecule.smiles}))
    assert answer(Molecule("C"))[0] == {
        "Content-Type": "image/png", "X-Smiles": "C", "Vary": "Accept", "Owt-Value": "image"
    }
    register(Molecule, lambda molecule: iter(molecule.smiles))
    assert answer(Molecule("CO"))[1] == b"CO"
    register(Molecule, lambda molecule: image())
    assert json.loads(answer([Molecule("C")])[1])[0].startswith("data:image/png")


def test_the_function_of_the_nearest_type_counts(register: Any) -> None:
    register(Molecule, lambda molecule: "molecule")
    register(Acid, lambda acid: "acid")
    assert [answer(value)[1] for value in (Molecule(""), Acid(""))] == [b"molecule", b"acid"]


def test_a_function_may_return_a_value_of_its_type(register: Any) -> None:
    register(Acid, lambda acid: Molecule(acid.smiles))
    register(Molecule, lambda molecule: molecule.smiles)
    register(list, lambda items: [0, *items])
    register(pd.DataFrame, lambda table: table.head(1))
    assert answer(Acid("C"))[1] == b"C"
    assert answer([1])[1] == b"[0,1]"
    assert json.loads(answer(frame(), IN_JSON)[1]) == [{"a": 1, "b": "x"}]


def test_values_beside_registered_ones_are_as_before(register: Any) -> None:
    register(Molecule, str)
    point, items = Point(1), [1, (2,), {"a": {3}}]
    assert conversions.converted(point) is point
    assert conversions.converted(items) is items


@pytest.mark.parametrize(("kind", "function"), [("Molecule", str), (Molecule, "str"), (Molecule("C"), str)])
def test_register_refuses_what_is_no_class_or_function(kind: Any, function: Any) -> None:
    with pytest.raises(TypeError, match="takes a class and a function"):
        owt.register(kind, function)
