"""Server-Sent Events: a call as an EventSource receives it."""

import base64
import json
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from owt.testing import Gate
from owt.wire.sse import Decoder, Event

EVENTS = "text/event-stream"
PNG = b"\x89PNG\r\n\x1a\n"


def call(http: httpx.Client, code: str, **fields: str) -> httpx.Response:
    return http.post("/", data={"code": code, **fields}, headers={"Accept": EVENTS})


def decoded(content: bytes) -> list[Event]:
    """Return the events of a complete stream; it must not end inside an event."""
    decoder = Decoder()
    events = decoder.feed(content)
    assert decoder.feed(b"\n") == []
    return events


def events(http: httpx.Client, code: str, **fields: str) -> list[Event]:
    return decoded(call(http, code, **fields).content)


def pairs(received: list[Event]) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in received]


def events_before_done(received: list[Event]) -> list[tuple[str, str]]:
    """Return all events but the last, and check that the last is `done`."""
    assert received[-1].event == "done"
    assert "done" not in [event.event for event in received[:-1]]
    return pairs(received[:-1])


def following(pieces: Iterator[bytes]) -> Iterator[Event]:
    """Yield the events of a stream as they arrive, without their ids."""
    decoder = Decoder()
    for piece in pieces:
        for event in decoder.feed(piece):
            yield Event(event.data, event.event)


class TestEventStream:
    @pytest.mark.parametrize(
        ("fields", "accept"),
        [
            ({}, EVENTS),
            ({}, f"{EVENTS}, */*;q=0.1"),
            ({"stream": "auto"}, EVENTS),
            ({"stream": "sse"}, "*/*"),
            ({"stream": "sse"}, "text/html"),
        ],
    )
    def test_accept_header_or_stream_field_selects_an_event_stream(
        self, http: httpx.Client, fields: dict[str, str], accept: str
    ) -> None:
        answer = http.post("/", data={"code": "1", **fields}, headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"

    @pytest.mark.parametrize(
        ("fields", "accept"),
        [({}, "*/*"), ({}, "text/*"), ({"stream": "raw"}, EVENTS), ({"stream": "auto"}, "*/*")],
    )
    def test_response_without_accept_header_and_stream_field_is_plain(
        self, http: httpx.Client, fields: dict[str, str], accept: str
    ) -> None:
        answer = http.post("/", data={"code": "'plain'", **fields}, headers={"Accept": accept})
        assert answer.text == "plain"

    def test_get_request_of_an_eventsource_gets_events(self, http: httpx.Client) -> None:
        answer = http.get("/", params={"code": "def run():\n    yield 'hi'"}, headers={"Accept": EVENTS})
        assert events_before_done(decoded(answer.content)) == [("message", "hi")]

    def test_event_stream_names_its_run_and_session(self, http: httpx.Client, session: str) -> None:
        answer = call(http, "1", session=session)
        assert len(answer.headers["owt-run"]) == 16
        assert answer.headers["owt-session"] == session

    def test_last_event_is_done_with_status_and_seconds(self, http: httpx.Client) -> None:
        last = events(http, "('made', 201)")[-1]
        assert last.event == "done"
        done = json.loads(last.data)
        assert done.keys() == {"status", "seconds"}
        assert done["status"] == 201
        assert 0 <= done["seconds"] < 30


class TestYields:
    def test_each_yielded_value_is_a_message_event(self, http: httpx.Client) -> None:
        code = "def run():\n    for item in ('text', {'a': [1, None]}, 2, True, None): yield item"
        assert events_before_done(events(http, code)) == [
            ("message", "text"), ("message", '{"a":[1,null]}'), ("message", "2"), ("message", "true"),
            ("message", "null"),
        ]

    def test_yielded_text_of_several_lines_is_one_message(self, http: httpx.Client) -> None:
        code = "def run():\n    yield 'one\\ntwo\\n\\nfour'\n    yield 'data: not a field\\nevent: nor this'"
        assert events_before_done(events(http, code)) == [
            ("message", "one\ntwo\n\nfour"), ("message", "data: not a field\nevent: nor this"),
        ]

    def test_yielded_bytes_are_base64(self, http: httpx.Client) -> None:
        code = "def run():\n    yield b'\\x00\\xff'\n    yield bytes(300_001)"
        received = events_before_done(events(http, code))
        assert [name for name, _ in received] == ["bytes", "bytes"]
        assert base64.b64decode(received[0][1], validate=True) == b"\x00\xff"
        assert base64.b64decode(received[1][1], validate=True) == bytes(300_001)

    def test_large_yielded_text_is_one_message(self, http: httpx.Client) -> None:
        code = "def run():\n    yield 'ü\\n' * 500_000\n    yield 'after'"
        assert events_before_done(events(http, code)) == [("message", "ü\n" * 500_000), ("message", "after")]

    def test_values_of_an_async_generator_are_messages(self, http: httpx.Client) -> None:
        code = "async def run():\n    yield 'a'\n    yield {'b': 1}"
        assert events_before_done(events(http, code)) == [("message", "a"), ("message", '{"b":1}')]

    def test_return_value_of_a_generator_is_its_result(self, http: httpx.Client) -> None:
        code = "def run():\n    yield 'a'\n    return {'n': 1}"
        assert events_before_done(events(http, code)) == [("message", "a"), ("result", '{"n":1}')]


class TestResults:
    @pytest.mark.parametrize(
        ("code", "data"),
        [
            ("'text'", "text"),
            ("{'a': 1}", '{"a":1}'),
            ("42", "42"),
            ("None", "null"),
            ("[1, 2]", "[1,2]"),
            ("b'\\x00\\xff'", "AP8="),
        ],
    )
    def test_returned_value_is_a_result(self, http: httpx.Client, code: str, data: str) -> None:
        assert events_before_done(events(http, code)) == [("result", data)]

    def test_returned_figure_is_a_mime_bundle(self, http: httpx.Client) -> None:
        code = "from matplotlib.figure import Figure\ndef run(): return Figure(figsize=(1, 1))"
        [(name, data)] = events_before_done(events(http, code))
        bundle = json.loads(data)
        assert name == "result"
        assert base64.b64decode(bundle["image/png"]).startswith(PNG)
        assert bundle["text/plain"].startswith("<Figure")

    def test_returned_werkzeug_response_is_its_body(self, http: httpx.Client) -> None:
        code = "import werkzeug\ndef run(): return werkzeug.Response('tea', 418, content_type='text/plain')"
        received = events(http, code)
        assert events_before_done(received) == [("result", "tea")]
        assert json.loads(received[-1].data)["status"] == 418


class TestOutput:
    def test_printed_text_is_an_event(self, http: httpx.Client) -> None:
        code = (
            "import sys\n"
            "def run():\n"
            "    print('out')\n    print('err', file=sys.stderr)\n"
            "    yield 'item'\n    print('ünd', end='')\n"
        )
        assert events_before_done(events(http, code)) == [
            ("stdout", "out\n"), ("stderr", "err\n"), ("message", "item"), ("stdout", "ünd"),
        ]

    def test_display_events_are_mime_bundles(self, http: httpx.Client) -> None:
        code = (
            "from IPython.display import HTML, display\n"
            "def run():\n    display(HTML('<b>hi</b>'))\n    return 'end'\n"
        )
        (name, data), last = events_before_done(events(http, code))
        assert (name, json.loads(data)["text/html"]) == ("display", "<b>hi</b>")
        assert last == ("result", "end")

    def test_a_displayed_image_is_base64(self, http: httpx.Client) -> None:
        code = (
            "from IPython.display import display\nfrom PIL import Image\n"
            "def run(): display(Image.new('RGB', (1, 1)))\n"
        )
        received = events_before_done(events(http, code))
        assert base64.b64decode(json.loads(received[0][1])["image/png"]).startswith(PNG)

    def test_a_figure_drawn_by_a_cell_is_a_display_event(self, http: httpx.Client, session: str) -> None:
        code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nNone"
        received = events_before_done(events(http, code, session=session))
        displayed = [json.loads(data) for name, data in received if name == "display"]
        assert len(displayed) == 1
        assert base64.b64decode(displayed[0]["image/png"]).startswith(PNG)

    def test_printed_output_is_kept_with_the_run(self, http: httpx.Client) -> None:
        answer = call(http, "def run(): print('kept')")
        assert http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()["stdout"] == "kept\n"


class TestFailures:
    def test_a_failure_is_a_problem_document_followed_by_done(self, http: httpx.Client, session: str) -> None:
        code = "def run():\n    print('before')\n    raise ValueError('no good')"
        answer = call(http, code, session=session)
        assert answer.status_code == 200
        out, error, done = decoded(answer.content)
        assert (out.event, out.data) == ("stdout", "before\n")
        problem = json.loads(error.data)
        assert (error.event, problem["exception"], problem["detail"]) == ("error", "ValueError", "no good")
        assert (problem["run"], problem["session"]) == (answer.headers["owt-run"], session)
        assert problem["traceback"].endswith("ValueError: no good\n")
        assert (done.event, json.loads(done.data)["status"]) == ("done", 500)

    def test_a_failure_event_follows_the_items_before_it(self, http: httpx.Client) -> None:
        received = events_before_done(events(http, "def run():\n    yield 'a'\n    raise ValueError('late')"))
        assert received[0] == ("message", "a")
        assert (received[1][0], json.loads(received[1][1])["detail"]) == ("error", "late")

    def test_a_syntax_error_is_an_error_event(self, http: httpx.Client) -> None:
        received = events(http, "def run(:")
        assert [event.event for event in received] == ["error", "done"]
        assert json.loads(received[0].data)["status"] == json.loads(received[1].data)["status"] == 400

    def test_a_kernels_death_is_an_error_event(self, http: httpx.Client, session: str) -> None:
        code = "import os\ndef run():\n    yield 'last words'\n    os._exit(7)"
        received = events_before_done(events(http, code, session=session))
        assert received[0] == ("message", "last words")
        assert "exited with status 7" in json.loads(received[1][1])["detail"]

    def test_a_timeout_is_an_error_event(self, http: httpx.Client, gate: Gate) -> None:
        received = events(http, f"def run():\n    {gate.wait}", timeout="0.05")
        assert [event.event for event in received] == ["error", "done"]
        assert json.loads(received[0].data)["type"] == "urn:owt:timeout"
        assert json.loads(received[1].data)["status"] == 504

    def test_a_bad_request_gets_no_event_stream(self, http: httpx.Client) -> None:
        answer = call(http, "1", timeout="soon")
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


OWN = (
    "def run():\n"
    "    def body():\n"
    "        yield 'event: tick\\nid: 1\\ndata: one\\n\\n'\n"
    "        {between}\n"
    "        yield b'data: two\\n\\n'\n"
    "    return body(), {{'Content-Type': 'text/event-stream'}}\n"
)


class TestAdaptorEventStreams:
    def test_adaptors_event_stream_is_passed_through(self, http: httpx.Client) -> None:
        code = OWN.format(between="print('not in it')")
        answer = http.post("/", data={"code": code})
        assert answer.headers["content-type"].startswith(EVENTS)
        assert answer.content == b"event: tick\nid: 1\ndata: one\n\ndata: two\n\n"

    def test_adaptors_event_stream_gets_ids_for_reconnecting_clients(self, http: httpx.Client) -> None:
        answer = call(http, OWN.format(between="print('not in it')"))
        run = answer.headers["owt-run"]
        assert answer.headers["content-type"].startswith(EVENTS)
        # Printed output has a number as well, but no event.
        assert answer.text == (
            f"retry: 1000\nid: {run}-0\n"
            f"event: tick\nid: 1\ndata: one\nid: {run}-1\n\ndata: two\nid: {run}-3\n\n"
        )

    def test_adaptors_event_stream_arrives_as_it_is_produced(self, http: httpx.Client, gate: Gate) -> None:
        code = OWN.format(between=gate.wait)
        with http.stream("POST", "/", data={"code": code}, headers={"Accept": EVENTS}) as answer:
            received = following(answer.iter_raw())
            assert next(received) == Event("one", "tick")
            gate.open()
            assert next(received) == Event("two")
            assert list(received) == []

    def test_failure_in_an_adaptors_event_stream_is_appended(self, http: httpx.Client) -> None:
        code = OWN.format(between="raise ValueError('late')")
        received = events(http, code)
        assert [event.event for event in received] == ["tick", "error", "done"]
        assert json.loads(received[1].data)["detail"] == "late"

    def test_event_cut_off_by_a_failure_is_marked_incomplete(self, http: httpx.Client) -> None:
        code = (
            "def body():\n    yield 'data: whole\\n\\ndata: ha'\n    raise ValueError\n"
            "def run(): return body(), {'Content-Type': 'text/event-stream'}\n"
        )
        received = events(http, code)
        assert pairs(received)[0] == ("message", "whole")
        assert [event.event for event in received[1:]] == ["incomplete", "error", "done"]


class TestFirstOutput:
    @pytest.mark.parametrize(
        ("line", "event"),
        [
            ("yield 'first'", Event("first")),
            ("yield b'first'", Event("Zmlyc3Q=", "bytes")),
            ("print('first')", Event("first\n", "stdout")),
            ("print('first', end='', flush=True)", Event("first", "stdout")),
            ("print('first', end='')", Event("first", "stdout")),
            ("print('first', file=__import__('sys').stderr)", Event("first\n", "stderr")),
        ],
    )
    @pytest.mark.parametrize("prefix", ["", "async "])
    def test_first_output_arrives_when_it_is_produced(
        self, http: httpx.Client, gate: Gate, line: str, event: Event, prefix: str
    ) -> None:
        code = f"{prefix}def run():\n    {line}\n    {gate.wait}\n    yield 'second'"
        with http.stream("POST", "/", data={"code": code}, headers={"Accept": EVENTS}) as answer:
            received = following(answer.iter_raw())
            assert next(received) == event
            gate.open()
            assert next(received) == Event("second")
            assert next(received).event == "done"

    def test_a_display_arrives_when_it_is_displayed(self, http: httpx.Client, gate: Gate) -> None:
        code = f"from IPython.display import display\ndef run():\n    display('first')\n    {gate.wait}"
        with http.stream("POST", "/", data={"code": code}, headers={"Accept": EVENTS}) as answer:
            received = following(answer.iter_raw())
            assert next(received).event == "display"
            gate.open()
            assert [event.event for event in received] == ["result", "done"]

    def test_response_headers_arrive_before_any_output(self, http: httpx.Client, gate: Gate) -> None:
        code = f"def run():\n    {gate.wait}\n    return 'end'"
        with http.stream("POST", "/", data={"code": code}, headers={"Accept": EVENTS}) as answer:
            assert answer.status_code == 200
            gate.open()
            assert [event.event for event in following(answer.iter_raw())] == ["result", "done"]

    def test_first_output_arrives_before_a_call_of_another_session_unblocks_the_next(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        with http.stream("POST", "/", data={"code": code}, headers={"Accept": EVENTS}) as answer:
            received = following(answer.iter_raw())
            assert next(received) == Event("first")
            http.post("/", data={"code": gate.opening, "session": session})
            assert next(received) == Event("second")

    def test_curl_shows_the_first_output_when_it_is_produced(self, http: httpx.Client, gate: Gate) -> None:
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        command = ["curl", "-sSN", str(http.base_url), "-d", "stream=sse", "--data-urlencode", f"code={code}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            received = following(iter(lambda: process.stdout.read(1), b""))  # type: ignore[union-attr]
            assert next(received) == Event("first")
            gate.open()
            assert [next(received).data, next(received).event] == ["second", "done"]
            assert list(received) == []
        assert process.returncode == 0
