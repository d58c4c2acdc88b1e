"""owt.frontend.logs: log records without secrets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import IO

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from owt.frontend import logs
from owt.frontend.logs import (
    MAX_CODE,
    JsonFormatter,
    TextFormatter,
    log_call,
    log_fault,
    one_line,
    remove_quotation,
    request_ids,
    summary,
)
from owt.testing.kernel import new_call
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Done, Stderr, Stdout


class Connection:
    """Connection with the attributes that HTTPServerRequest reads."""

    context = None

    def set_close_callback(self, callback: object) -> None:
        raise NotImplementedError


def request(uri: str) -> HTTPServerRequest:
    line = RequestStartLine("GET", uri, "HTTP/1.1")
    headers = HTTPHeaders({"Host": "localhost", "Authorization": "secret"})
    return HTTPServerRequest(connection=Connection(), start_line=line, headers=headers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("/", "GET /"),
        ("/a/b?secret=1&secret", "GET /a/b"),
        ("/a?secret?secret", "GET /a"),
        ("http://me:secret@host/a?secret", "GET /a"),
        ("http://me:secret@host", "GET /"),
        ("/a%3Fb", "GET /a%3Fb"),
        ("/" + "x" * 1000, f"GET /{'x' * 169} ... {'x' * 20}"),
    ],
)
def test_a_request_is_logged_by_method_and_path(uri: str, text: str) -> None:
    assert summary(request(uri)) == text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1 + 1", "'1 + 1'"),
        ("def run():\n    return 1\n", r"'def run():\n    return 1\n'"),
        ("\x1b[31mred", r"'\x1b[31mred'"),
    ],
)
def test_code_is_logged_on_one_line(code: str, text: str) -> None:
    assert one_line(code) == text


@pytest.mark.parametrize("code", ["x" * (MAX_CODE + 1), "\n" * 1000, "é\n" * 10_000_000])
def test_long_code_is_shortened(code: str) -> None:
    text = one_line(code)
    assert len(text) <= MAX_CODE
    assert " ... " in text
    assert "\n" not in text


def test_a_call_is_logged_with_its_code_adaptor_or_function(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "owt.calls"):
        log_call("r1", new_call("1 + 1", kwargs="{'secret': 1}"))
        log_call("r2", new_call(None, adaptor="speak", session="mine"))
        log_call("r3", new_call(None, fn_name="remember", session="mine"))
    assert caplog.messages == [
        "run r1 in session (pool): code '1 + 1'",
        "run r2 in session mine: adaptor speak",
        "run r3 in session mine: function remember",
    ]
    caplog.clear()
    with caplog.at_level(logging.INFO, "owt.calls"):
        log_call("r1", new_call("1 + 1"))
    assert caplog.messages == []


def test_an_uncaught_exception_is_logged_with_its_traceback_and_no_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        log_fault(request("/a?secret"), (type(error), error, error.__traceback__))
    assert "uncaught exception in GET /a\n" in caplog.text
    assert "ZeroDivisionError: by zero" in caplog.text
    assert "secret" not in caplog.text


def test_tornados_record_of_a_malformed_request_does_not_quote_it() -> None:
    arguments = ("10.0.0.1", ValueError("Invalid header value 'Bearer \\x01secret'"))
    text = "Malformed HTTP message from %s: %s"
    record = logging.LogRecord("tornado.general", logging.INFO, "", 0, text, arguments, None)
    assert remove_quotation(record)
    assert record.getMessage() == "Malformed HTTP message from 10.0.0.1"


def test_other_records_of_tornado_are_unchanged() -> None:
    record = logging.LogRecord("tornado.general", logging.INFO, "", 0, "error on read: %s", ("it's",), None)
    assert remove_quotation(record)
    assert record.getMessage() == "error on read: it's"


TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "ids"),
    [
        (("X-Request-ID", "a1-b2"), {"request_id": "a1-b2"}),
        (("x-request-id", "x" * 128), {"request_id": "x" * 128}),
        (("X-Request-ID", "x" * 129), {}),
        (("X-Request-ID", "a b"), {}),
        (("X-Request-ID", "\x1b[31m"), {}),
        (("X-Request-ID", ""), {}),
        (("traceparent", f"00-{TRACE}-{PARENT}-01"), {"trace_id": TRACE, "parent_id": PARENT}),
        (("traceparent", f"00-{TRACE.upper()}-{PARENT}-01"), {}),
        (("traceparent", f"00-{'0' * 32}-{PARENT}-01"), {}),
        (("traceparent", f"00-{TRACE}-{'0' * 16}-01"), {}),
        (("traceparent", TRACE), {}),
        (("Cookie", "secret"), {}),
    ],
)
def test_valid_ids_of_a_request_are_logged_and_nothing_else(header, ids) -> None:
    assert request_ids([header]) == ids


def test_a_record_has_the_ids_of_its_request_in_both_formats(caplog: pytest.LogCaptureFixture) -> None:
    headers = (("X-Request-ID", "a1"), ("Cookie", "secret"))
    call = Call(RequestFacts("GET", "/", "", headers, b"", "localhost"), code="1")
    with caplog.at_level(logging.DEBUG, "owt.calls"):
        log_call("r1", call)
    [record] = caplog.records
    text = "run r1 in session (pool): code '1'"
    assert TextFormatter("%(message)s").format(record) == f"{text} request_id=a1"
    document = json.loads(JsonFormatter().format(record))
    assert document.pop("time").endswith("Z")
    assert document == {
        "level": "debug", "logger": "owt.calls", "message": text,
        "run": "r1", "session": None, "request_id": "a1",
    }  # fmt: skip


def test_a_traceback_is_a_member_of_a_json_record() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
        record = logging.LogRecord("owt", logging.ERROR, "", 0, "failed %s", ("x",), info)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


class TestStderrThatIsNotRead:
    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, IO[str]]]:
        """Return the end of a pipe for reading, and a stream to the other end."""
        output, input = os.pipe()
        os.set_blocking(output, False)
        with os.fdopen(input, "w") as stream:
            yield output, stream
        os.close(output)

    @pytest.fixture
    def handler(self, pipe: tuple[int, IO[str]], monkeypatch: pytest.MonkeyPatch) -> logs.StderrHandler:
        monkeypatch.setattr(sys, "stderr", pipe[1])
        return logs.StderrHandler()

    def record(self, text: str) -> logging.LogRecord:
        return logging.LogRecord("owt", logging.INFO, "", 0, text, None, None)

    def test_records_wait_and_are_written_when_it_is_read_again(
        self, pipe: tuple[int, IO[str]], handler: logs.StderrHandler
    ) -> None:
        lines = [f"{number} " + "x" * 1000 for number in range(100)]
        for line in lines:
            handler.emit(self.record(line))
        text = b""
        while len(text) < 100_000:
            text += os.read(pipe[0], 1 << 20)
            handler.flush()
        assert text.decode().splitlines() == lines

    def test_records_beyond_the_limit_are_counted(
        self, pipe: tuple[int, IO[str]], handler: logs.StderrHandler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logs, "MAX_UNWRITTEN", 1000)
        for _ in range(100):
            handler.emit(self.record("x" * 10_000))
        text = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                text += os.read(pipe[0], 1 << 20)
                handler.flush()
        handler.emit(self.record("last"))
        missing, last = os.read(pipe[0], 1 << 20).decode().splitlines()
        assert re.fullmatch(r"\d+ records are missing here: stderr was not read", missing)
        assert text.count(b"\n") + int(missing.split()[0]) == 100
        assert last == "last"

    def test_an_event_loop_writes_the_rest(
        self, pipe: tuple[int, IO[str]], handler: logs.StderrHandler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logs, "RETRY", 0)

        async def read() -> int:
            handler.emit(self.record("x" * 200_000))
            size = 0
            while size < 200_001:
                with contextlib.suppress(BlockingIOError):
                    size += len(os.read(pipe[0], 1 << 20))
                await asyncio.sleep(0)
            return size

        assert asyncio.run(read()) == 200_001

    def test_a_full_device_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with open("/dev/full", "w") as full:
            monkeypatch.setattr(sys, "stderr", full)
            logs.StderrHandler().emit(self.record("x"))


class TestOutputLog:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [100.0]
        monkeypatch.setattr("owt.frontend.logs.time.monotonic", lambda: now[0])
        return now

    def test_each_line_of_output_is_a_record(
        self, caplog: pytest.LogCaptureFixture, clock: list[float]
    ) -> None:
        caplog.set_level(logging.INFO, logger="owt.calls")
        logs.OutputLog("id").write([Stdout("a\n\nb\n"), Done(200, 0.1), Stderr("c")])
        lines = ["run id stdout: a", "run id stdout: ", "run id stdout: b", "run id stderr: c"]
        assert caplog.messages == lines

    def test_lines_beyond_the_limit_of_a_second_are_counted(
        self, caplog: pytest.LogCaptureFixture, clock: list[float]
    ) -> None:
        caplog.set_level(logging.INFO, logger="owt.calls")
        log = logs.OutputLog("id")
        for _ in range(3):
            log.write([Stdout("x\n" * 100_000)])
        assert len(caplog.records) == logs.MAX_LINES
        clock[0] += 1
        log.write([Stdout("next\n")])
        assert f"{300_000 - logs.MAX_LINES} more lines" in caplog.messages[-2]
        assert caplog.messages[-1] == "run id stdout: next"
        log.write([Stdout("x\n" * (logs.MAX_LINES + 1))])
        log.close()
        log.close()
        assert "run id: 2 more lines" in caplog.messages[-1]
        assert len(caplog.records) == 2 * logs.MAX_LINES + 2

    def test_a_long_line_is_cut(self, caplog: pytest.LogCaptureFixture, clock: list[float]) -> None:
        caplog.set_level(logging.INFO, logger="owt.calls")
        log = logs.OutputLog("id")
        log.write([Stdout("x" * 10_000_000)])
        log.close()
        [message] = caplog.messages
        assert message == f"run id stdout: {'x' * (logs.MAX_LINE - 4)} ..."

    def test_output_that_is_not_logged_costs_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, logger="owt.calls")
        log = logs.OutputLog("id")
        log.write([Stdout("x\n" * 1000)])
        log.close()
        assert caplog.records == []
