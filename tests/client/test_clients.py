"""owt.client.clients: requests, responses and reconnections of both clients, without a server.

A scripted transport takes the place of httpx's connections. Each test runs with the blocking client and
with the asynchronous one.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from owt.client import (
    AsyncClient,
    CannotSend,
    Client,
    Event,
    RemoteError,
    UnexpectedValue,
    Unreachable,
    following,
)

URL = "http://127.0.0.1:9876"
RUN = "0123456789abcdef"
STREAM = {"Owt-Run": RUN, "Content-Type": "text/event-stream"}
CUT = httpx.ReadError("cut")


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Body of a response in pieces; an exception among them is raised at its place."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


class Transport(httpx.MockTransport):
    """Transport that records requests and gives the responses of a list, in order."""

    def __init__(self, *responses: httpx.Response | Exception) -> None:
        self.responses = list(responses)
        self.requests: list[httpx.Request] = []
        super().__init__(self._respond)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self.responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    @property
    def lines(self) -> list[str]:
        """Method and URL of each request, without the server."""
        return [f"{request.method} {str(request.url).removeprefix(URL)}" for request in self.requests]


class Blocking:
    """The blocking client over a transport."""

    def __init__(self, transport: Transport, **options: Any) -> None:
        self.client = Client(URL, **options)
        self.client._http = httpx.Client(transport=transport, headers=self.client._authorization)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.call(*args, **kwargs)

    def run(self, id: str) -> dict[str, Any]:
        return self.client.run(id)

    def close(self) -> None:
        self.client.close()

    def events(self, code: str, count: int | None = None) -> list[Event]:
        """Read all events of a call, or leave it after `count`."""
        events: list[Event] = []
        with closing(self.client.stream(code)) as stream:
            for event in stream:
                events.append(event)
                if len(events) == count:
                    break
        return events


class Asynchronous:
    """The asynchronous client over a transport."""

    def __init__(self, transport: Transport, **options: Any) -> None:
        self.client = AsyncClient(URL, **options)
        self.client._http = httpx.AsyncClient(transport=transport, headers=self.client._authorization)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(self.client.call(*args, **kwargs))

    def run(self, id: str) -> dict[str, Any]:
        return asyncio.run(self.client.run(id))

    def close(self) -> None:
        asyncio.run(self.client.aclose())

    def events(self, code: str, count: int | None = None) -> list[Event]:
        async def read() -> list[Event]:
            events: list[Event] = []
            async with aclosing(self.client.stream(code)) as stream:
                async for event in stream:
                    events.append(event)
                    if len(events) == count:
                        break
            return events

        return asyncio.run(read())


@pytest.fixture(params=[Blocking, Asynchronous])
def new_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a client of either kind, which does not wait before it reconnects."""
    monkeypatch.setattr(following, "DELAYS", (0.0, 0.0))
    return request.param


def text(body: bytes, kind: str = "text/plain", status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(
        status, headers={"Owt-Run": RUN, "Content-Type": kind, **headers}, stream=Body(body)
    )


def document(members: object, status: int = 200, **headers: str) -> httpx.Response:
    kind = "application/json" if status < 400 else "application/problem+json"
    return httpx.Response(status, headers={"Content-Type": kind, **headers}, stream=Body(encoded(members)))


def encoded(members: object) -> bytes:
    return json.dumps(members).encode()


def events(*pieces: bytes | Exception, **headers: str) -> httpx.Response:
    return httpx.Response(200, headers={**STREAM, **headers}, stream=Body(*pieces))


def message(number: int) -> bytes:
    return f"id: {RUN}-{number}\ndata: {number}\n\n".encode()


def done(number: int) -> bytes:
    return f'id: {RUN}-{number}\nevent: done\ndata: {{"status": 200, "seconds": 0.1}}\n\n'.encode()


# Calls


def test_a_call_is_a_post_of_json_and_its_response_is_decoded(new_client):
    transport = Transport(document({"sum": 3}, **{"Owt-Run": RUN}))
    client = new_client(transport, session="tour", token="abc")
    assert client.call("lambda a: a", a=[1, 2]) == {"sum": 3}
    [request] = transport.requests
    assert transport.lines == ["POST /"]
    assert json.loads(request.content) == {
        "code": "lambda a: a",
        "kwargs": {"a": [1, 2]},
        "session": "tour",
    }
    assert request.headers["Authorization"] == "Bearer abc"
    assert request.headers["Accept"].endswith("application/json;q=0.9, */*;q=0.8")


def test_an_array_is_a_part_of_a_form_and_comes_back_as_an_array(new_client):
    array = np.arange(3)
    buffer = io.BytesIO()
    np.save(buffer, array)
    response = text(buffer.getvalue(), "application/x-npy", **{"Owt-Value": "array"})
    transport = Transport(response, text(buffer.getvalue(), "application/x-npy"))
    client = new_client(transport)
    assert client.call("lambda x: x", x=array, n=1).tolist() == [0, 1, 2]
    [request] = transport.requests
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert request.headers["Accept"].startswith("application/problem+json, application/x-npy")
    assert b'name="kwargs.x"; filename="x"' in request.content
    assert b'name="kwargs"\r\n\r\n{"n":1}' in request.content


def test_a_caller_who_chooses_the_representation_gets_its_bytes(new_client):
    client = new_client(Transport(text(b"npy", "application/x-npy", **{"Owt-Value": "array"})))
    client.client = client.client.with_options(accept="application/x-npy")
    assert client.call("1") == b"npy"


@pytest.mark.parametrize("options", [{"method": "GET"}, {"kwargs": "{}"}])
def test_parts_are_refused_where_they_cannot_be_sent(new_client, options):
    transport = Transport()
    client = new_client(transport)
    client.client = client.client.with_options(**options)
    with pytest.raises(CannotSend, match=r"as an argument of its own, by POST|give one of them"):
        client.call("1", x=b"")
    assert transport.requests == []


def test_an_adaptors_own_error_status_is_a_remote_error(new_client):
    client = new_client(Transport(text(b"short and stout", status=418)))
    with pytest.raises(RemoteError, match="the adaptor answered 418: short and stout"):
        client.call("1")


def test_a_problem_document_is_a_remote_error_with_the_traceback(new_client):
    problem = {"title": "the code failed", "exception": "KeyError", "detail": "'x'", "traceback": "Trace"}
    client = new_client(Transport(document(problem, 500, **{"Owt-Run": RUN})))
    with pytest.raises(RemoteError, match="KeyError: 'x'") as caught:
        client.call("1")
    assert caught.value.traceback == "Trace"


def test_a_response_without_a_run_is_not_owts(new_client):
    response = httpx.Response(200, headers={"Content-Type": "text/html"}, stream=Body(b"<html>"))
    with pytest.raises(Unreachable, match="is not an owt server; it says 200 '<html>'"):
        new_client(Transport(response)).call("1")


def test_a_failed_connection_is_unreachable(new_client):
    with pytest.raises(Unreachable, match=r"no server answers at .*: refused; start one: owt serve"):
        new_client(Transport(httpx.ConnectError("refused"))).call("1")


@pytest.mark.parametrize(("kwargs", "has_remedy"), [({}, True), ({"data": iter([b"x"])}, False)])
def test_a_lost_connection_advises_retry_for_what_can_be_sent_again(new_client, kwargs, has_remedy):
    # A call whose id the client has chosen sends its body by HTTP.
    client = new_client(Transport(CUT))
    client.client = client.client.with_options(headers={"Owt-Run": RUN})
    with pytest.raises(Unreachable, match="no server answers") as lost:
        client.call("1", **kwargs)
    assert ("the option retry" in str(lost.value)) == has_remedy


def test_the_reason_of_a_broken_response_is_requested_from_the_server(new_client):
    broken = httpx.Response(200, headers={"Owt-Run": RUN}, stream=Body(b"one", CUT))
    failure = {"id": RUN, "status": 500, "failure": {"type": "exception", "exception": "ZeroDivisionError"}}
    transport = Transport(broken, document(failure))
    with pytest.raises(RemoteError, match="ZeroDivisionError"):
        new_client(transport).call("1")
    assert transport.lines == ["POST /", f"GET /_owt/runs/{RUN}"]


def test_a_broken_response_of_a_run_without_a_failure_is_unreachable(new_client):
    broken = httpx.Response(200, headers={"Owt-Run": RUN}, stream=Body(b"one", CUT))
    with pytest.raises(Unreachable, match=r"the response from http.* broke off: cut"):
        new_client(Transport(broken, document({"failure": None}))).call("1")


@dataclass
class Sum:
    sum: int


@pytest.mark.parametrize(
    ("body", "kind", "returns", "value"),
    [
        (b"42", "text/plain", int, 42),
        (b"0.5", "text/plain", float, 0.5),
        (b"True", "text/plain", bool, True),
        (b"42", "text/plain", str, "42"),
        (b"\0", "image/png", bytes, b"\0"),
        (b'{"sum": 3}', "application/json", Sum, Sum(3)),
        (b"[1, 2]", "application/json", set[int], {1, 2}),
        (b'{"sum": 3}\n{"sum": 4}\n', "application/x-ndjson", list[Sum], [Sum(3), Sum(4)]),
    ],
)
def test_a_call_returns_the_type_that_its_caller_gives(new_client, body, kind, returns, value):
    assert new_client(Transport(text(body, kind))).call("1", returns) == value


@pytest.mark.parametrize(
    ("body", "kind", "returns", "message"),
    [
        (b"forty", "text/plain", int, r"the value: Expected `int`, got `str`; got 'forty'"),
        (b'["1"]', "application/json", list[int], r"the value: Expected `int`, .*\$\[0\]"),
        (b'{"sums": 3}', "application/json", Sum, "missing required field `sum`"),
    ],
)
def test_a_value_of_another_type_is_unexpected(new_client, body, kind, returns, message):
    with pytest.raises(UnexpectedValue, match=message):
        new_client(Transport(text(body, kind))).call("1", returns)


def test_an_argument_without_its_name_is_refused_before_the_call(new_client):
    transport = Transport()
    with pytest.raises(
        CannotSend, match=r"the type of its value; got 21. Arguments .* are keyword arguments"
    ):
        new_client(transport).call("lambda n: n", 21)
    assert transport.requests == []


def test_a_request_has_no_limit_of_time_for_its_response(new_client):
    transport = Transport(text(b"1"))
    new_client(transport).call("1")
    [request] = transport.requests
    assert request.extensions["timeout"] == {"connect": 5.0, "read": None, "write": None, "pool": None}


# Events


def test_a_stream_ends_with_the_servers_done(new_client):
    transport = Transport(events(message(1) + message(2)[:5], message(2)[5:] + done(3)))
    names = [(event.name, event.id) for event in new_client(transport).events("1")]
    assert names == [("message", f"{RUN}-1"), ("message", f"{RUN}-2"), ("done", f"{RUN}-3")]
    assert len(transport.requests) == 1


def test_a_lost_connection_is_resumed_after_the_last_event(new_client):
    transport = Transport(
        events(message(1), CUT), httpx.ConnectError("refused"), events(message(2) + done(3))
    )
    assert [event.data for event in new_client(transport).events("1")][:2] == ["1", "2"]
    resumption = f"GET /_owt/runs/{RUN}/events?after=1"
    assert transport.lines == ["POST /", resumption, resumption]


def test_a_connection_that_stays_lost_is_unreachable_after_the_last_attempt(new_client):
    refused = httpx.ConnectError("refused")
    # Two attempts to resume, the request for the run's failure, and the cancellation.
    transport = Transport(events(message(1), CUT), refused, refused, refused, refused)
    with pytest.raises(Unreachable, match="refused"):
        new_client(transport).events("1")
    assert transport.lines[1:3] == [f"GET /_owt/runs/{RUN}/events?after=1"] * 2
    assert len(transport.lines) == 4


def test_a_failure_in_the_stream_is_raised_without_a_resumption(new_client):
    error = b'event: error\ndata: {"title": "t", "status": 500, "detail": "broken"}\n\n'
    transport = Transport(events(message(1) + error))
    with pytest.raises(RemoteError, match="broken"):
        new_client(transport).events("1")
    assert transport.lines == ["POST /"]


def test_no_content_ends_an_adaptors_own_stream(new_client):
    own = events(b"data: a\n\n")
    transport = Transport(own, httpx.Response(204, headers={"Owt-Run": RUN}))
    assert [event.data for event in new_client(transport).events("1")] == ["a"]
    assert transport.lines == ["POST /", f"GET /_owt/runs/{RUN}/events?after=0"]


def test_leaving_a_stream_cancels_its_run(new_client):
    transport = Transport(events(message(1), message(2)), document({}))
    assert len(new_client(transport).events("1", count=1)) == 1
    assert transport.lines == ["POST /", f"DELETE /_owt/runs/{RUN}"]


def test_leaving_a_stream_that_others_may_share_cancels_nothing(new_client):
    transport = Transport(events(message(1), message(2), **{"Owt-Cache": "joined"}))
    assert len(new_client(transport).events("1", count=1)) == 1
    assert transport.lines == ["POST /"]


def test_a_cancellation_that_fails_is_not_an_error(new_client):
    transport = Transport(events(message(1), message(2)), httpx.ConnectError("gone"))
    assert len(new_client(transport).events("1", count=1)) == 1


# The server's own resources


def test_a_run_is_requested_again_at_the_base_url_that_a_refusal_names(new_client):
    refusal = document({"title": "not found", "status": 404}, 404, **{"Owt-Base": "/my/owt"})
    transport = Transport(refusal, document({"id": RUN}))
    assert new_client(transport).run(RUN) == {"id": RUN}
    assert transport.lines == [f"GET /_owt/runs/{RUN}", f"GET /my/owt/_owt/runs/{RUN}"]


def test_a_run_that_is_unknown_is_a_remote_error(new_client):
    transport = Transport(document({"title": "no such run", "status": 404}, 404))
    with pytest.raises(RemoteError, match="no such run"):
        new_client(transport).run("x")
    assert len(transport.requests) == 1


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_repr_of_a_client_has_its_url_and_options_without_secrets(kind):
    client = kind("http://ada:secret@h:1/a?key=secret", session="tour", token="secret")
    secrets = {"X-Key": "secret"}
    private = {"headers": secrets, "kwargs": "dict(key='secret')", "env": secrets}
    other = client.with_options(timeout=5, reload=True, **private)
    assert repr(client) == f"{kind.__name__}('http://h:1/a', session='tour')"
    assert repr(other) == f"{kind.__name__}('http://h:1/a', session='tour', timeout=5, reload=True)"


def test_options_share_the_connections_of_their_client():
    client = Client(URL)
    assert client.with_options(timeout=3)._http is client._http
    client.close()
    assert client._http.is_closed


def test_a_closed_client_names_itself_and_sends_nothing(new_client):
    transport = Transport()
    caller = new_client(transport)
    caller.close()
    kind = type(caller.client).__name__
    for use in (lambda: caller.call("1"), lambda: caller.run(RUN), lambda: caller.events("1")):
        with pytest.raises(CannotSend, match=rf"^{kind}\('{URL}/'\) is closed; make a new one"):
            use()
    assert transport.requests == []
