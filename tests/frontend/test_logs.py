"""owt.frontend.logs: log records without secrets."""

from __future__ import annotations

import logging

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from owt.frontend.logs import MAX_CODE, log_call, log_fault, one_line, remove_quotation, summary
from owt.testing.kernel import new_call


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
