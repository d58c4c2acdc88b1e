"""owt.frontend.http.responses: rendering of chunks as an ordinary response."""

from __future__ import annotations

import json

import pytest

from owt.frontend.http.responses import Plain
from owt.frontend.problems import Headers
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Stderr, Stdout

TEXT = ("Content-Type", "text/plain; charset=utf-8")
VARY = ("Vary", "Accept")
HTML = ("Content-Type", "text/html; charset=utf-8")
JSON = ("Content-Type", "application/json")
STREAM = ("Content-Type", "text/event-stream")
RUN = ("Owt-Run", "r1")
UNBUFFERED = [("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")]
NOISE = (Stdout("a"), Stderr("b"), Display({"text/plain": "c"}))
NAME_RULE = "a header's name has only letters, digits and !#$%&'*+-.^_`|~"
VALUE_RULE = (
    "a header's value has no line break, NUL or other control character, and no character outside Latin-1"
)
FAILED = Failed(500, "exception", "the adaptor raised", "no", "ValueError", "Traceback\nValueError: no")
PROBLEM = {
    "type": "urn:owt:exception",
    "title": "the adaptor raised",
    "status": 500,
    "detail": "no",
    "exception": "ValueError",
    "traceback": "Traceback\nValueError: no",
    "run": "r1",
    "session": None,
}


def plain(
    *chunks: Chunk, accept: str = "*/*", session: str | None = None
) -> tuple[int, Headers, bytes, bool]:
    """Render a whole run, and return its status, headers and body, and True if it was aborted."""
    answer = Plain(accept, "r1", session)
    body = b"".join(piece for chunk in chunks for piece in answer.render(chunk))
    assert answer.started
    assert answer.finished or answer.aborted
    return answer.status, answer.headers, body, answer.aborted


def head(*headers: tuple[str, str], status: int = 200) -> Head:
    return Head(status, headers)


def test_a_returned_text_is_the_body() -> None:
    answer = plain(head(HTML), Data("é".encode(), "text", result=True), Done(200, 0.1))
    assert answer == (200, [HTML, RUN], b"\xc3\xa9", False)


def test_json_ends_in_a_newline_in_one_piece_or_several() -> None:
    chunks = (Data(b'{"a', "json", True, True), Data(b'":1}', "json", True))
    assert plain(head(JSON), *chunks, Done(200, 0)) == (200, [JSON, RUN], b'{"a":1}\n', False)


def test_a_stream_sends_items_unchanged_and_json_as_lines() -> None:
    items = (Data(b"a", "text"), *NOISE, Data(b"\xff", "bytes"), Data(b"1", "json"), Data(b"[]", "json"))
    assert plain(*NOISE, head(HTML), *items, Done(200, 0)) == (200, [HTML, RUN], b"a\xff1\n[]\n", False)


def test_a_missing_value_is_an_empty_body() -> None:
    assert plain(head(HTML), Done(200, 0)) == (200, [HTML, RUN], b"", False)
    assert plain(Done(200, 0)) == (200, [RUN], b"", False)


@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_body(status: int) -> None:
    chunks = (head(HTML, ("Content-Length", "3"), status=status), Data(b"abc", "text"), Done(status, 0))
    assert plain(*chunks) == (status, [HTML, RUN], b"", False)


def test_the_response_starts_with_the_first_data_and_not_with_the_head() -> None:
    answer = Plain("*/*", "r1", "s")
    assert answer.render(head(TEXT, status=201)) == []
    assert answer.started is False
    assert answer.render(Data(b"x", "text")) == [b"x"]
    assert (answer.started, answer.finished) == (True, False)
    assert (answer.status, answer.headers) == (201, [TEXT, RUN, ("Owt-Session", "s")])
    assert answer.render(Done(201, 0)) == []
    assert answer.finished is True


def test_data_is_not_copied() -> None:
    body = bytes(1000)
    [piece] = Plain("*/*", "r1", None).render(Data(body, "bytes"))
    assert piece is body


def test_a_kernel_cannot_send_more_headers_than_an_answer_has() -> None:
    plain = Plain("*/*", "r1", None)
    [body] = plain.render(Head(200, (("X-A", "1"),) * 1_000_000))
    assert plain.status == 500
    assert b"at most 500 headers; got 1000000" in body
    assert ("X-A", "1") not in plain.headers


def test_headers_that_the_server_sets_are_dropped() -> None:
    headers = (
        ("Connection", "close"),
        ("keep-alive", "timeout=5"),
        ("Transfer-Encoding", "chunked"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Upgrade", "h2c"),
        ("Proxy-Authenticate", "Basic"),
        ("Server", "x"),
        ("Date", "now"),
        ("Owt-Run", "forged"),
        ("owt-session", "forged"),
        ("Set-Cookie", "a=1"),
        ("Content-Type", "text/css"),
        ("Set-Cookie", "b=2"),
        ("X-Name", " é "),
        HTML,
    )
    kept = [HTML, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Name", "é")]
    assert plain(Head(200, headers), Done(200, 0)) == (200, [*kept, RUN], b"", False)


def test_latin1_headers_are_unchanged() -> None:
    _, headers, _, _ = plain(head(("X-Name", "é")), Done(200, 0))
    assert headers == [("X-Name", "é"), RUN]


@pytest.mark.parametrize(
    ("data", "length", "kept"),
    [
        (Data(b"abc", "bytes"), "3", True),
        (Data(b"abc", "bytes", True, True), " 3 ", True),
        (Data(b"abc", "bytes", True), "3", False),
        (Data(b"abc", "bytes"), "-3", False),
        (Data(b"abc", "bytes"), "3, 3", False),
        (Data(b"abc", "bytes"), "²", False),
        (Data(b"abc", "bytes"), "", False),
    ],
)
def test_a_content_length_is_kept_for_streams_only(data: Data, length: str, kept: bool) -> None:
    promised = [("Content-Length", "3")] if kept else []
    chunks = (head(HTML, ("content-length", length)), data, Done(200, 0))
    assert plain(*chunks) == (200, [HTML, RUN, *promised], b"abc", False)


@pytest.mark.parametrize(
    ("broken", "detail"),
    [
        (Head(99, ()), "the status must be from 200 to 599, not 99"),
        (Head(101, ()), "the status must be from 200 to 599, not 101"),
        (Head(600, ()), "the status must be from 200 to 599, not 600"),
        (head(("X Y", "1")), f"header 'X Y': {NAME_RULE}"),
        (head(("", "1")), f"header '': {NAME_RULE}"),
        (head(("X", "a\r\nB: c")), f"header X: {VALUE_RULE}; got 'a\\r\\nB: c'. Percent-encode it"),
        (head(("X", "\0")), f"header X: {VALUE_RULE}; got '\\x00'. Percent-encode it"),
        (head(("X", "日")), f"header X: {VALUE_RULE}; got '日'. Percent-encode it"),
    ],
)
def test_an_invalid_head_is_an_error(broken: Head, detail: str) -> None:
    text = f"the adaptor's answer is not HTTP: {detail}\n".encode()
    chunks = (broken, Data(b"secret", "text"), FAILED, Done(200, 0))
    assert plain(*chunks) == (500, [TEXT, VARY, RUN], text, False)


@pytest.mark.parametrize("before", [(), NOISE, (head(HTML, ("Set-Cookie", "a=1"), status=201),)])
def test_a_failure_before_any_data_is_an_error_response(before: tuple[Chunk, ...]) -> None:
    answer = plain(*before, FAILED, Done(500, 0), session="s")
    headers = [TEXT, VARY, RUN, ("Owt-Session", "s")]
    assert answer == (500, headers, b"Traceback\nValueError: no\n", False)


def test_a_failure_after_status_204_has_a_body() -> None:
    answer = plain(head(status=204), FAILED, Done(500, 0))
    assert answer == (500, [TEXT, VARY, RUN], b"Traceback\nValueError: no\n", False)


def test_a_failure_is_a_problem_document_if_the_client_accepts_json() -> None:
    status, headers, body, aborted = plain(FAILED, Done(500, 0), accept="application/json")
    assert (status, aborted) == (500, False)
    assert headers == [("Content-Type", "application/problem+json"), VARY, RUN]
    assert body.endswith(b"}\n")
    assert json.loads(body) == PROBLEM


@pytest.mark.parametrize("last", [Data(b"x", "text"), FAILED, Done(200, 0)])
def test_headers_appended_before_the_first_chunk_are_in_every_response(last: Chunk) -> None:
    answer = Plain("*/*", "r1", None)
    answer.headers.append(("Owt-Cache", "miss"))
    for chunk in (head(HTML), last):
        answer.render(chunk)
    assert answer.headers == [*([TEXT, VARY] if last is FAILED else [HTML]), RUN, ("Owt-Cache", "miss")]


def test_a_busy_response_has_retry_after() -> None:
    _, headers, _, _ = plain(Failed(503, "busy", "busy", "full"), Done(503, 0.0))
    assert ("Retry-After", "1") in headers


def test_a_failure_after_data_aborts_the_response() -> None:
    chunks = (head(HTML), Data(b"abc", "text"), FAILED, Data(b"def", "text"), Done(500, 0))
    assert plain(*chunks) == (200, [HTML, RUN], b"abc", True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((STREAM,), [STREAM, *UNBUFFERED]),
        (
            (("content-type", "Text/Event-Stream; charset=utf-8"), ("cache-control", "no-store")),
            [
                ("Content-Type", "Text/Event-Stream; charset=utf-8"),
                ("Cache-Control", "no-store"),
                ("X-Accel-Buffering", "no"),
            ],
        ),
    ],
)
def test_an_adaptors_own_event_stream_is_not_buffered_by_proxies(
    headers: tuple[tuple[str, str], ...], expected: Headers
) -> None:
    chunks = (Head(200, headers), Data(b"data: x\n", "text"), Stdout("no"), Data(b"\n", "text"), Done(200, 0))
    assert plain(*chunks) == (200, [*expected, RUN], b"data: x\n\n", False)
