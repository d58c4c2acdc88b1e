"""The type of an answer: by the Accept header, by the declared result, and by what the adaptor does."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from owt.testing import LiveServer

SESSION = "negotiation"
JSON, HTML, EVENTS, PROBLEM = "application/json", "text/html", "text/event-stream", "application/problem+json"
MCP = f"{JSON}, {EVENTS}"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

ENDPOINTS = """
from typing import Literal
@endpoint("/negotiation/number")
def number() -> int: return 5
@endpoint("/negotiation/flag")
def flag() -> bool: return True
@endpoint("/negotiation/optional")
def optional(x: float | None = None) -> float | None: return x
@endpoint("/negotiation/mixed")
def mixed(x: str) -> int | str: return x
@endpoint("/negotiation/text")
def text(x: str = "hi") -> str: return x
@endpoint("/negotiation/choice")
def choice() -> Literal["a", "b"]: return "a"
@endpoint("/negotiation/tuple")
def status() -> int: return 5, 201
@endpoint("/negotiation/own")
def own() -> int: return 5, {"Content-Type": "text/csv"}
@endpoint("/negotiation/undeclared")
def undeclared(): return 5
@endpoint("/negotiation/failing")
def failing(x: int = 1) -> int: raise ValueError(x)
"""


@pytest.fixture(scope="module")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        client.post("/", data={"session": SESSION, "code": ENDPOINTS}).raise_for_status()
        yield client


def kind(response: httpx.Response) -> str:
    return response.headers["content-type"].partition(";")[0]


@pytest.mark.parametrize(
    ("path", "accept", "expected"),
    [
        ("number", "*/*", (JSON, "5\n")),
        ("number", JSON, (JSON, "5\n")),
        ("number", f"{HTML};q=0.5, {JSON}", (JSON, "5\n")),
        ("number", BROWSER, (HTML, "5")),
        ("flag", "*/*", (JSON, "true\n")),
        ("optional", "*/*", (JSON, "null\n")),
        ("optional?x=1.5", "*/*", (JSON, "1.5\n")),
        ("mixed?x=a", "*/*", (JSON, '"a"\n')),
        ("text", "*/*", (HTML, "hi")),
        ("text", JSON, (JSON, '"hi"\n')),
        ("text", f"{HTML}, {JSON}", (HTML, "hi")),
        ("text", f"{PROBLEM}, */*", (HTML, "hi")),
        ("number", f"{PROBLEM}, text/*", (HTML, "5")),
        ("choice", JSON, (JSON, '"a"\n')),
        ("tuple", "*/*", (JSON, "5\n")),
        ("own", BROWSER, ("text/csv", "5")),
        ("undeclared", "*/*", (HTML, "5")),
        ("undeclared", JSON, (JSON, "5\n")),
    ],
)
def test_a_declared_scalar_is_answered_in_the_form_that_the_client_prefers(
    http: httpx.Client, path: str, accept: str, expected: tuple[str, str]
) -> None:
    response = http.get(f"/negotiation/{path}", headers={"Accept": accept})
    assert (kind(response), response.text) == expected
    assert ("vary" in response.headers) == (path != "own")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "failing", 500),
        ("GET", "failing?x=a", 422),
        ("GET", "failing?session=other", 400),
        ("PUT", "failing", 405),
    ],
)
def test_errors_of_endpoints_are_problem_documents_unless_text_is_preferred(
    http: httpx.Client, method: str, path: str, status: int
) -> None:
    for accept, expected in (("*/*", PROBLEM), (JSON, PROBLEM), (BROWSER, "text/plain")):
        response = http.request(method, f"/negotiation/{path}", headers={"Accept": accept})
        assert (response.status_code, kind(response)) == (status, expected)
        assert response.headers["vary"] == "Accept"


def test_errors_of_other_calls_are_text_unless_json_is_preferred(http: httpx.Client) -> None:
    for accept, expected in (("*/*", "text/plain"), (JSON, PROBLEM)):
        response = http.get("/", params={"code": "1/0"}, headers={"Accept": accept})
        assert (kind(response), response.headers["vary"]) == (expected, "Accept")


@pytest.mark.parametrize(
    ("code", "accept", "expected"),
    [
        ("{'a': 1}", MCP, JSON),
        ("{'a': 1}", f"{EVENTS}, {JSON}", EVENTS),
        ("def run():\n print('x' * 100_000)\n return {'a': 1}", MCP, JSON),
        ("def run():\n print('x')\n yield 1", MCP, EVENTS),
        ("async def run():\n yield 1", f"{EVENTS};q=0.1, {JSON}", EVENTS),
        ("def run():\n print('x')\n yield 1", JSON, "application/x-ndjson"),
        ("1/0", MCP, PROBLEM),
    ],
)
def test_events_are_sent_if_they_are_preferred_or_the_adaptor_streams(
    http: httpx.Client, code: str, accept: str, expected: str
) -> None:
    response = http.get("/", params={"code": code}, headers={"Accept": accept})
    assert kind(response) == expected
    if "print" in code and expected == EVENTS:
        # Nothing that came before the first item is missing.
        assert response.text.index("event: stdout") < response.text.index("data: 1") < len(response.text)
        assert "event: done" in response.text


def test_a_client_that_accepts_events_of_a_stream_resumes_it(http: httpx.Client) -> None:
    params = {"code": "(n for n in range(3))"}
    first = http.get("/", params=params, headers={"Accept": MCP})
    last = {"Last-Event-ID": f"{first.headers['owt-run']}-1"}
    rest = http.get("/", params=params, headers={"Accept": MCP, **last})
    assert [line for line in rest.text.split("\n") if line.startswith("data")][:2] == ["data: 1", "data: 2"]
