"""Messages for running calls, and the answers to their `input()`, by real clients."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from owt.testing import LiveServer
from owt.testing.waiting import PATIENCE

ECHO = """
def run(**kwargs):
    for message in request.messages:
        yield f"{message!r}\\n"
    yield len(request.get_data()) > 10**5
"""
ECHO_ASYNC = """
async def run(**kwargs):
    async for message in request.messages:
        yield f"{message!r}\\n"
    yield len(request.get_data()) > 10**5
"""


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        yield client


def detached(http: httpx.Client, session: str, code: str, **fields: Any) -> str:
    """Begin a detached run, and return its id."""
    fields = {"session": session, "code": code, "detach": True, **fields}
    return str(http.post("/", json=fields).headers["Owt-Run"])


def curl(server: LiveServer, run: str, *options: str, query: str = "") -> str:
    command = ["curl", "-sS", "-X", "POST", *options, f"{server.url}/_owt/runs/{run}/input{query}"]
    return subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE, check=True, text=True).stdout


@pytest.mark.parametrize("code", [ECHO, ECHO_ASYNC])
@pytest.mark.parametrize("large", [False, True])
def test_curl_sends_messages_to_a_call(
    server: LiveServer, http: httpx.Client, session: str, code: str, large: bool
) -> None:
    kwargs = {"kwargs": {"padding": "x" * 10**5}} if large else {}
    run = detached(http, session, code, **kwargs)
    assert curl(server, run, "-d", "one é") == f'{{"run":"{run}","received":1}}\n'
    assert '"received":2' in curl(server, run, "-d", "two", "-H", "Owt-Input: 2")
    assert '"received":2' in curl(server, run, "-d", "two", "-H", "Owt-Input: 2")
    assert '"received":3' in curl(
        server, run, "--data-binary", "three", "-H", "Content-Type: application/octet-stream"
    )
    assert "409" in curl(server, run, "-d", "5", "-H", "Owt-Input: 5", "-w", "%{http_code}")
    assert '"received":3' in curl(server, run, query="?end=1")
    answer = http.get(f"/_owt/runs/{run}/answer").text
    assert answer.splitlines() == ["'one é'", "'two'", "b'three'", str(large).lower()]
    assert "409" in curl(server, run, "-d", "late", "-w", "%{http_code}")


def test_a_large_body_is_read_between_messages(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    code = """
        def run(padding):
            first = next(request.messages)
            size = len(request.get_data())
            return [first, size > 10**5, next(request.messages), request.get_json()["session"]]
    """
    run = detached(http, session, textwrap.dedent(code), kwargs={"padding": "x" * 10**5})
    for message in ("a", "b"):
        curl(server, run, "-d", message)
    assert http.get(f"/_owt/runs/{run}/answer").json() == ["a", True, "b", session]
