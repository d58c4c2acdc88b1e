"""Problem documents of the frontend's errors."""

from __future__ import annotations

import json

import pytest

from owt.errors import BadRequest, Busy, KernelDied, KernelNotReady, NoSuchSession, OwtError
from owt.frontend.problems import Problem, WholeResponse, problem_response
from owt.wire.chunk import Failed

TEXT = ("Content-Type", "text/plain; charset=utf-8")
JSON = ("Content-Type", "application/problem+json")
VARY = ("Vary", "Accept")


def test_a_problem_has_every_member() -> None:
    failed = Failed(500, "exception", "the adaptor raised", "é", "ValueError", "Traceback ...\n")
    assert json.loads(Problem.of(failed, "r1", "s").json()) == {
        "type": "urn:owt:exception",
        "title": "the adaptor raised",
        "status": 500,
        "detail": "é",
        "exception": "ValueError",
        "traceback": "Traceback ...\n",
        "run": "r1",
        "session": "s",
    }
    assert json.loads(Problem.of(Failed(504, "timeout", "t", "d")).json()) == {
        "type": "urn:owt:timeout",
        "title": "t",
        "status": 504,
        "detail": "d",
        "exception": "",
        "traceback": "",
        "run": None,
        "session": None,
    }


@pytest.mark.parametrize(
    ("failed", "text"),
    [
        (Failed(500, "exception", "t", "d", "E", "Traceback\nE: d\n\n"), b"Traceback\nE: d\n"),
        (Failed(500, "exception", "t", "d", "E", "Traceback"), b"Traceback\n"),
        (Failed(504, "timeout", "t", "d"), b"t: d\n"),
        (Failed(504, "timeout", "t", ""), b"t\n"),
    ],
)
def test_a_problem_as_text_is_its_traceback_or_title_and_detail(failed: Failed, text: bytes) -> None:
    assert Problem.of(failed).text() == text


@pytest.mark.parametrize(
    ("error", "response"),
    [
        (
            BadRequest("code", "is missing", hint="Send it"),
            WholeResponse(400, [TEXT, VARY], b"bad request: code: is missing. Send it\n"),
        ),
        (
            Busy("the queue is full", 7),
            WholeResponse(503, [TEXT, VARY, ("Retry-After", "7")], b"busy: the queue is full\n"),
        ),
        (
            KernelDied("ended by signal 9"),
            WholeResponse(502, [TEXT, VARY], b"the kernel died: ended by signal 9\n"),
        ),
    ],
)
def test_an_error_before_a_run_is_a_whole_response(error: OwtError, response: WholeResponse) -> None:
    assert problem_response(error) == response


@pytest.mark.parametrize(
    ("error", "type", "status"),
    [
        (BadRequest("code", "is missing"), "urn:owt:bad-request", 400),
        (NoSuchSession("session", "is unknown"), "urn:owt:no-such-session", 404),
        (Busy("full"), "urn:owt:busy", 503),
        (KernelDied("gone"), "urn:owt:kernel-died", 502),
        (KernelNotReady("slow"), "urn:owt:kernel-not-ready", 502),
        (OwtError("?"), "urn:owt:owt-error", 500),
    ],
)
def test_an_error_before_a_run_is_a_problem_document_if_accept_prefers_json(
    error: OwtError, type: str, status: int
) -> None:
    answer = problem_response(error, "application/json", session="s")
    extra = [("Retry-After", "1")] if isinstance(error, Busy) else []
    assert answer.status == status
    assert answer.headers == [JSON, VARY, ("Owt-Session", "s"), *extra]
    assert answer.body.endswith(b"}\n")
    assert json.loads(answer.body) == {
        "type": type,
        "title": error.title,
        "status": status,
        "detail": str(error),
        "exception": "",
        "traceback": "",
        "run": None,
        "session": "s",
    }


def test_an_answer_that_is_the_last_of_its_connection_says_so() -> None:
    head, _, body = problem_response(Busy("full")).encode().partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert line == "HTTP/1.1 503 Service Unavailable"
    assert {"Connection: close", "Retry-After: 1", f"Content-Length: {len(body)}"} <= set(headers)
    assert body == b"busy: full\n"
