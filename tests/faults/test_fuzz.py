"""Random bytes and mutated requests against a live server.

The seed and an exchange's number determine it completely. For a longer run, or another one:

    FUZZ_SEED=7 FUZZ_COUNT=50000 python -m pytest tests/faults/test_fuzz.py

A failure prints the seed, the number of the exchange and its bytes.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import strict_http
from fuzz_requests import KINDS, SEED, Exchange, exchange
from strict_http import Response

from owt.testing import Bystander, LiveServer, wait_until

COUNT = int(os.environ.get("FUZZ_COUNT", "2100"))
"""Number of exchanges, in three equal parts."""

WORKERS = 8
QUIET = 0.2
"""Seconds without data from the server after which the client closes its side."""
LIMIT = 15.0
"""Seconds within which the server must then end the connection."""

SESSIONS = ("bystander", "fuzz-1", "fuzz-2")
FAULT = b"this is a fault in owt's frontend"


def converse(port: int, what: Exchange) -> bytes:
    """Send the exchange and return all bytes received until the connection ends.

    Raises `TimeoutError` if the connection does not end after the client has closed its side.
    """
    received: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(what.sent)
            if what.ends:
                connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LIMIT if what.right or what.ends else QUIET)
        with contextlib.suppress(ConnectionError):
            while True:
                try:
                    piece = connection.recv(1 << 16)
                except TimeoutError:
                    if connection.gettimeout() == LIMIT:
                        raise
                    connection.settimeout(LIMIT)
                    connection.shutdown(socket.SHUT_WR)
                    continue
                if not piece:
                    break
                received.append(piece)
    return b"".join(received)


def judge(what: Exchange, received: bytes) -> None:
    """Raise `ValueError` for an answer that a server must not give."""
    try:
        answers = strict_http.responses(received, head=what.head)
    except ValueError:
        if not what.head:
            raise
        # A mutated request may no longer be HEAD.
        answers = strict_http.responses(received)
    for answer in answers:
        _check(answer)
    if what.right:
        if [answer.whole for answer in answers] != [True]:
            raise ValueError(f"{len(answers)} answers, or not all of it")
        if answers[0].header("connection") != ["close"]:
            raise ValueError(f"the connection was to be closed: {answers[0].headers}")


def _check(answer: Response) -> None:
    if FAULT in answer.body:
        raise ValueError("the server says that it is at fault")
    if answer.status == 500 and not answer.header("owt-run"):
        raise ValueError("500, and no adaptor did it")
    if answer.status not in (0, 200, 201, 202, 204, *range(400, 500), 500, 502, 503, 504):
        raise ValueError(f"status {answer.status}")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """Start a server for this file."""
    options = "--pool-min 1 --pool-max 1 --max-sessions 3 --resume-window 1 --kill-after 3"
    with LiveServer(*options.split()) as server:
        assert server.call("1").text == "1"
        yield server


def faults(log: str) -> list[str]:
    """Return the lines of a server's log that report a fault."""
    words = r"^\S+ \S+ [EC] .*$|^Traceback.*$|^.*Uncaught.*$|^.*never (?:awaited|retrieved).*$"
    return re.findall(words, log, re.MULTILINE)


def put_in_order(server: LiveServer) -> None:
    """End the sessions that the exchanges made or changed, and make the original ones again."""
    for session in server.ask("GET", "/_owt/sessions").json()["sessions"]:
        if session["name"] != "bystander":
            server.ask("DELETE", f"/_owt/sessions/{session['name']}")
    for name in SESSIONS:
        assert server.call("1", session=name).text == "1"
    wait_until(lambda: at_rest(server))


def at_rest(server: LiveServer) -> bool:
    """Return whether all sessions and both kernels of the pool, one used and one fresh, are idle."""
    listed = server.ask("GET", "/_owt/sessions").json()
    states = {session["state"] for session in (*listed["sessions"], *listed["pool"])}
    return states == {"idle"} and len(listed["pool"]) == 2


def settled(server: LiveServer) -> dict[str, object]:
    """Return the figures that must not grow."""
    health = server.ask("GET", "/_owt/health").json()
    kept = {name: health[name] for name in ("status", "sessions", "pool", "runs")}
    return {**kept, "descriptors": len(list(Path(f"/proc/{server.pid}/fd").iterdir()))}


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_requests_get_valid_http_and_disturb_no_session(server: LiveServer, kind: str) -> None:
    put_in_order(server)
    before = settled(server)

    def one(number: int) -> str | None:
        what = exchange(kind, number)
        received = b""
        try:
            received = converse(server.port, what)
            judge(what, received)
        except (ValueError, OSError) as error:
            sent = what.sent if len(what.sent) < 3000 else what.sent[:1500] + b" ... " + what.sent[-1500:]
            return f"seed {SEED}, {kind} {number}: {error!r}\nsent {sent!r}\nreceived {received[:3000]!r}"
        return None

    with Bystander(server) as other, ThreadPoolExecutor(WORKERS) as workers:
        failures = [failure for failure in workers.map(one, range(COUNT // len(KINDS))) if failure]
    assert failures == [], "\n\n".join(failures[:5])
    assert other.calls > 0
    assert server.call("1 + 1").text == "2"
    put_in_order(server)
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: settled(server) == before)
    assert settled(server) == before
    assert faults(server.log()) == []


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_strict_reader_splits_received_bytes_into_answers() -> None:
    received = b"HTTP/1.1 100 (Continue)\r\n\r\n" + WHOLE + CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    received += b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\nto the end"
    responses = strict_http.responses(received)
    assert [(answer.status, answer.body) for answer in responses] == [
        (200, b"ab"), (200, b"abc"), (204, b""), (400, b"to the end"),
    ]
    for length in range(1, len(WHOLE)):
        responses = strict_http.responses(CHUNKED + b"0\r\n\r\n" + WHOLE[:length])
        assert [answer.whole for answer in responses] == [True, False]
    assert strict_http.responses(WHOLE[:-2], head=True) == [Response(200, (("content-length", "2"),), b"")]


@pytest.mark.parametrize(
    "received",
    [
        b"200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        WHOLE + b"x",
        WHOLE.replace(b": 2", b": two"),
        WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"),
        WHOLE.replace(b"\r\n\r\n", b"\r\nA: b\0\r\n\r\n"),
        WHOLE.replace(b"\r\n\r\n", b"\r\nA : b\r\n\r\n"),
        WHOLE.replace(b"\r\n", b"\n"),
        CHUNKED + b"x\r\n",
        CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
        CHUNKED.replace(b"chunked", b"gzip"),
        CHUNKED.replace(b"200 OK", b"204 No Content") + b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\n\r\nab",
    ],
)
def test_strict_reader_refuses_invalid_http(received: bytes) -> None:
    with pytest.raises(ValueError, match=r"no |a response|a chunk|a 204"):
        strict_http.responses(received)
