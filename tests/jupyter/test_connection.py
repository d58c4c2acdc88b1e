"""owt.jupyter.connection: the server and the session of a notebook, in words."""

from __future__ import annotations

import json

import pytest
from recording_server import RecordingServer

from owt.client import Client
from owt.errors import RemoteError, Unreachable
from owt.jupyter.connection import Connection, NotebookServer

ABOUT = {"version": "1.0", "links": []}
SESSION = {"name": "tour", "state": "idle", "kernel": "owt", "pid": 7, "calls": 1, "restarts": 0}


@pytest.fixture
def server():
    with RecordingServer() as server:
        server.responses["GET", "/_owt/"] = as_json(ABOUT)
        yield server


def as_json(document: object, status: int = 200) -> tuple[int, str, bytes]:
    kind = "application/json" if status < 400 else "application/problem+json"
    return status, kind, json.dumps(document).encode()


def test_a_connection_without_a_session_shows_that_calls_use_the_pool(server):
    connection = Connection(Client(server.url))
    description = f"owt 1.0 at {server.url}, no session: each call borrows an idle kernel"
    assert connection.description() == description
    connection.client.close()


@pytest.mark.parametrize(
    ("session", "description"),
    [
        (SESSION, "session tour: idle, kernel owt, pid 7, 1 call"),
        ({**SESSION, "calls": 2, "pid": None}, "session tour: idle, kernel owt, 2 calls"),
        (
            {**SESSION, "restarts": 1, "last_death": "exited with status 3"},
            "session tour: idle, kernel owt, pid 7, 1 call, restarted: exited with status 3",
        ),
        ({**SESSION, "restarts": 1}, "session tour: idle, kernel owt, pid 7, 1 call, restarted: on request"),
    ],
)
def test_a_session_is_described_by_its_kernel(server, session, description):
    server.responses["GET", "/_owt/sessions/tour"] = as_json(session)
    connection = Connection(Client(server.url), "tour")
    assert connection.description() == f"owt 1.0 at {server.url}, {description}"
    connection.client.close()


def test_a_session_that_does_not_exist_starts_with_the_first_call(server):
    server.responses["GET", "/_owt/sessions/tour"] = as_json({"title": "no such session"}, 404)
    connection = Connection(Client(server.url), "tour")
    assert connection.description().endswith("session tour: new, its kernel starts with the first call")
    connection.client.close()


def test_the_path_of_an_adaptor_is_not_a_servers_url(server):
    server.responses["GET", "/a/b/_owt/"] = as_json({"title": "not found"}, 404)
    connection = Connection(Client(f"{server.url}/a/b"))
    with pytest.raises(RemoteError) as caught:
        connection.description()
    assert caught.value.__notes__ == ["%owt needs the server's own URL; /a/b is not its --base-url"]
    connection.client.close()


def test_credentials_are_sent_with_each_request(server):
    connection = Connection(Client(server.url, auth="ada:se:cret"))
    connection.description()
    assert server.requests == [("GET", "/_owt/", "Basic YWRhOnNlOmNyZXQ=")]
    connection.client.close()


def test_session_names_are_those_of_the_server(server):
    server.responses["GET", "/_owt/sessions"] = as_json({"sessions": [SESSION], "pool": [{"state": "idle"}]})
    connection = Connection(Client(server.url))
    assert connection.session_names() == ["tour"]
    connection.client.close()


@pytest.mark.parametrize("options", [["--token", "0123456789abcdef"], ["--token=0123456789abcdef"]])
def test_a_notebooks_server_runs_with_its_options_until_it_is_stopped(options):
    server = NotebookServer(["--pool-max", "1", *options])
    assert (server.token, server.is_running) == ("0123456789abcdef", True)
    connection = Connection(Client(server.url, token=server.token))
    assert f" at {server.url}, " in connection.description()
    server.stop()
    assert not server.is_running
    with pytest.raises(Unreachable):
        connection.description()
    connection.client.close()
