"""The table of conversions: values of adaptors, and what each client receives for them.

Each row is an expression, and a cell for each client. Tests send every expression to a server by all clients, and
compare what comes with the cells (tests/conversion_clients.py); docs/generate.py writes the table into
reference/conversions.md. The functions `scalar`, `document`, `array`, ... make the rows of values whose cells follow
from one of them. Cells are written as the page shows them.

    curl      `Accept: */*`: media type and body
    json      `Accept: application/json`
    events    `Accept: text/event-stream`, without `done`
    python    `owt.Client.call`
    js        `Client.call` of owt.js
    notebook  the variable `_owt` after `%%owt`
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

CLIENTS = ("curl", "json", "events", "python", "js", "notebook")
MAX_LENGTH = 56
"""Maximum number of characters of a value in a cell."""
LONG = 2000
"""Length from which on a value is a program or a whole chart, of which a cell has the beginning."""

LABELS = {
    "application/json": "JSON",
    "application/x-ndjson": "lines of JSON",
    "application/x-npy": "npy",
    "application/octet-stream": "bytes",
    "application/pdf": "PDF",
    "application/javascript": "JavaScript",
    "audio/wav": "WAV",
    "image/gif": "GIF",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/svg+xml": "SVG",
    "image/tiff": "TIFF",
    "text/csv": "CSV",
    "text/html": "HTML",
    "text/latex": "LaTeX",
    "text/markdown": "Markdown",
    "text/plain": "text",
    "video/mp4": "MP4",
}
"""Names of media types in cells. Any other type is its own name."""


@dataclass(frozen=True)
class Row:
    """Expression, and what the clients receive for its value. """

    value: str
    curl: str
    json: str
    events: str
    python: str
    js: str
    notebook: str


@dataclass(frozen=True)
class Group:
    """Rows on one subject. The `setup` runs before them in their session; `libraries` are what it needs beyond the
    environment of `make test`."""

    title: str
    setup: str
    rows: list[Row]
    text: str = ""
    libraries: tuple[str, ...] = ()


def code(text: str) -> str:
    """Return a text as a cell shows it: in one line, shortened."""
    line = text.replace("\r\n", "␍␊").replace("\n", "⏎")
    length = MAX_LENGTH if len(line) < LONG else 10
    return f"`{line if len(line) <= length else f'{line[:length]}…'}`" if line else "empty"


def label(media_type: str) -> str:
    """Return the name of a media type in a cell."""
    return LABELS.get(media_type, media_type)


def js_text(value: Any) -> str:
    """Return a JSON value as `JSON.stringify` writes it."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{js_text(name)}:{js_text(item)}' for name, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(js_text, value))}]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def document(value: str, text: str, **cells: Any) -> Row:
    """Return the row of a value that is JSON for every client."""
    python = repr(json.loads(text))
    return Row(
        **{
            "value": value,
                        "curl": f"JSON {code(text)}",
            "json": f"JSON {code(text)}",
            "events": f"result JSON {code(text)}",
            "python": code(python),
            "js": code(js_text(json.loads(text))),
            "notebook": code(python),
        }
        | cells
    )


def scalar(value: str, text: str, shown: str | None = None, **cells: Any) -> Row:
    """Return the row of a number or a bool: its text for curl."""
    return document(value, text, **{"curl": f"HTML {code(text if shown is None else shown)}"} | cells)


def text(value: str, content: str, **cells: Any) -> Row:
    """Return the row of a string."""
    document_text = json.dumps(content, ensure_ascii=False)
    events = f"result {code(content)}"
    return document(value, document_text, **{"curl": f"HTML {code(content)}", "events": events} | cells)


def array(value: str, text: str, python: str, js: str, **cells: Any) -> Row:
    """Return the row of an array."""
    return document(value, text, **{"python": code(python), "js": js} | cells)


def shown(value: str, media_type: str, content: str = "", **cells: Any) -> Row:
    """Return the row of a value that has one representation beside its plain text."""
    kind = label(media_type)
    is_text = bool(content)
    whole = f"{kind} {code(content)}" if is_text else kind
    bundle = ", ".join(sorted({kind, "text"}))
    return Row(
        **{
            "value": value,
            "curl": whole,
            "json": whole,
            "events": f"result {bundle}",
            "python": code(repr(content)) if is_text else f"bytes {kind}",
            "js": code(json.dumps(content, ensure_ascii=False)) if is_text else f"Blob {kind}",
            "notebook": f"bundle {bundle}",
        }
        | cells
    )


def raw(value: str, content: bytes, base64: str, media_type: str = "application/octet-stream", **cells: Any) -> Row:
    """Return the row of bytes."""
    kind = label(media_type)
    python = code(repr(content)) if kind == "bytes" else f"bytes {kind}"
    return shown(
        value,
        media_type,
        **{"events": f"result base64 {code(base64)}", "python": python, "notebook": python} | cells,
    )


def table(value: str, records: str, shown_text: str, **cells: Any) -> Row:
    """Return the row of a table."""
    return document(
        value,
        records,
        **{
            "curl": f"text {code(shown_text)}",
            "events": "result HTML, text",
            "python": f"DataFrame {code(repr(json.loads(records)))}",
            "notebook": "bundle HTML, text",
        }
        | cells,
    )


def plain(value: str, content: str, **cells: Any) -> Row:
    """Return the row of a cell's last value that is answered as a notebook shows it."""
    shown_text = f"text {code(content)}"
    return text(value, content, **{"curl": shown_text, "json": shown_text} | cells)


def with_media(value: str, text: str, kinds: str, reference: str) -> Row:
    """Return the row of a document with pictures or sounds, of which the events have `reference`."""
    displays = "".join(f"display {kind}, " for kind in kinds.split())
    return document(value, text, events=f"{displays}result JSON {code(reference)}")


def picture(value: str, media_type: str, mode: str, **cells: Any) -> Row:
    """Return the row of an image of Pillow."""
    return shown(value, media_type, **{"python": f"Image {mode}"} | cells)


def display(value: str, media_type: str, content: str = "", kinds: str = "", **cells: Any) -> Row:
    """Return the row of a call without a value that displays something."""
    bundle = kinds or ", ".join(sorted({label(media_type), "text"}))
    events = f"display {bundle}, result JSON `null`"
    return shown(value, media_type, content, **{"events": events, "notebook": f"shows {bundle}"} | cells)


def refused(value: str, message: str) -> Row:
    """Return the row of a value that cannot be answered."""
    cell = f"500 {code(message)}"
    return Row(value, cell, cell, f"error {code(message)}", *[f"error {code(message)}"] * 3)


def stream(value: str, curl: str, events: str, python: str, js: str, **cells: Any) -> Row:
    """Return the row of an iterator."""
    return Row(
        **{"value": value, "curl": curl, "json": curl, "events": events, "python": code(python), "js": js if js.startswith("Blob") else code(js),
           "notebook": code(python)} | cells
    )


def series(value: str, document_text: str, shown_text: str) -> Row:
    """Return the row of a Series of pandas."""
    return document(
        value,
        document_text,
        curl=f"text {code(shown_text)}",
        events="result JSON, text",
        notebook="bundle JSON, text",
    )


TWO_COLUMNS = code("ValueError: the table has more than one column 'a'; rename them for JSON records")
VIDEO = """<video src="http://a/b.mp4" controls  >
      Your browser does not"""
ALTAIR = """`{"config":{"view":{"continuousWidth":300,"continuousHeig…`"""
FRAME = """
        <iframe
            width="9"
            height="9"
"""

GROUPS: list[Group] = [
    Group(
        "Scalars",
        "import datetime, decimal, enum, fractions, ipaddress, re, uuid\n"
        "class Color(enum.Enum): RED = 'red'\n"
        "class Level(enum.IntEnum): LOW = 1\n"
        "class Mode(str, enum.Enum): FAST = 'fast'\n"
        "class Access(enum.Flag): READ, WRITE = 1, 2\n",
        [
            document("None", "null", curl="HTML empty"),
            scalar("True", "true", "True"),
            scalar("42", "42"),
            scalar("2**70", "1180591620717411303424", js=code("1.1805916207174113e+21")),
            scalar("-0.5", "-0.5"),
            scalar("1e300", "1e300", "1e+300", js=code("1e+300")),
            scalar('float("nan")', "null", "nan"),
            scalar('float("inf")', "null", "inf"),
            document("1 + 2j", '"1+2j"'),
            document("fractions.Fraction(1, 3)", '"1/3"'),
            document('decimal.Decimal("1.10")', '"1.10"'),
            document("Color.RED", '"red"'),
            document("Level.LOW", "1"),
            text("Mode.FAST", "fast"),
            document("Access.READ | Access.WRITE", "3"),
            document("uuid.UUID(int=5)", '"00000000-0000-0000-0000-000000000005"'),
            document('ipaddress.ip_address("127.0.0.1")', '"127.0.0.1"'),
            document('ipaddress.ip_network("10.0.0.0/8")', '"10.0.0.0/8"'),
            document('re.compile("a+")', '"a+"'),
        ],
        "`Color` is an `Enum`, `Level` an `IntEnum`, `Mode` a `str` and `Enum`, `Access` a `Flag`. Python's whole numbers have no limit; those of JavaScript are exact up to 2⁵³. JSON has neither NaN nor infinity.",
    ),
    Group(
        "Text and bytes",
        "import collections\n",
        [
            text('"owt"', "owt"),
            text('"ä 🦉"', "ä 🦉"),
            text('""', "", events="result empty"),
            text(r'"two\nlines"', "two\nlines"),
            text('"null"', "null"),
            refused(r'"\ud800"', "ValueError: a str has the lone surrogate '\\ud800' at 0, which no answer can hold"),
            document('collections.UserString("owt")', '"owt"'),
            raw('b"owt"', b"owt", "b3d0", curl="bytes `owt`", json="bytes `owt`"),
            raw('b""', b"", ""),
            raw(r'bytearray(b"\x00\xff")', b"\x00\xff", "AP8="),
            raw('memoryview(b"owt")', b"owt", "b3d0", curl="bytes `owt`", json="bytes `owt`"),
            raw(r'b"\x89PNG\r\n\x1a\n"', b"", "iVBORw0KGgo=", "image/png"),
            raw('b"GIF89a"', b"", "R0lGODlh", "image/gif"),
            raw('b"%PDF-1.7"', b"", "JVBERi0xLjc=", "application/pdf"),
            raw('b"RIFF....WAVE"', b"", "UklGRi4uLi5XQVZF", "audio/wav"),
        ],
        "Bytes have the type that the first of them show.",
    ),
    Group(
        "Dates and times",
        "import datetime, zoneinfo\nfrom datetime import date, time, timedelta, timezone\n",
        [
            document("date(2026, 1, 2)", '"2026-01-02"'),
            document("datetime.datetime(2026, 1, 2, 3, 4, 5)", '"2026-01-02T03:04:05"'),
            document("datetime.datetime(2026, 1, 2, tzinfo=timezone.utc)", '"2026-01-02T00:00:00Z"'),
            document("time(3, 4)", '"03:04:00"'),
            document("timedelta(days=1, seconds=2)", '"P1DT2S"'),
            document("timezone.utc", '"UTC"'),
            document('zoneinfo.ZoneInfo("Europe/London")', '"Europe/London"'),
        ],
        "ISO 8601.",
    ),
    Group(
        "Containers",
        "import array, collections, types\nPair = collections.namedtuple('Pair', 'a b')\n",
        [
            document('[1, "a", None]', '[1,"a",null]'),
            document("[]", "[]"),
            document("(1, 2)", "[1,2]"),
            document("()", "[]"),
            document("{1}", "[1]"),
            document("frozenset({1})", "[1]"),
            document('{"a": 1, "b": [2]}', '{"a":1,"b":[2]}'),
            document("{}", "{}"),
            document('{1: "a", None: "b"}', '{"1":"a","null":"b"}'),
            document('{b"a": 1, 1j: 2}', '{"YQ==":1,"1j":2}'),
            document('{"a": 1}.keys()', '["a"]'),
            document('{"a": 1}.values()', "[1]"),
            document('{"a": 1}.items()', '[["a",1]]'),
            document("range(3)", "[0,1,2]"),
            document("Pair(1, 2)", "[1,2]"),
            document("collections.deque([1, 2])", "[1,2]"),
            document('collections.Counter("aab")', '{"a":2,"b":1}'),
            document("collections.OrderedDict(a=1)", '{"a":1}'),
            document("collections.defaultdict(list, a=[1])", '{"a":[1]}'),
            document('collections.ChainMap({"a": 1}, {"a": 2})', '{"a":1}'),
            document("collections.UserDict(a=1)", '{"a":1}'),
            document("collections.UserList([1])", "[1]"),
            document('types.MappingProxyType({"a": 1})', '{"a":1}'),
            document("types.SimpleNamespace(a=[1])", '{"a":[1]}'),
            document('array.array("d", [0.5])', "[0.5]"),
            document('[b"owt", float("nan"), 1j, (1,)]', '["b3d0",null,"1j",[1]]'),
        ],
        "Keys are text in JSON. A named tuple is a list, as for `json.dumps`.",
    ),
    Group(
        "Records",
        "import argparse, dataclasses, sqlite3, typing\nimport attrs, msgspec, pydantic\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int\n    y: int = 2\n"
        "@attrs.define\nclass Size:\n    width: int\n"
        "class Word(msgspec.Struct):\n    text: str\n"
        "class Item(pydantic.BaseModel):\n    name: str\n    tags: list[str] = []\n"
        "class Old:\n    def to_dict(self): return {'a': 1}\n"
        "class Place:\n    __geo_interface__ = {'type': 'Point', 'coordinates': (1.5, 2.5)}\n"
        "def row():\n    connection = sqlite3.connect(':memory:')\n    connection.row_factory = sqlite3.Row\n"
        "    return connection.execute('select 1 as a, null as b').fetchone()\n",
        [
            document("Point(1)", '{"x":1,"y":2}'),
            document("[Point(1)]", '[{"x":1,"y":2}]'),
            document("Size(1)", '{"width":1}'),
            document('Word("owt")', '{"text":"owt"}'),
            document('Item(name="a")', '{"name":"a","tags":[]}'),
            document('{"items": [Item(name="a")]}', '{"items":[{"name":"a","tags":[]}]}'),
            text('Item(name="a").model_dump_json()', '{"name":"a","tags":[]}'),
            document('pydantic.SecretStr("owt")', '"**********"'),
            document('pydantic.HttpUrl("http://owt.org/")', '"http://owt.org/"'),
            document("Old()", '{"a":1}'),
            document("Place()", '{"type":"Point","coordinates":[1.5,2.5]}'),
            document("argparse.Namespace(a=1)", '{"a":1}'),
            document("row()", '{"a":1,"b":null}'),
        ],
        "Dataclass `Point(x, y=2)`, `Size` of attrs, `Word` of msgspec, `Item` of pydantic, a class with `to_dict`, one "
        "with `__geo_interface__`, a row of SQLite.",
    ),
    Group(
        "NumPy",
        "import numpy as np\n",
        [
            scalar("np.int64(3)", "3"),
            scalar("np.float32(1.5)", "1.5"),
            scalar("np.bool_(True)", "true", "True"),
            text('np.str_("a")', "a"),
            document("np.complex64(1 + 2j)", '"1+2j"'),
            document('np.datetime64("2026-01-02")', '"2026-01-02"'),
            document('np.timedelta64(1, "D")', '"P1D"'),
            array("np.arange(3)", "[0,1,2]", "array([0, 1, 2])", "BigInt64Array [3] `0,1,2`"),
            array("np.array([[1.5, np.nan]])", "[[1.5,null]]", "array([[1.5, nan]])", "Float64Array [1,2] `1.5,NaN`"),
            array("np.array(5)", "5", "array(5)", "BigInt64Array [] `5`"),
            array("np.zeros((2, 0))", "[[],[]]", "array([], shape=(2, 0), dtype=float64)", "Float64Array [2,0] empty"),
            array("np.array([True, False])", "[true,false]", "array([ True, False])", "Uint8Array [2] `1,0`"),
            array('np.array([1], "u1")', "[1]", "array([1], dtype=uint8)", "Uint8Array [1] `1`"),
            array('np.array([0.5], "f2")', "[0.5]", "array([0.5], dtype=float16)", "Float32Array [1] `0.5`"),
            array("np.array([1 + 2j])", '["1+2j"]', "array([1.+2.j])", "Float64Array [1,2] `1,2`"),
            array('np.array(["a", "bc"])', '["a","bc"]', "array(['a', 'bc'], dtype='<U2')", "Blob npy"),
            array('np.array(["2026-01-02"], "M8[D]")', '["2026-01-02"]',
                  "array(['2026-01-02'], dtype='datetime64[D]')", "BigInt64Array [1] `20455`"),
            document('np.array(["a", None], object)', '["a",null]'),
            array('np.array([(1, 2.5)], "i4,f4")', '[{"f0":1,"f1":2.5}]',
                  "array([(1, 2.5)], dtype=[('f0', '<i4'), ('f1', '<f4')])", "Blob npy"),
            document('np.array([(1, 2.5)], "i4,f4")[0]', '{"f0":1,"f1":2.5}'),
            document("np.ma.array([1, 2], mask=[False, True])", "[1,null]"),
            document('{"a": np.arange(2), "n": np.int64(1)}', '{"a":[0,1],"n":1}'),
            document("(8000, np.zeros(2))", "[8000,[0.0,0.0]]"),
            document('np.dtype("f4")', '"float32"'),
        ],
        "A client that names `application/x-npy` in `Accept`, as the Python client and owt.js do, receives an array in "
        "that format, unless it holds Python's objects or masked elements. `Accept: audio/wav` makes a sound of "
        "`(rate, samples)`.",
    ),
    Group(
        "pandas",
        "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': ['x', None]})\n",
        [
            table("df", '[{"a":1,"b":"x"},{"a":2,"b":null}]', "   a    b\n0  1    x\n1  2  NaN"),
            table("df[df.a > 1]", '[{"a":2,"b":null}]', "   a    b\n1  2  NaN"),
            table('df.groupby("b").sum()', '[{"b":"x","a":1}]', "   a\nb   \nx  1"),
            table('df.groupby("b").agg({"a": ["min", "max"]})', '[{"b":"x","a.min":1,"a.max":1}]',
                  "    a    \n  min max\nb        \nx   1   1"),
            table("pd.DataFrame()", "[]", "Empty DataFrame\nColumns: []\nIndex: []"),
            table('pd.DataFrame({"t": pd.to_datetime(["2026-01-02"])})', '[{"t":"2026-01-02T00:00:00"}]',
                  "           t\n0 2026-01-02"),
            Row('pd.DataFrame([[1, 2]], columns=["a", "a"])', "text `   a  a⏎0  1  2`", f"500 {TWO_COLUMNS}",
                "result HTML, text", f"error {TWO_COLUMNS}", f"error {TWO_COLUMNS}", "bundle HTML, text"),
            series('df["a"]', "[1,2]", "0    1\n1    2\nName: a, dtype: int64"),
            series("df.iloc[0]", '{"a":1,"b":"x"}', "a    1\nb    x\nName: 0, dtype: object"),
            series('df["b"].value_counts()', '{"x":1}', "b\nx    1\nName: count, dtype: int64"),
            series("df.dtypes", '{"a":"int64","b":"str"}', "a    int64\nb      str\ndtype: object"),
            document("df.index", "[0,1]"),
            document("df.shape", "[2,2]"),
            document('{"table": df, "rows": len(df)}', '{"table":[{"a":1,"b":"x"},{"a":2,"b":null}],"rows":2}'),
            document('pd.Timestamp("2026-01-02")', '"2026-01-02T00:00:00"'),
            document("pd.Timedelta(days=1)", '"P1DT0H0M0S"'),
            document('pd.Period("2026-01")', '"2026-01"'),
            document("pd.Interval(0, 1)", '"(0, 1]"'),
            document("pd.NaT", "null"),
            document("pd.NA", "null"),
            document('pd.Categorical(["a", "b"])', '["a","b"]'),
            array('pd.array([1, None], "Int64")', "[1,null]", "array([ 1., nan])", "Float64Array [2] `1,NaN`"),
            document('pd.date_range("2026-01-02", periods=1)', '["2026-01-02T00:00:00"]'),
            document('pd.MultiIndex.from_tuples([("x", 1)])', '[["x",1]]'),
        ],
        "`df` is `pd.DataFrame({'a': [1, 2], 'b': ['x', None]})`. An index is part of the JSON if it has a name, or labels other than whole numbers. The Python client makes a "
        "DataFrame of Arrow's format, with index and types, if both sides have pyarrow, else of the records. "
        "In events, `display=application/json` adds the records.",
    ),
    Group(
        "Images and figures",
        "from PIL import Image\nimport matplotlib.pyplot as plt\nfrom matplotlib.figure import Figure\n"
        "plt.rcParams.update({'figure.figsize': (1, 1), 'xtick.labelbottom': False, 'ytick.labelleft': False})\n"
        "image = Image.new('RGB', (2, 2))\n",
        [
            picture("image", "image/png", "RGB"),
            picture('image.convert("1")', "image/png", "1"),
            picture('image.convert("CMYK")', "image/jpeg", "CMYK"),
            picture('image.convert("F")', "image/tiff", "F"),
            picture('image.convert("HSV")', "image/tiff", "RGB"),
            picture("(image, 201)", "image/png", "RGB", curl="201 PNG", json="201 PNG"),
            with_media("[image]", '["data:image/png;base64,…"]', "PNG", '["cid:value-1"]'),
            with_media('{"label": "black", "image": image}', '{"label":"black","image":"data:image/png;base64,…"}', "PNG",
                       '{"label":"black","image":"cid:value-1"}'),
            document("image.size", "[2,2]"),
            shown("Figure()", "image/png"),
            shown("plt.subplots()", "image/png"),
            shown("plt.plot([1, 2])", "image/png"),
            display("plt.plot([1, 2]);", "image/png"),
            display("plt.plot([1, 2]) and plt.show()", "image/png"),
            shown("plt.gca()", "image/png"),
            shown("plt.hist([1, 2])", "image/png"),
            shown("plt.bar([1], [2])", "image/png"),
            shown("plt.imshow([[1]])", "image/png"),
            shown("plt.boxplot([1, 2, 3])", "image/png"),
            shown("plt.pie([1])", "image/png"),
            shown("plt.subplots(1, 2)[1]", "image/png"),
            shown('plt.title("owt")', "image/png"),
            with_media("[Figure(), Figure()]", '["data:image/png;base64,…","data:image/png;base64,…"]', "PNG PNG",
                       '["cid:value-1","cid:value-2"]'),
        ],
        "`image` is `Image.new('RGB', (2, 2))`. An image of Pillow is a TIFF where neither PNG nor JPEG has its mode. `Accept` selects other types: "
        "`image/svg+xml` or `application/pdf` of a figure, `multipart/mixed` for a list or dict with pictures.",
    ),
    Group(
        "Sounds and displays of IPython",
        "import numpy as np\nfrom IPython.display import *\n",
        [
            shown("Audio(np.ones(8), rate=8000)", "audio/wav", events="result HTML, text", notebook="bundle HTML, text"),
            with_media('{"sound": Audio(np.ones(8), rate=8000)}', '{"sound":"data:audio/wav;base64,…"}', "WAV",
                       '{"sound":"cid:value-1"}'),
            shown('Video(b"....ftypmp42", embed=True, mimetype="video/mp4")', "video/mp4", events="result HTML, text",
                  notebook="bundle HTML, text"),
            shown('Video("http://a/b.mp4")', "text/html", VIDEO),
            shown('HTML("<b>owt</b>")', "text/html", "<b>owt</b>"),
            shown('Markdown("# owt")', "text/markdown", "# owt"),
            shown('Latex("$x$")', "text/latex", "$x$"),
            shown('SVG("<svg/>")', "image/svg+xml", "<svg/>"),
            shown('Javascript("f()")', "application/javascript", "f()"),
            document('JSON({"a": 1})', '{"a":1}', events="result JSON, text", notebook="bundle JSON, text"),
            document('GeoJSON({"type": "Point", "coordinates": [1, 2]})', '{"type":"Point","coordinates":[1,2]}',
                     events="result JSON, text", notebook="bundle JSON, text"),
            shown('Code("x = 1", language="python")', "text/plain", "x = 1", events="result HTML, LaTeX, text",
                  notebook="bundle HTML, LaTeX, text"),
            shown('IFrame("http://a/", 9, 9)', "text/html", FRAME),
            shown('FileLink("/etc/hosts")', "text/plain", "/etc/hosts", events="result HTML, text",
                  notebook="bundle HTML, text"),
            document('[HTML("<b>owt</b>"), 1]', '["<b>owt</b>",1]'),
            display('display("owt")', "text/plain", "'owt'\n"),
            display('display(HTML("<b>owt</b>"))', "text/html", "<b>owt</b>"),
            display('display({"image/svg+xml": "<svg/>"}, raw=True)', "image/svg+xml", "<svg/>", "SVG"),
            display("display(1, 2)", "text/plain", "1\n2\n", events="display text, display text, result JSON `null`",
                    notebook="shows text, shows text"),
            display('print("owt")', "text/plain", "owt\n", events="stdout `owt⏎`, result JSON `null`",
                    notebook="prints `owt⏎`"),
        ],
        "A call without a value answers with what it displayed or printed.",
    ),
    Group(
        "Files and iterators",
        "import io, pathlib, pandas\nfrom PIL import Image\npicture = Image.new('RGB', (2, 2))\n"
        "rows = pandas.DataFrame({'a': [1]})\npath = pathlib.Path(folder) / 'a.csv'\n_ = path.write_text('a,b\\n1,2\\n')\n",
        [
            document("path", '"/data/a.csv"', curl="CSV `a,b⏎1,2⏎`"),
            document("[path]", '["/data/a.csv"]'),
            document('pathlib.Path("/no/where")', '"/no/where"'),
            stream("open(path, 'rb')", "CSV `a,b⏎1,2⏎`", "bytes `YSxiCjEsMgo=`", "b'a,b\\n1,2\\n'", "Blob CSV"),
            stream("open(path)", "HTML `a,b⏎1,2⏎`", "message `a,b⏎`, message `1,2⏎`", "'a,b\\n1,2\\n'", '"a,b\\n1,2\\n"'),
            stream('io.BytesIO(b"owt")', "bytes `owt`", "bytes `b3d0`", "b'owt'", "Blob bytes"),
            stream('io.StringIO("owt")', "HTML `owt`", "message `owt`", "'owt'", '"owt"'),
            stream("(n for n in range(3))", "lines of JSON `0⏎1⏎2⏎`", "message JSON `0`, message JSON `1`, message JSON `2`",
                   "[0, 1, 2]", "[0,1,2]"),
            stream('iter("ab")', "HTML `ab`", "message `a`, message `b`", "'ab'", '"ab"'),
            stream('({"n": n} for n in range(2))', 'lines of JSON `{"n":0}⏎{"n":1}⏎`',
                   'message JSON `{"n":0}`, message JSON `{"n":1}`', "[{'n': 0}, {'n': 1}]", '[{"n":0},{"n":1}]'),
            stream("(bytes([n]) for n in (65, 66))", "bytes `AB`", "bytes `QQ==`, bytes `Qg==`", "b'AB'", "Blob bytes"),
            stream("map(str, [1, 2])", "HTML `12`", "message `1`, message `2`", "'12'", '"12"'),
            stream('zip("a", [1])', 'lines of JSON `["a",1]⏎`', 'message JSON `["a",1]`', "[['a', 1]]", '[["a",1]]'),
            stream('iter([1, "a", b"x"])', "lines of JSON `1⏎ax`", 'message JSON `1`, message `a`, bytes `eA==`',
                   "[1, 'a', 'eA==']", '[1,"a","eA=="]', json='lines of JSON `1⏎"a"⏎"eA=="⏎`',
                   notebook="`[1, 'a', b'x']`"),
            stream('iter(["a", "b", [1]])', "HTML `ab[1]⏎`", 'message `a`, message `b`, message JSON `[1]`',
                   "'ab\\n[1]\\n'", '"ab\\n[1]\\n"', json="HTML `ab⏎[1]⏎`",
                   notebook="`['a', 'b', [1]]`"),
            stream("(picture for _ in range(2))", "PNG", "message PNG, text, message PNG, text", "['data:image/png;base64,…', 'data:image/png;base64,…']",
                   '["data:image/png;base64,…","data:image/png;base64,…"]',
                   json='lines of JSON `"data:image/png;base64,…"⏎"data:image/png;base64,…"⏎`',
                   notebook="`[{'image/png': 'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD9…`"),
            stream("iter([picture, 1])", "PNG", "message PNG, text, message JSON `1`", "['data:image/png;base64,…', 1]",
                   '["data:image/png;base64,…",1]', json='lines of JSON `"data:image/png;base64,…"⏎1⏎`',
                   notebook="`[{'image/png': 'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD9…`"),
            stream("(rows for _ in range(2))", "text `   a⏎0  1⏎   a⏎0  1⏎`", "message HTML, text, message HTML, text", "[[{'a': 1}], [{'a': 1}]]",
                   '[[{"a":1}],[{"a":1}]]', json='lines of JSON `[{"a":1}]⏎[{"a":1}]⏎`',
                   notebook="`[{'text/html': '<div>\\n<style scoped>\\n    .dataframe tb…`"),
            stream("iter([])", "HTML empty", "none", "''", '""', notebook="`None`"),
        ],
        "`path` is the path of the file `a.csv`. `picture` is an image of Pillow, and `rows` is `pandas.DataFrame({'a': [1]})`. For a client that prefers JSON, a stream of text is one text, and one of bytes is bytes; any other is a list, in which a picture is a data URL."
        " See [Streams](#streams).",
    ),
    Group(
        "Responses",
        "import flask\nfrom werkzeug.wrappers import Response\n",
        [
            text('("owt", {"X-Owt": "1"})', "owt"),
            text('("a,b", {"Content-Type": "text/csv"})', "a,b", curl="CSV `a,b`", json="CSV `a,b`"),
            document('({"a": 1}, 201)', '{"a":1}', curl='201 JSON `{"a":1}`', json='201 JSON `{"a":1}`'),
            text('("brewing", 418)', "brewing", curl="418 HTML `brewing`", json='418 JSON `"brewing"`',
                 python="error `the adaptor answered 418: brewing`", js="error `the adaptor answered 418: brewing`"),
            document("(None, 204)", "null", curl="204 empty", json="204 empty", events="none"),
            text('Response("owt", 201)', "owt", curl="201 text `owt`", json="201 text `owt`"),
            text('flask.Response("owt")', "owt", json="HTML `owt`"),
            raw(r'Response(b"\x00", mimetype="image/gif")', b"", "AA==", "image/gif", python=r"`b'\x00'`",
                notebook=r"`b'\x00'`"),
            document("flask.jsonify(a=1)", '{"a":1}', events='result `{"a":1}⏎`'),
            document("(1, 2, 3)", "[1,2,3]"),
        ],
    ),
    Group(
        "Last values of cells",
        "import asyncio, logging\nclass Shown:\n    def __repr__(self): return 'Shown(1)'\n",
        [
            plain("Shown()", "Shown(1)"),
            plain("[Shown()]", "[Shown(1)]"),
            plain('{(1, 2): "a"}', "{(1, 2): 'a'}"),
            plain('ValueError("no")', "ValueError('no')"),
            plain("slice(1, 3)", "slice(1, 3, None)"),
            plain('logging.getLogger("owt")', "<Logger owt (WARNING)>"),
            plain("...", "Ellipsis"),
            document("1;", "null", curl="HTML empty"),
            document("x = 1", "null", curl="HTML empty"),
            scalar("await asyncio.sleep(0, 5)", "5"),
        ],
        "The value of a cell that nothing else fits is text, as a notebook shows it. A semicolon means no value.",
    ),
    Group(
        "Values that cannot be sent",
        "import re, unittest.mock\nclass Plain: pass\n",
        [
            refused("lambda: Plain()", "TypeError: an adaptor cannot answer with a value of type __main__.Plain"),
            refused("lambda: [Plain()]", "TypeError: JSON cannot hold a value of type __main__.Plain; make it"),
            refused("lambda: len", "TypeError: an adaptor cannot answer with a value of type builtin_function_or_method"),
            refused('lambda: {(1, 2): "a"}', "TypeError: JSON cannot have a key of type tuple; make it a str or a number"),
            refused("lambda: unittest.mock.Mock()", "TypeError: an adaptor cannot answer with a value of type unittest.mock.Mock"),
            refused('lambda: ValueError("no")', "TypeError: an adaptor cannot answer with a value of type ValueError"),
            refused("lambda: {'a': [re.match('a', 'a')]}", "TypeError: JSON cannot hold a value of type re.Match; make it"),
        ],
        "The error names the type and says what to do. `owt.register` makes an answer of such a type.",
    ),
    Group(
        "Tables, charts and arrays of other libraries",
        "import altair, duckdb, pandas, plotly.graph_objects, polars, seaborn, scipy.sparse, warnings, xarray\n"
        "import pyarrow as pa\nwarnings.simplefilter('ignore')\n",
        [
            table('polars.DataFrame({"a": [1, 2]})', '[{"a":1},{"a":2}]',
                  "shape: (2, 1)\n┌─────┐\n│ a   │\n│ --- │\n│ i64 │\n╞═════╡\n│ 1   │"),
            document("polars.Series([1, None])", "[1,null]", curl="text `shape: (2,)⏎Series: '' [i64]⏎[⏎\t1⏎\tnull⏎]`",
                     events="result HTML, JSON, text", notebook="bundle HTML, JSON, text"),
            table('pa.table({"a": [1, 2]})', '[{"a":1},{"a":2}]', "", curl='JSON `[{"a":1},{"a":2}]`',
                  events="result JSON, text", notebook="bundle JSON, text"),
            document("pa.array([1, None])", "[1,null]"),
            document("pa.scalar(3)", "3"),
            table('duckdb.sql("select 1 as a, sum(2) as b")', '[{"a":1,"b":2}]',
                  "┌───────┬────────┐\n│   a   │   b    │\n│ int32 │ int128 │\n├───────┼────────┤"),
            array("scipy.sparse.eye(2)", "[[1.0,0.0],[0.0,1.0]]", "array([[1., 0.],\n       [0., 1.]])", "Float64Array [2,2] `1,0,0,1`"),
            document('xarray.DataArray([1, 2], dims="x")', '{"dims":["x"],"attrs":{},"data":[1,2],"coords":{},"name":null}',
                     curl="text `<xarray.DataArray (x: 2)> Size: 16B⏎array([1, 2])⏎Dimens…`",
                     events="result HTML, text", notebook="bundle HTML, text"),
            Row("plotly.graph_objects.Figure()", "HTML `<div style…`", """JSON `{"data":[]…`""",
                "display HTML, result HTML, application/vnd.plotly.v1+json, text", "`{'data': […`", """`{"data":[]…`""",
                "bundle HTML, application/vnd.plotly.v1+json, text"),
            Row('altair.Chart(pandas.DataFrame({"a": [1]})).mark_bar()', "HTML `⏎<style>⏎ …`", f"JSON {ALTAIR}",
                "result HTML, text", "`{'config': {'view': {'continuousWidth': 300, 'continuous…`", ALTAIR,
                "bundle HTML, text"),
            shown('seaborn.relplot(pandas.DataFrame({"a": [1]}), x="a", y="a", height=1)', "image/png"),
        ],
        "Tables of any library, by the protocols `__arrow_c_stream__` and `__dataframe__`.",
        libraries=("altair", "duckdb", "plotly", "polars", "pyarrow", "scipy", "seaborn", "xarray"),
    ),
]


@dataclass(frozen=True)
class Parameter:
    """Annotation of a parameter, JSON that it takes, and content of a media type, as a part of a form or as the body,
    that it takes as well. `argument` is Python's text of what the function gets (`SHOWN` makes it)."""

    annotation: str
    json: str
    argument: str
    media_types: tuple[str, ...] = ()
    content: str = ""


SHOWN = """
def shown(x):
    match type(x).__name__:
        case "DataFrame":
            return f"DataFrame({x.to_dict('list')})"
        case "PngImageFile":
            return f"image of {x.size}"
        case "PosixPath" if x.exists():
            return f"Path of a file with {x.read_bytes()}"
    return repr(x)
"""
PARAMETERS_SETUP = """
import base64, dataclasses, datetime, io, pathlib, typing
import attrs, msgspec, numpy as np, numpy.typing as npt, pandas as pd, PIL.Image, pydantic
@dataclasses.dataclass
class Point:
    n: int
@attrs.define
class Size:
    width: int
class Word(msgspec.Struct):
    text: str
class Item(pydantic.BaseModel):
    name: str
class Movie(typing.TypedDict):
    title: str
def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
def png():
    file = io.BytesIO()
    PIL.Image.new("1", (2, 1)).save(file, "PNG")
    return file.getvalue()
"""
PARAMETERS_TEXT = """The annotation of an endpoint's parameter decides what it gets from the JSON of its name, or from a part of
a form or a body with the `Content-Type`. `Point` is a dataclass, `Size` of attrs, `Word` of msgspec, `Item` of pydantic,
`Movie` a TypedDict. `torch.Tensor` and `jax.Array` take what arrays do, `polars.DataFrame`, `pyarrow.Table` and
`datasets.Dataset` what tables do, which may also be an object of columns. A `Path` takes the path of a file too; an upload keeps its name, and
is removed at the end of the call. Without an annotation, a JSON value is unchanged, and
a file is werkzeug's `FileStorage`; a part `kwargs.NAME`, which the clients send, is what its type says, and no other
body than a form or JSON is an argument: see [Send files, arrays and tables](../how-to/files-and-arrays.md)."""
_NPY, _JSON, _ANY = ("application/x-npy",), ("application/json",), ("any type",)
_TABLES = (
    "text/csv", "text/tab-separated-values", "application/vnd.apache.arrow.stream",
    "application/vnd.apache.arrow.file", "application/vnd.apache.parquet",
)

PARAMETERS = [
    Parameter("int", "3", "3"),
    Parameter("float | None", "null", "None"),
    Parameter("str", '"owt"', "'owt'", ("text/plain",), "b'owt'"),
    Parameter("datetime.date", '"2026-01-02"', "datetime.date(2026, 1, 2)"),
    Parameter("list[int]", "[1,2]", "[1, 2]", _JSON, "b'[1, 2]'"),
    Parameter("Point", '{"n":1}', "Point(n=1)", _JSON, """b'{"n": 1}'"""),
    Parameter("Size", '{"width":1}', "Size(width=1)", _JSON, """b'{"width": 1}'"""),
    Parameter("Word", '{"text":"owt"}', "Word(text='owt')", _JSON, """b'{"text": "owt"}'"""),
    Parameter("Item", '{"name":"a"}', "Item(name='a')", _JSON, """b'{"name": "a"}'"""),
    Parameter("list[Item]", '[{"name":"a"}]', "[Item(name='a')]", _JSON, """b'[{"name": "a"}]'"""),
    Parameter("Movie", '{"title":"a"}', "{'title': 'a'}", _JSON, """b'{"title": "a"}'"""),
    Parameter("np.ndarray", "[[1,2]]", "array([[1, 2]])", _NPY, "npy([[1, 2]])"),
    Parameter("npt.NDArray[np.float32]", "[1]", "array([1.], dtype=float32)", _NPY, "npy([1])"),
    Parameter("pd.DataFrame", '[{"a":1}]', "DataFrame({'a': [1]})", _TABLES, "b'a\\n1\\n'"),
    Parameter("PIL.Image.Image", "the image in base64, or a data URL", "image of (2, 1)", ("image/png",), "png()"),
    Parameter("bytes", '"b3d0"', "b'owt'", _ANY, "b'owt'"),
    Parameter("pathlib.Path", '"data:text/plain,owt"', "Path of a file with b'owt'", _ANY, "b'owt'"),
]


def parameters() -> str:
    """Return the table of parameters as Markdown."""
    lines = ["| annotation | JSON | part or body | the function gets |", "|---|---|---|---|"]
    for row in PARAMETERS:
        text = row.json if row.json.startswith("the ") else f"`{row.json}`"
        kinds = ", ".join(kind if kind == "any type" else f"`{kind}`" for kind in row.media_types) or "text of a form"
        cells = [f"`{row.annotation}`", text, kinds, f"`{row.argument}`"]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def page() -> str:
    """Return the tables as Markdown."""
    sections = []
    for group in GROUPS:
        lines = [f"### {group.title}", ""]
        if group.text:
            lines += [group.text, ""]
        lines += ["| value | curl | JSON | events | Python | owt.js | `%%owt` |", "|---|---|---|---|---|---|---|"]
        for row in group.rows:
            cells = [f"`{row.value}`", *(getattr(row, client) for client in CLIENTS)]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        sections.append("\n".join(lines))
    values_in = f"## Values in\n\n{PARAMETERS_TEXT}\n\n{parameters()}"
    return "\n\n".join([*sections, values_in]) + "\n"
