"""owt.client.control: the server's own resources, over a client's connections."""

from __future__ import annotations

import json

import pytest
from recording_server import RecordingServer

from owt.client import Client
from owt.client.control import Control
from owt.errors import BadRequest, RemoteError, Unreachable

SESSIONS = {"sessions": [{"name": "mine", "state": "idle"}], "pool": []}


@pytest.fixture
def server():
    with RecordingServer() as server:
        yield server


@pytest.fixture
def control(server):
    with Client(server.url) as client:
        yield Control(client)


def as_json(document: object, status: int = 200, kind: str = "application/json") -> tuple[int, str, bytes]:
    return status, kind, json.dumps(document).encode()


def problem(status: int, **members: object) -> tuple[int, str, bytes]:
    return as_json({"status": status, **members}, status, "application/problem+json")


def test_each_method_requests_one_resource(server, control):
    server.responses = {
        ("GET", "/_owt/"): as_json({"version": "1"}),
        ("GET", "/_owt/sessions"): as_json(SESSIONS),
        ("GET", "/_owt/sessions/mine"): as_json({"name": "mine"}),
        ("PUT", "/_owt/sessions/mine"): as_json({"name": "mine"}),
        ("GET", "/_owt/endpoints"): as_json({"endpoints": []}),
        ("GET", "/_owt/endpoints?state=live"): as_json({"endpoints": []}),
        ("GET", "/_owt/runs"): as_json({"runs": []}),
        ("GET", "/_owt/runs?limit=2&session=mine"): as_json({"runs": []}),
        ("DELETE", "/_owt/sessions/mine"): (204, "application/json", b""),
        ("POST", "/_owt/sessions/mine/restart"): as_json({"name": "mine"}),
        ("POST", "/_owt/sessions/mine/interrupt"): as_json({"name": "mine"}, 202),
    }
    assert control.about() == {"version": "1"}
    assert control.sessions() == SESSIONS
    assert control.session("mine") == {"name": "mine"}
    assert control.start("mine") == {"name": "mine"}
    assert control.endpoints() == {"endpoints": []}
    assert control.endpoints("live") == {"endpoints": []}
    assert control.runs() == {"runs": []}
    assert control.runs(limit=2, session="mine") == {"runs": []}
    assert control.delete("mine") == {}
    assert control.restart("mine") == {"name": "mine"}
    assert control.interrupt("mine") == {"name": "mine"}
    assert [(method, path) for method, path, _ in server.requests] == list(server.responses)


def test_the_path_of_the_url_is_the_base_url(server):
    server.responses = {("GET", "/my/owt/_owt/sessions"): as_json(SESSIONS)}
    with Client(f"{server.url}/my/owt/") as client:
        assert Control(client).sessions() == SESSIONS


@pytest.mark.parametrize("name", ["", ".", "..", "../runs?x", "\udcff", "x" * 70_000])
def test_a_name_that_no_session_can_have_is_refused_without_a_request(server, control, name):
    for method in (control.session, control.start, control.delete, control.restart, control.interrupt):
        with pytest.raises(BadRequest, match="session: must be 1 to 64 letters"):
            method(name)
    assert server.requests == []


def test_the_clients_credentials_are_sent(server):
    server.responses = {("GET", "/_owt/sessions"): as_json(SESSIONS)}
    with Client(server.url, token="secret") as client:
        Control(client).sessions()
    assert server.requests[0][2] == "Bearer secret"


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (problem(404, title="no such session", detail="session: there is none"), "session: there is none"),
        (problem(404, title="no such session"), "no such session"),
        ((401, "text/html", b"<html>"), "the server answered 401: <html>"),
        ((401, "text/html", b""), "the server answered 401"),
    ],
)
def test_a_refusal_has_the_servers_message_and_status(server, control, response, message):
    server.responses = {("GET", "/_owt/sessions/mine"): response}
    with pytest.raises(RemoteError) as caught:
        control.session("mine")
    assert (str(caught.value), caught.value.status) == (message, response[0])


def test_a_refusal_without_credentials_names_the_options(server, control):
    server.responses = {("GET", "/_owt/sessions"): problem(401, detail="a password is needed")}
    with pytest.raises(RemoteError, match="a password is needed") as caught:
        control.sessions()
    [note] = caught.value.__notes__
    assert all(name in note for name in ("--auth", "--token", "OWT_CLIENT_AUTH", "OWT_CLIENT_TOKEN"))


@pytest.mark.parametrize(
    "response",
    [
        (200, "text/html", b"<html>hello</html>"),
        (200, "application/json", b"[1, 2]"),
        (200, "text/html", b"\xff"),
        (500, "text/plain", b"it broke\nin many lines\n"),
        (502, "text/html", b"<html>"),
    ],
)
def test_a_response_that_is_not_owts_is_unreachable(server, control, response):
    server.responses = {("GET", "/_owt/sessions"): response}
    with pytest.raises(Unreachable, match=f"is not an owt server; it says {response[0]}"):
        control.sessions()


def test_a_closed_port_is_unreachable(server, control):
    server.server_close()
    with pytest.raises(Unreachable, match=f"no server answers at {server.url}: .*; start one: owt serve"):
        control.sessions()


def test_the_environments_proxy_is_not_used_for_this_machine(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.responses = {("GET", "/_owt/sessions"): as_json(SESSIONS)}
    with Client(server.url) as client:
        assert Control(client).sessions() == SESSIONS
