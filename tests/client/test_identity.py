"""owt.client.request: credentials of a client."""

from __future__ import annotations

import pytest
from recording_server import RecordingServer

from owt.client import AsyncClient, Client
from owt.client.request import authorization
from owt.errors import ConfigError


@pytest.mark.parametrize(
    ("auth", "token", "header"),
    [
        (("ada", "se:cret"), None, "Basic YWRhOnNlOmNyZXQ="),
        (("ключ", ""), None, "Basic 0LrQu9GO0Yc6"),
        (None, "abc-._~+/=", "Bearer abc-._~+/="),
    ],
)
def test_credentials_become_an_authorization_header(auth, token, header):
    assert authorization(auth, token) == {"Authorization": header}


def test_no_credentials_give_no_header():
    assert authorization(None, None) == {}


@pytest.mark.parametrize(
    ("auth", "token"),
    [(("a", "secret"), "secret"), (None, ""), (None, "a secret"), (None, "secret\r\nX: y"), (None, "sécret")],
)
def test_credentials_that_cannot_be_sent_are_refused_without_showing_them(auth, token):
    with pytest.raises(ConfigError, match=r"^token: ") as caught:
        authorization(auth, token)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "arguments", "sent"),
    [
        ("", {"token": "abc"}, "Bearer abc"),
        ("", {"auth": "ada:secret"}, "Basic YWRhOnNlY3JldA=="),
        ("ada:secret@", {}, "Basic YWRhOnNlY3JldA=="),
        ("eve:x@", {"token": "abc"}, "Bearer abc"),
        ("eve:x@", {"auth": "ada:secret"}, "Basic YWRhOnNlY3JldA=="),
        ("", {}, None),
    ],
)
def test_a_clients_arguments_precede_the_credentials_of_its_url(place, arguments, sent):
    with RecordingServer() as server:
        server.responses["GET", "/_owt/runs/1"] = (200, "application/json", b"{}")
        url = f"http://{place}127.0.0.1:{server.server_port}"
        with Client(url, **arguments) as client:
            client.run("1")
    assert server.requests == [("GET", "/_owt/runs/1", sent)]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_refuses_auth_and_token_together(kind):
    with pytest.raises(ConfigError, match="auth or token, not both"):
        kind("http://127.0.0.1:9", auth="a:b", token="abc")
