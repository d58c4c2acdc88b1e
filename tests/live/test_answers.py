"""Answers of a live server: every kind of value, to curl and to programs."""

import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from owt.testing import Gate, LiveServer

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
LINES = "application/x-ndjson"
PNG = b"\x89PNG\r\n\x1a\n"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.fixture(scope="module")
def lab(http: httpx.Client) -> Iterator[str]:
    """Return a session that all tests share, so that large libraries are imported once."""
    yield "answers-lab"
    http.delete("/_owt/sessions/answers-lab")


def call(http: httpx.Client, code: str, accept: str = "*/*", **fields: str) -> httpx.Response:
    return http.post("/", data={"code": code, **fields}, headers={"Accept": accept})


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, timeout=60, check=False)


class TestPlainValues:
    @pytest.mark.parametrize(
        ("code", "body"),
        [
            ("'Grüße <b>'", "Grüße <b>".encode()),
            ("'lines\\nand no end'", b"lines\nand no end"),
            ("''", b""),
            ("42", b"42"),
            ("-2**70", b"-1180591620717411303424"),
            ("0.1", b"0.1"),
            ("True", b"True"),
            ("None", b""),
        ],
    )
    def test_a_plain_value_is_answered_as_html_text(
        self, http: httpx.Client, code: str, body: bytes
    ) -> None:
        answer = call(http, code)
        assert (answer.status_code, answer.content) == (200, body)
        assert answer.headers["content-type"] == HTML
        assert answer.headers["content-length"] == str(len(body))

    @pytest.mark.parametrize(
        ("code", "kind", "body"),
        [
            ("b'\\x00\\xff raw'", "application/octet-stream", b"\x00\xff raw"),
            ("bytearray(b'%PDF-1.7')", "application/pdf", b"%PDF-1.7"),
            ("memoryview(b'GIF89a')", "image/gif", b"GIF89a"),
            ("iter([b'OggS', b'more'])", "audio/ogg", b"OggSmore"),
        ],
    )
    def test_bytes_have_the_type_that_their_beginning_shows(
        self, http: httpx.Client, code: str, kind: str, body: bytes
    ) -> None:
        answer = call(http, code)
        assert (answer.headers["content-type"], answer.content) == (kind, body)

    @pytest.mark.parametrize(
        ("code", "body"),
        [("'a'", '"a"'), ("3.5", "3.5"), ("True", "true"), ("None", "null"), ("x = 1", "null")],
    )
    def test_a_plain_value_is_json_for_a_client_that_prefers_it(
        self, http: httpx.Client, code: str, body: str
    ) -> None:
        answer = http.post("/", data={"code": code}, headers={"Accept": "application/json, */*;q=0.9"})
        assert (answer.headers["content-type"], answer.text) == ("application/json", f"{body}\n")

    def test_a_large_value_is_answered_completely(self, http: httpx.Client) -> None:
        answer = call(http, "bytes(range(256)) * 20_000")
        assert answer.content == bytes(range(256)) * 20_000
        assert answer.headers["content-type"] == "application/octet-stream"

    def test_every_response_names_its_run(self, http: httpx.Client) -> None:
        first, second = call(http, "1"), call(http, "1")
        assert re.fullmatch("[0-9a-f]{16}", first.headers["owt-run"])
        assert first.headers["owt-run"] != second.headers["owt-run"]

    def test_responses_name_a_session_for_named_sessions_only(self, http: httpx.Client, lab: str) -> None:
        assert "owt-session" not in call(http, "1").headers
        assert call(http, "1", session=lab).headers["owt-session"] == lab


class TestJson:
    @pytest.mark.parametrize(
        ("code", "body"),
        [
            ('{"a": 1, "b": [1.5, None, True]}', b'{"a":1,"b":[1.5,null,true]}\n'),
            ('["ü", "\\n", {}]', '["ü","\\n",{}]\n'.encode()),
            ("[]", b"[]\n"),
            ("{}", b"{}\n"),
            ("(1, 2, 3)", b"[1,2,3]\n"),
            ("('x',)", b'["x"]\n'),
            ("(1, 'x')", b'[1,"x"]\n'),
            ("('a', 'b', 'c')", b'["a","b","c"]\n'),
            ("('body', 99)", b'["body",99]\n'),
            ("{1: 'one', None: 2}", b'{"1":"one","null":2}\n'),
            ("[float('nan'), float('inf')]", b"[null,null]\n"),
            ("{'bytes': b'\\x00\\x01'}", b'{"bytes":"AAE="}\n'),
        ],
    )
    def test_dicts_lists_and_other_tuples_are_compact_json_with_a_newline(
        self, http: httpx.Client, code: str, body: bytes
    ) -> None:
        answer = call(http, code)
        assert (answer.status_code, answer.content) == (200, body)
        assert answer.headers["content-type"] == JSON

    def test_values_inside_of_json_are_encoded(self, http: httpx.Client, lab: str) -> None:
        code = (
            "import dataclasses, datetime, enum, pathlib, uuid\n"
            "import numpy as np\n"
            "@dataclasses.dataclass\n"
            "class Point:\n    x: int\n    y: float\n"
            "class Color(enum.Enum):\n    RED = 'red'\n"
            "def run():\n"
            "    return {'scalar': np.float32(0.5), 'whole': np.int64(7), 'truth': np.bool_(True),\n"
            "            'array': np.arange(4).reshape(2, 2),\n"
            "            'point': Point(1, 2.5), 'color': Color.RED,\n"
            "            'moment': datetime.datetime(2024, 1, 2, 3, 4, 5),\n"
            "            'day': datetime.date(2024, 1, 2),\n"
            "            'path': pathlib.Path('/a/b'), 'uuid': uuid.UUID(int=1), 'set': {3},\n"
            "            'time': np.datetime64('2024-01-02T03:04:05')}\n"
        )
        assert call(http, code, session=lab).json() == {
            "scalar": 0.5, "whole": 7, "truth": True, "array": [[0, 1], [2, 3]],
            "point": {"x": 1, "y": 2.5}, "color": "red", "moment": "2024-01-02T03:04:05",
            "day": "2024-01-02", "path": "/a/b", "uuid": "00000000-0000-0000-0000-000000000001",
            "set": [3], "time": "2024-01-02T03:04:05",
        }

    @pytest.mark.parametrize(
        ("expression", "document"),
        [
            ("np.array([[1, 2], [3, 4]])", [[1, 2], [3, 4]]),
            ("np.array([0.5, float('nan')])", [0.5, None]),
            ("np.array(['a', 'b'])", ["a", "b"]),
            ("np.ones((1, 2), bool)", [[True, True]]),
        ],
    )
    def test_an_array_is_json(self, http: httpx.Client, lab: str, expression: str, document: object) -> None:
        answer = call(http, f"import numpy as np\ndef run(): return {expression}", session=lab)
        assert answer.json() == document
        assert answer.headers["content-type"] == JSON

    def test_a_tensor_of_another_library_is_json(self, http: httpx.Client) -> None:
        code = (
            "class Tensor:\n"
            "    def __init__(self, where): self.where = where\n"
            "    def detach(self): return self\n"
            "    def cpu(self): return Tensor('cpu')\n"
            "    def __array__(self, *a): raise RuntimeError('still on the device')\n"
            "    def tolist(self):\n"
            "        assert self.where == 'cpu'\n"
            "        return [1.0, 2.0]\n"
            "def run(): return Tensor('device')\n"
        )
        answer = call(http, code)
        assert answer.text == "[1.0,2.0]\n"

    def test_an_unsupported_value_is_an_error_that_names_its_type(self, http: httpx.Client) -> None:
        answer = call(http, "class Widget: pass\ndef run(): return Widget()")
        assert answer.status_code == 500
        assert "Widget" in answer.text
        assert answer.headers["content-type"] == TEXT

    def test_an_unsupported_value_inside_of_json_is_an_error_that_names_its_type(
        self, http: httpx.Client
    ) -> None:
        answer = call(http, "class Widget: pass\ndef run(): return [1, {'w': Widget()}]")
        assert answer.status_code == 500
        assert "Widget" in answer.text

    def test_a_list_that_contains_itself_is_an_error(self, http: httpx.Client) -> None:
        answer = call(http, "def run():\n    loop = []\n    loop.append(loop)\n    return loop")
        assert answer.status_code == 500
        assert "contains itself" in answer.text


class TestResponseTuples:
    def test_a_response_tuple_may_have_a_status(self, http: httpx.Client) -> None:
        answer = call(http, "('made', 201)")
        assert (answer.status_code, answer.text) == (201, "made")

    def test_a_response_tuple_may_have_headers(self, http: httpx.Client) -> None:
        answer = call(http, "('a,b', {'Content-Type': 'text/csv', 'X-Rows': 1})")
        assert (answer.status_code, answer.text) == (200, "a,b")
        assert (answer.headers["content-type"], answer.headers["x-rows"]) == ("text/csv", "1")

    def test_a_response_tuple_may_have_a_status_and_headers(self, http: httpx.Client) -> None:
        answer = call(http, "({'no': 'such'}, 404, [('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')])")
        assert (answer.status_code, answer.json()) == (404, {"no": "such"})
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]

    @pytest.mark.parametrize("status", [204, 304])
    def test_a_status_without_body_sends_no_body(self, http: httpx.Client, status: int) -> None:
        answer = call(http, f"('never', {status})")
        assert (answer.status_code, answer.content) == (status, b"")
        assert call(http, "'the connection is still good'").text == "the connection is still good"

    def test_a_header_that_http_cannot_carry_is_an_error(self, http: httpx.Client) -> None:
        answer = call(http, "('x', {'X-Split': 'a\\r\\nSet-Cookie: b'})")
        assert answer.status_code == 500
        assert "X-Split" in answer.text
        assert "set-cookie" not in answer.headers

    def test_a_wrong_content_length_is_corrected(self, http: httpx.Client) -> None:
        answer = call(http, "('twelve bytes', {'Content-Length': '5'})")
        assert answer.text == "twelve bytes"

    def test_an_adaptor_cannot_replace_headers_of_the_server(self, http: httpx.Client) -> None:
        answer = call(http, "('x', {'Owt-Run': 'mine', 'Connection': 'close', 'Transfer-Encoding': 'gzip'})")
        assert answer.text == "x"
        assert answer.headers["owt-run"] != "mine"
        assert "connection" not in answer.headers


class TestResponses:
    def test_a_werkzeug_response_is_sent_unchanged(self, http: httpx.Client) -> None:
        code = (
            "from werkzeug.wrappers import Response\n"
            "def run():\n"
            "    r = Response('tea', 418, {'X-Pot': 'yes'}, content_type='text/tea')\n"
            "    r.set_cookie('milk', 'no')\n"
            "    return r\n"
        )
        answer = call(http, code)
        assert (answer.status_code, answer.text) == (418, "tea")
        assert answer.headers["content-type"] == "text/tea"
        assert answer.headers["x-pot"] == "yes"
        assert answer.cookies["milk"] == "no"

    def test_a_flask_response_keeps_status_headers_and_body(self, http: httpx.Client, lab: str) -> None:
        code = (
            "import flask\n"
            "app = flask.Flask('app')\n"
            "def run():\n"
            "    with app.app_context():\n"
            "        response = flask.jsonify(a=1)\n"
            "    response.status_code = 202\n"
            "    return response\n"
        )
        answer = call(http, code, session=lab)
        assert (answer.status_code, answer.json()) == (202, {"a": 1})
        assert answer.headers["content-type"] == JSON

    def test_a_redirect_is_sent(self, http: httpx.Client) -> None:
        answer = call(http, "import werkzeug.utils\ndef run(): return werkzeug.utils.redirect('/there')")
        assert (answer.status_code, answer.headers["location"]) == (302, "/there")

    def test_a_streaming_response_is_streamed_and_closed(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = (
            "from werkzeug.wrappers import Response\n"
            f"def body():\n    yield b'first '\n    {gate.wait}\n    yield b'second'\n"
            "def run():\n"
            "    state.closed = False\n"
            "    r = Response(body(), 203, content_type='text/x-parts')\n"
            "    r.call_on_close(lambda: setattr(state, 'closed', True))\n"
            "    return r\n"
        )
        with http.stream("POST", "/", data={"code": code, "session": session}) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (203, "text/x-parts")
            parts = answer.iter_raw()
            assert next(parts) == b"first "
            gate.open()
            assert b"".join(parts) == b"second"
        assert call(http, "closed", session=session).text == "True"

    def test_a_response_with_an_error_status_is_no_failure(self, http: httpx.Client) -> None:
        answer = call(http, "import werkzeug\ndef run(): return werkzeug.Response('gone', 410)")
        assert (answer.status_code, answer.text) == (410, "gone")
        run = http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()
        assert (run["state"], run["status"], run["failure"]) == ("done", 410, None)


KINDS_OF_STREAMS = {
    "a generator": "def run():\n    yield from ITEMS",
    "an async generator": "async def run():\n    for item in ITEMS: yield item",
    "an iterator": "def run(): return iter(ITEMS)",
    "an async function that returns a generator": "async def run(): return (item for item in ITEMS)",
    "a map": "def run(): return map(lambda item: item, ITEMS)",
    "a class with __next__": (
        "class Counter:\n"
        "    def __init__(self): self.left = list(ITEMS)\n"
        "    def __iter__(self): return self\n"
        "    def __next__(self):\n"
        "        if not self.left: raise StopIteration\n"
        "        return self.left.pop(0)\n"
        "def run(): return Counter()"
    ),
    "a class with __anext__": (
        "class Counter:\n"
        "    def __init__(self): self.left = list(ITEMS)\n"
        "    def __aiter__(self): return self\n"
        "    async def __anext__(self):\n"
        "        if not self.left: raise StopAsyncIteration\n"
        "        return self.left.pop(0)\n"
        "def run(): return Counter()"
    ),
}


class TestStreams:
    @pytest.mark.parametrize("code", KINDS_OF_STREAMS.values(), ids=KINDS_OF_STREAMS)
    def test_every_kind_of_stream_sends_its_items(self, http: httpx.Client, code: str) -> None:
        answer = call(http, f"ITEMS = ['a', b'\\x00b', 'ü']\n{code}")
        assert answer.content == b"a\x00b" + "ü".encode()
        assert answer.headers["content-type"] == HTML

    def test_stream_items_other_than_text_and_bytes_are_json_lines(self, http: httpx.Client) -> None:
        code = "def run():\n    for item in (1, None, True, {'a': [1]}, [2], (3, 4)):\n        yield item"
        answer = call(http, code)
        assert answer.text.splitlines() == ["1", "null", "true", '{"a":[1]}', "[2]", "[3,4]"]
        assert answer.headers["content-type"] == LINES

    def test_mixed_stream_items_keep_their_order(self, http: httpx.Client) -> None:
        code = "def run():\n    yield 'head\\n'\n    yield {'n': 1}\n    yield b'raw\\n'\n    yield 2"
        assert call(http, code).content == b'head\n{"n":1}\nraw\n2\n'

    def test_a_generators_return_value_follows_its_items(self, http: httpx.Client) -> None:
        assert call(http, "def run():\n    yield 'a'\n    return {'n': 1}").text == 'a{"n":1}\n'

    def test_a_generators_return_value_without_items_is_the_answer(self, http: httpx.Client) -> None:
        answer = call(http, "def run():\n    if False: yield\n    return ({'n': 1}, 404)")
        assert (answer.status_code, answer.json()) == (404, {"n": 1})

    def test_a_stream_without_items_is_an_empty_body(self, http: httpx.Client) -> None:
        answer = call(http, "def run():\n    yield from ()")
        assert (answer.status_code, answer.content) == (200, b"")

    def test_a_stream_may_have_a_status_and_headers(self, http: httpx.Client) -> None:
        code = "def run(): return (iter(['a', 'b']), 202, {'Content-Type': 'text/x-parts'})"
        answer = call(http, code)
        assert (answer.status_code, answer.text) == (202, "ab")
        assert answer.headers["content-type"] == "text/x-parts"

    def test_a_file_is_streamed(self, http: httpx.Client, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"0123456789" * 50_000)
        answer = call(http, f"open({str(tmp_path / 'file')!r}, 'rb')")
        assert answer.content == b"0123456789" * 50_000

    @pytest.mark.parametrize("prefix", ["", "async "])
    def test_an_item_arrives_when_it_is_yielded(self, http: httpx.Client, gate: Gate, prefix: str) -> None:
        code = f"{prefix}def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        with http.stream("POST", "/", data={"code": code}) as answer:
            items = answer.iter_raw()
            assert next(items) == b"first"
            gate.open()
            assert next(items) == b"second"
            assert list(items) == []

    def test_an_item_arrives_before_the_generator_continues(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        with http.stream("POST", "/", data={"code": code}) as answer:
            items = answer.iter_raw()
            assert next(items) == b"first"
            call(http, gate.opening, session=session)
            assert next(items) == b"second"

    def test_curl_shows_an_item_when_it_is_yielded(self, http: httpx.Client, gate: Gate) -> None:
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        command = ["curl", "-sSN", str(http.base_url), "--data-urlencode", f"code={code}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            assert process.stdout.read(5) == b"first"
            gate.open()
            assert process.stdout.read(6) == b"second"
        assert process.returncode == 0

    def test_a_generator_is_closed_when_its_run_ends_early(self, http: httpx.Client, session: str) -> None:
        code = (
            "def run():\n"
            "    try:\n        yield 'a'\n        raise ValueError('early')\n"
            "    finally:\n        state.closed = True\n"
        )
        with pytest.raises(httpx.RemoteProtocolError):
            call(http, code, session=session)
        assert call(http, "closed", session=session).text == "True"

    @pytest.mark.parametrize("stream", ["raw", "sse"])
    def test_an_http_1_0_stream_ends_with_its_connection(
        self, http: httpx.Client, gate: Gate, stream: str
    ) -> None:
        # An HTTP/1.0 client may ask to keep the connection, as `ab -k` does; the answer would have no end.
        old = ("--http1.0", "-H", "Connection: keep-alive", "--max-time", "20", "-i", str(http.base_url))
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        command = ["curl", "-sSN", *old, "--data-urlencode", f"code={code}", "-d", f"stream={stream}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            answer = b""
            while b"first" not in answer:
                answer += process.stdout.read(1)
            gate.open()
            answer += b"".join(iter(lambda: process.stdout.read(1000), b""))
        assert process.returncode == 0
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"keep-alive" not in head.lower()
        assert b"second" in body


FIGURE = (
    "from matplotlib.figure import Figure\n"
    "def run():\n"
    "    figure = Figure(figsize=(1, 1))\n"
    "    figure.subplots().plot([1, 2])\n"
    "    return figure\n"
)
IMAGE = "from PIL import Image\ndef run(): return Image.new('RGB', (3, 2), 'red')"
TABLE = "import pandas as pd\ndef run(): return pd.DataFrame({'name': ['a', 'b'], 'n': [1, 2]})"


class TestRichValues:
    @pytest.mark.parametrize(
        ("accept", "content_type", "start"),
        [
            ("*/*", "image/png", PNG),
            (BROWSER, "image/png", PNG),
            ("image/png", "image/png", PNG),
            ("image/*", "image/png", PNG),
            ("image/svg+xml", "image/svg+xml", b"<?xml"),
            ("image/svg+xml, image/png;q=0.5", "image/svg+xml", b"<?xml"),
            ("image/jpeg", "image/jpeg", b"\xff\xd8\xff"),
            ("application/pdf", "application/pdf", b"%PDF"),
            ("text/plain", TEXT, b"<Figure size 100x100 with 1 Axes>"),
        ],
    )
    def test_a_figure_is_sent_in_the_accepted_format(
        self, http: httpx.Client, lab: str, accept: str, content_type: str, start: bytes
    ) -> None:
        answer = call(http, FIGURE, accept, session=lab)
        assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
        assert answer.content.startswith(start)
        # A picture as SVG is text, and is compressed on demand.
        assert set(answer.headers["vary"].split(", ")) - {"Accept-Encoding"} == {"Accept"}

    def test_curl_gets_a_figure_as_png(self, http: httpx.Client, lab: str, tmp_path: Path) -> None:
        out = tmp_path / "figure.png"
        url = f"{http.base_url}?session={lab}"
        done = curl("-o", str(out), "-w", "%{content_type}", "--data-urlencode", f"code={FIGURE}", url)
        assert (done.returncode, done.stdout) == (0, b"image/png")
        assert out.read_bytes().startswith(PNG)

    def test_a_pyplot_figure_of_a_cell_is_drawn(self, http: httpx.Client, lab: str) -> None:
        code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.gcf()"
        answer = call(http, code, session=lab)
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(PNG)

    def test_a_pillow_image_is_png(self, http: httpx.Client, lab: str) -> None:
        answer = call(http, IMAGE, session=lab)
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(PNG)
        assert answer.content[16:24] == (3).to_bytes(4) + (2).to_bytes(4)

    def test_a_pillow_image_is_jpeg_if_accept_prefers_it(self, http: httpx.Client, lab: str) -> None:
        assert call(http, IMAGE, "image/jpeg", session=lab).content.startswith(b"\xff\xd8\xff")

    def test_a_table_is_text_for_curl(self, http: httpx.Client, lab: str) -> None:
        done = curl(f"{http.base_url}?session={lab}", "--data-urlencode", f"code={TABLE}")
        assert done.stdout.split() == [b"name", b"n", b"0", b"a", b"1", b"1", b"b", b"2"]

    def test_a_table_is_html_for_a_browser(self, http: httpx.Client, lab: str) -> None:
        answer = call(http, TABLE, BROWSER, session=lab)
        assert answer.headers["content-type"] == HTML
        assert "<td>a</td>" in answer.text

    def test_a_table_is_csv_if_the_client_prefers_it(self, http: httpx.Client, lab: str) -> None:
        answer = call(http, TABLE, "text/csv", session=lab)
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(row["name"], row["n"]) for row in rows] == [("a", "1"), ("b", "2")]

    def test_a_table_is_json_records_if_the_client_prefers_json(self, http: httpx.Client, lab: str) -> None:
        answer = call(http, TABLE, JSON, session=lab)
        assert answer.headers["content-type"] == JSON
        assert answer.json() == [{"name": "a", "n": 1}, {"name": "b", "n": 2}]

    def test_an_object_uses_ipythons_representations(self, http: httpx.Client) -> None:
        code = (
            "class Note:\n"
            "    def _repr_html_(self): return '<b>note</b>'\n"
            "    def _repr_markdown_(self): return '**note**'\n"
            "    def _repr_json_(self): return {'note': 1}\n"
            "    def __repr__(self): return 'a note'\n"
            "def run(): return Note()\n"
        )
        kinds = ("*/*", "text/html", "text/markdown", JSON)
        assert {accept: call(http, code, accept).text for accept in kinds} == {
            "*/*": "a note", "text/html": "<b>note</b>", "text/markdown": "**note**", JSON: '{"note":1}\n',
        }

    def test_a_mime_bundle_of_the_object_is_negotiated(self, http: httpx.Client) -> None:
        code = (
            "class Chart:\n"
            "    def _repr_mimebundle_(self, include=None, exclude=None):\n"
            "        return {'application/vnd.vegalite.v5+json': {'mark': 'bar'}, 'text/plain': 'chart'}\n"
            "def run(): return Chart()\n"
        )
        assert call(http, code).text == "chart"
        assert call(http, code, "application/vnd.vegalite.v5+json").json() == {"mark": "bar"}

    def test_a_content_type_of_the_adaptor_wins_over_accept(self, http: httpx.Client, lab: str) -> None:
        code = FIGURE.replace("return figure", "return figure, {'Content-Type': 'image/svg+xml'}")
        answer = call(http, code, session=lab)
        assert answer.headers["content-type"] == "image/svg+xml"
        assert answer.headers["vary"] == "Accept-Encoding"

    def test_a_client_that_accepts_no_representation_gets_the_default(
        self, http: httpx.Client, lab: str
    ) -> None:
        assert call(http, FIGURE, "audio/ogg", session=lab).headers["content-type"] == "image/png"

    def test_an_error_in_a_representation_is_a_failure(self, http: httpx.Client) -> None:
        code = "class Bad:\n    def _repr_html_(self): raise ValueError('ugly')\ndef run(): return Bad()"
        answer = call(http, code, "text/html")
        assert answer.status_code == 500
        assert answer.text.endswith("ValueError: ugly\n")


class TestErrors:
    def test_a_problem_document_has_all_its_members(self, http: httpx.Client, session: str) -> None:
        code = "def run():\n    raise ValueError('no good')"
        answer = call(http, code, JSON, session=session)
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        traceback = problem.pop("traceback")
        assert problem == {
            "type": "urn:owt:exception",
            "title": "the adaptor raised ValueError",
            "status": 500,
            "detail": "no good",
            "exception": "ValueError",
            "run": answer.headers["owt-run"],
            "session": session,
        }
        assert traceback.splitlines()[0] == "Traceback (most recent call last):"
        assert "in run" in traceback.splitlines()[1]
        assert traceback.endswith("\nValueError: no good\n")

    def test_a_cause_is_shown_without_owts_frames(self, http: httpx.Client) -> None:
        code = (
            "def run():\n"
            "    try:\n        {}['key']\n"
            "    except KeyError as error:\n        raise ValueError('wrapped') from error\n"
        )
        text = call(http, code).text
        assert "KeyError: 'key'" in text
        assert text.endswith("ValueError: wrapped\n")
        assert "owt/kernel" not in text

    def test_a_failing_library_shows_its_frames_after_the_adaptors(self, http: httpx.Client) -> None:
        lines = call(http, "import json\ndef run(): return json.loads('{')").text.splitlines()
        assert "in run" in lines[1]
        assert any("decoder.py" in line for line in lines)

    @pytest.mark.parametrize(
        ("code", "exception"),
        [
            ("def run(): next(iter([]))", "StopIteration"),
            ("def run(): raise StopIteration", "StopIteration"),
            ("def run(): raise SystemExit(3)", "SystemExit"),
            ("async def run(): raise SystemExit(3)", "SystemExit"),
            ("def run(): raise KeyboardInterrupt", "KeyboardInterrupt"),
            ("async def run(): raise KeyboardInterrupt", "KeyboardInterrupt"),
            ("def run(): raise GeneratorExit", "GeneratorExit"),
            ("import asyncio\nasync def run(): raise asyncio.CancelledError", "CancelledError"),
            ("def run(): raise ExceptionGroup('several', [ValueError(1), TypeError(2)])", "ExceptionGroup"),
            ("class Custom(BaseException): pass\ndef run(): raise Custom", "Custom"),
            ("def run(): run()", "RecursionError"),
            ("exit()", "SystemExit"),
            ("x = 1\nexit()", "SystemExit"),
            ("x = 1\nquit()", "SystemExit"),
            ("raise ValueError", "ValueError"),
            ("await_this = 1\n1/0", "ZeroDivisionError"),
        ],
    )
    def test_every_exception_is_answered_and_the_kernel_survives(
        self, http: httpx.Client, lab: str, code: str, exception: str
    ) -> None:
        pid = call(http, "import os\nos.getpid()", session=lab).text
        answer = call(http, code, JSON, session=lab)
        assert (answer.status_code, answer.json()["exception"]) == (500, exception)
        assert "owt/kernel" not in answer.json()["traceback"].splitlines()[1]
        assert call(http, "import os\nos.getpid()", session=lab).text == pid

    @pytest.mark.parametrize("code", ["exit()", "quit()", "import sys\nsys.exit()"])
    def test_a_call_that_exits_does_not_end_its_kernel(
        self, http: httpx.Client, session: str, code: str
    ) -> None:
        call(http, "x = 1", session=session)
        assert call(http, f"{code}\nx = 2\n", session=session).status_code == 500
        assert call(http, "x, get_ipython().exit_now", session=session).json() == [1, False]

    @pytest.mark.parametrize(
        "code",
        [
            "def run(): raise ValueError('\\ud800')",
            "def run(): raise type('\\ud800', (Exception,), {})('x')",
            "def run():\n    print('\\ud800', end='')\n    raise ValueError",
            "class Bad(Exception):\n    def __str__(self): raise RuntimeError\ndef run(): raise Bad",
            "def run(): return '\\ud800'",
            "def run(): return ['\\ud800']",
            "def run(): yield '\\ud800'",
        ],
    )
    def test_text_that_utf8_cannot_encode_is_an_error(self, http: httpx.Client, code: str) -> None:
        assert call(http, code).status_code == 500

    def test_a_very_long_error_message_is_shortened(self, http: httpx.Client) -> None:
        answer = call(http, "def run(): raise ValueError('x' * 10**7)", JSON)
        assert len(answer.content) < 200_000
        assert "characters left out" in answer.json()["detail"]

    def test_a_bad_request_raised_by_the_adaptor_is_a_400(self, http: httpx.Client) -> None:
        code = "from owt.errors import BadRequest\ndef run(n): raise BadRequest('n', 'must be odd', n)"
        answer = call(http, code, JSON, kwargs='{"n": 2}')
        assert answer.status_code == 400
        problem = answer.json()
        assert (problem["type"], problem["detail"]) == ("urn:owt:bad-request", "n: must be odd; got 2")

    def test_kwargs_that_do_not_fit_are_a_400(self, http: httpx.Client) -> None:
        answer = call(http, "def run(name): return name", kwargs='{"nmae": "x"}')
        assert answer.status_code == 400
        assert "missing 'name'" in answer.text
        assert "unexpected 'nmae'" in answer.text

    @pytest.mark.parametrize(
        "accept", ["*/*", "text/html", BROWSER, "text/plain", "text/html, application/json;q=0.1"]
    )
    def test_a_client_that_does_not_prefer_json_gets_the_traceback_as_text(
        self, http: httpx.Client, accept: str
    ) -> None:
        answer = call(http, "1/0", accept)
        assert answer.headers["content-type"] == TEXT
        assert answer.text.endswith("ZeroDivisionError: division by zero\n")

    def test_a_failed_answer_has_no_headers_of_the_adaptor(self, http: httpx.Client) -> None:
        code = (
            "def body():\n    raise ValueError\n    yield\n"
            "def run(): return body(), 201, {'X-A': '1'}\n"
        )
        answer = call(http, code)
        assert answer.status_code == 500
        assert "x-a" not in answer.headers


class TestFailuresInStreams:
    CODE = "def run():\n    yield 'first'\n    {}\n    raise ValueError('late')"

    def test_httpx_raises_after_a_failure_in_a_stream(self, http: httpx.Client, gate: Gate) -> None:
        with http.stream("POST", "/", data={"code": self.CODE.format(gate.wait)}) as answer:
            assert answer.status_code == 200
            items = answer.iter_raw()
            assert next(items) == b"first"
            gate.open()
            with pytest.raises(httpx.RemoteProtocolError):
                next(items)
        run = http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()
        assert (run["state"], run["failure"]["detail"]) == ("failed", "late")

    def test_curl_exits_with_18_after_a_failure_in_a_stream(self, http: httpx.Client) -> None:
        done = curl(str(http.base_url), "--data-urlencode", f"code={self.CODE.format('pass')}")
        assert (done.returncode, done.stdout) == (18, b"first")

    def test_curl_reports_a_failure_in_an_http_1_0_stream(self, http: httpx.Client, gate: Gate) -> None:
        command = ["curl", "-sSN", "--http1.0", str(http.base_url)]
        code = ["--data-urlencode", f"code={self.CODE.format(gate.wait)}"]
        with subprocess.Popen(
            [*command, *code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        ) as process:
            assert process.stdout is not None
            assert process.stdout.read(5) == b"first"
            gate.open()
            assert process.stdout.read() == b""
        assert process.returncode == 56

    def test_items_before_an_immediate_failure_arrive(self, http: httpx.Client) -> None:
        for _ in range(20):
            with http.stream("POST", "/", data={"code": self.CODE.format("pass")}) as answer:
                assert answer.status_code == 200
                received: list[bytes] = []
                with pytest.raises(httpx.RemoteProtocolError):
                    received.extend(answer.iter_raw())
                assert b"".join(received) == b"first"

    def test_a_failure_before_the_first_item_is_an_error_response(self, http: httpx.Client) -> None:
        answer = call(http, "def run():\n    raise ValueError('early')\n    yield")
        assert answer.status_code == 500
        assert answer.text.endswith("ValueError: early\n")

    def test_an_item_that_cannot_be_sent_fails_the_stream(self, http: httpx.Client) -> None:
        code = "def run():\n    yield 'a'\n    yield object()"
        done = curl(str(http.base_url), "--data-urlencode", f"code={code}")
        assert (done.returncode, done.stdout) == (18, b"a")

    def test_a_body_shorter_than_its_content_length_is_visibly_broken(
        self, http: httpx.Client, gate: Gate
    ) -> None:
        code = (
            "from werkzeug.wrappers import Response\n"
            f"def parts():\n    yield b'abc'\n    {gate.wait}\n"
            "def run(): return Response(parts(), headers={'Content-Length': '9'})\n"
        )
        command = ["curl", "-sSN", str(http.base_url), "--data-urlencode", f"code={code}"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        ) as process:
            assert process.stdout is not None
            assert process.stdout.read(3) == b"abc"
            gate.open()
            assert process.stdout.read() == b""
        assert process.returncode == 18


class TestOutput:
    CODE = (
        "import sys\n"
        "def run():\n"
        "    print('to', 'stdout')\n    print('ünd more')\n    print('to stderr', file=sys.stderr)\n"
        "    return 'answer'\n"
    )

    def test_printed_text_is_no_part_of_the_answer(self, http: httpx.Client) -> None:
        assert call(http, self.CODE).text == "answer"

    def test_printed_text_is_kept_with_the_run(self, http: httpx.Client) -> None:
        run = http.get(f"/_owt/runs/{call(http, self.CODE).headers['owt-run']}").json()
        assert run["stdout"] == "to stdout\nünd more\n"
        assert run["stderr"] == "to stderr\n"

    def test_printed_text_is_logged_with_the_runs_id(
        self, http: httpx.Client, server: LiveServer
    ) -> None:
        run = call(http, self.CODE).headers["owt-run"]
        log = server.log().splitlines()
        assert [line.partition(f"run {run} ")[2] for line in log if f"run {run} " in line] == [
            "stdout: to stdout", "stdout: ünd more", "stderr: to stderr",
        ]

    def test_text_that_utf8_cannot_encode_is_escaped(self, http: httpx.Client) -> None:
        answer = call(http, "def run():\n    print('lone \\ud800 half')\n    return 'answer'")
        assert answer.text == "answer"
        run = http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()
        assert run["stdout"] == "lone \\ud800 half\n"

    def test_displays_are_no_part_of_a_plain_answer(self, http: httpx.Client) -> None:
        code = "from IPython.display import display\ndef run():\n    display({'a': 1})\n    return 'answer'"
        assert call(http, code).text == "answer"


def test_a_run_is_described(http: httpx.Client, session: str) -> None:
    answer = call(http, "'12345'", session=session)
    run = http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()
    assert (run["state"], run["status"], run["session"], run["path"]) == ("done", 200, session, "/")
    assert run["seconds"] >= 0
    assert json.dumps(run)


ABORT = """
from werkzeug import Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, abort
"""


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("def run(): abort(404)", 404, "Not Found"),
        ("async def run(): abort(403, 'keep out')", 403, "keep out"),
        ("def run():\n    abort(404)\n    yield 1", 404, "Not Found"),
        ("async def run():\n    abort(404)\n    yield 1", 404, "Not Found"),
        ("abort(Response('no', 422))", 422, "no"),
        ("def run(): return request.form['missing']", 400, "Bad Request"),
        ("def run(): raise HTTPException('no status')", 500, "no status"),
    ],
)
def test_an_http_exception_of_werkzeug_is_its_own_response(server, session, code, status, text):
    for concurrency in (1, 2):
        name = f"{session}-{concurrency}"
        answer = server.call(ABORT + code, session=name, concurrency=concurrency)
        assert (answer.status_code, text in answer.text) == (status, True)
        server.ask("DELETE", f"/_owt/sessions/{name}")


def test_an_http_exception_keeps_its_headers(server, session):
    answer = server.call(ABORT + "def run(): raise MethodNotAllowed(['GET'])", session=session)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_an_http_exception_after_the_first_item_breaks_the_stream(server, session):
    with pytest.raises(httpx.RemoteProtocolError):
        server.call(ABORT + "def run():\n    yield 1\n    abort(404)", session=session)


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize(
    "code",
    [
        "def run():\n    from flask import jsonify, request\n    return jsonify(request.args)",
        "import asyncio\nfrom flask import jsonify, request\n"
        "async def run():\n    await asyncio.sleep(0)\n    return jsonify(request.args)",
        "from flask import jsonify, request\njsonify(request.args)",
    ],
    ids=["plain", "async", "cell"],
)
def test_flasks_functions_work_in_an_adaptor(server, session, concurrency, code):
    for word in ("one", "two"):
        parameters = {"code": code, "session": session, "concurrency": concurrency, "word": word}
        assert server.ask("GET", "/", params=parameters).json()["word"] == word


def test_flasks_request_is_that_of_the_call(server, session):
    values = "request.base_url, request.args['q'], request.json['n']"
    code = f"from flask import request\ndef run(): return [{values}]"
    answer = server.ask("POST", "/a/b?q=2", json={"code": code, "session": session, "n": 1})
    assert answer.json() == [f"{server.url}/a/b", "2", 1]


def test_send_file_of_flask_answers_ranges(server, session, tmp_path):
    (tmp_path / "words.txt").write_text("owt and summat")
    code = f"from flask import send_file\ndef run(): return send_file({str(tmp_path / 'words.txt')!r})"
    for range, status, text in (
        ("bytes=0-2", 206, "owt"),
        ("bytes=100-", 416, "Requested Range Not Satisfiable"),
    ):
        form = {"code": code, "session": session}
        answer = server.ask("GET", "/", params=form, headers={"Range": range})
        assert (answer.status_code, text in answer.text) == (status, True)
