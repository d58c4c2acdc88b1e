"""owt.client.answers: decoded responses and errors."""

from __future__ import annotations

import pickle
import traceback

import httpx
import pytest

from owt.client.answers import converted, decoded, failure, run_failure
from owt.errors import RemoteError, UnexpectedValue

PROBLEM = (
    b'{"type":"urn:owt:exception","title":"the adaptor raised ZeroDivisionError","status":500,'
    b'"detail":"division by zero","exception":"ZeroDivisionError","traceback":"Traceback ...\\nZero",'
    b'"run":"0123","session":"s"}\n'
)


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("application/json", b'{"a":[1,null]}\n', {"a": [1, None]}),
        ("Application/JSON; charset=utf-8", b"3", 3),
        ("application/vnd.vega+json", b"[]", []),
        ("application/json", b"not json", "not json"),
        ("application/x-ndjson", b'{"a":"x\xc2\x85y"}\n\n2\n', [{"a": "x\x85y"}, 2]),
        ("application/x-ndjson", b'{"a":1}\ntoken', '{"a":1}\ntoken'),
        ("text/html; charset=utf-8", "ö".encode(), "ö"),
        ('text/plain; charset="latin-1"', b"\xf6", "ö"),
        ("text/plain; charset=nonsense", b"x", b"x"),
        ("text/html", b"\xff\x00", b"\xff\x00"),
        ("text/csv", b"a,b\r\n", "a,b\r\n"),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
        ("image/png", b"\x89PNG", b"\x89PNG"),
        ("audio/wav", b"RIFF", b"RIFF"),
        ("application/octet-stream", b"", b""),
        ("text/html", b"", ""),
        ("", b"", None),
        ("", b"x", b"x"),
    ],
)
def test_a_response_is_decoded_by_its_content_type(kind, body, value):
    assert decoded(kind, body) == value


@pytest.mark.parametrize(
    ("returns", "value"),
    [
        *((str, ""), (str | None, ""), (int | None, None), (type(None), None), (list[int], [])),
        *((tuple[int, ...], ()), (list[int] | None, None)),
    ],
)
def test_an_empty_response_is_none_or_a_stream_without_items_for_types_that_are_no_text(returns, value):
    assert converted(decoded("text/html", b""), returns) == value


def test_an_empty_response_is_no_number():
    with pytest.raises(UnexpectedValue, match="Expected `int`, got `str`; got ''"):
        converted("", int)


def test_a_problem_document_becomes_an_exception_with_all_its_members():
    error = failure(500, httpx.Headers({"content-type": "application/problem+json"}), PROBLEM)
    assert (error.type, error.status, error.title) == (
        "urn:owt:exception", 500, "the adaptor raised ZeroDivisionError",
    )  # fmt: skip
    assert (error.exception, error.detail) == ("ZeroDivisionError", "division by zero")
    assert (error.traceback, error.run, error.session) == ("Traceback ...\nZero", "0123", "s")
    assert str(error) == "ZeroDivisionError: division by zero"
    assert "The remote traceback:\nTraceback ..." in "".join(traceback.format_exception(error))


def test_a_remote_error_can_be_pickled():
    error = failure(500, httpx.Headers({"content-type": "application/problem+json"}), PROBLEM)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.traceback, again.__notes__) == (str(error), error.traceback, error.__notes__)


def test_an_adaptors_own_error_response_is_the_detail():
    headers = httpx.Headers({"content-type": "text/plain", "owt-run": "0123", "owt-session": "s"})
    error = failure(418, headers, b"I am a teapot\n")
    assert str(error) == "the adaptor answered 418: I am a teapot"
    assert (error.status, error.run, error.session, error.traceback) == (418, "0123", "s", "")
    assert str(failure(500, headers, b"\xff")) == "the adaptor answered 500: 1 bytes"


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ({"title": "timed out", "detail": "the call ran too long", "status": 504}, "the call ran too long"),
        ({"title": "timed out"}, "timed out"),
        ({"exception": "KeyError", "detail": ""}, "KeyError"),
        ({}, "the call failed"),
    ],
)
def test_the_message_of_an_error_has_its_exception_and_detail(problem, text):
    assert str(RemoteError(problem)) == text


def test_a_failure_whose_text_is_in_json_has_the_text():
    error = failure(418, {"Content-Type": "application/json", "Owt-Run": "0123"}, b'"no tea"\n')
    assert str(error) == "the adaptor answered 418: no tea"
    error = failure(418, {"Content-Type": "application/json", "Owt-Run": "0123"}, b'{"tea":null}\n')
    assert str(error) == 'the adaptor answered 418: {"tea":null}'


def test_a_runs_failure_is_the_error_of_its_broken_response():
    message = {"type": "exception", "title": "t", "detail": "d", "exception": "E", "traceback": "T"}
    error = run_failure({"id": "0123", "session": None, "status": 500, "failure": message})
    assert error is not None
    assert (error.type, str(error), error.run, error.traceback) == ("urn:owt:exception", "E: d", "0123", "T")
    assert run_failure({"id": "0123", "failure": None}) is None
    assert run_failure({}) is None
