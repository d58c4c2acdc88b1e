from __future__ import annotations

import json

import pytest
from recording_server import RecordingServer

from owt.client.control import Refused, Remote, Unreachable
from owt.errors import BadRequest, ConfigError

SESSIONS = {"sessions": [{"name": "mine", "state": "idle"}], "pool": []}


@pytest.fixture
def operated():
    with RecordingServer() as server:
        yield server


def as_json(document: object, status: int = 200) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(document).encode()


def test_each_method_asks_for_one_resource(operated):
    operated.answers = {
        ("GET", "/_owt/sessions"): as_json(SESSIONS),
        ("GET", "/_owt/sessions/mine"): as_json({"name": "mine"}),
        ("GET", "/_owt/endpoints"): as_json({"endpoints": []}),
        ("DELETE", "/_owt/sessions/mine"): (204, "application/json", b""),
        ("POST", "/_owt/sessions/mine/restart"): as_json({"name": "mine"}),
        ("POST", "/_owt/sessions/mine/interrupt"): as_json({"name": "mine"}, 202),
    }
    remote = Remote(operated.url)
    assert remote.sessions() == SESSIONS
    assert remote.session("mine") == {"name": "mine"}
    assert remote.endpoints() == {"endpoints": []}
    assert remote.delete("mine") == {}
    assert remote.restart("mine") == {"name": "mine"}
    assert remote.interrupt("mine") == {"name": "mine"}
    assert [(method, path) for method, path, _ in operated.asked] == list(operated.answers)


def test_a_name_cannot_leave_its_place_in_the_path(operated):
    operated.answers = {("GET", "/_owt/sessions/..%2Fruns%3Fx"): as_json({"detail": "a bad name"}, 400)}
    with pytest.raises(Refused, match="a bad name"):
        Remote(operated.url).session("../runs?x")


@pytest.mark.parametrize("name", ["", ".", "..", "\udcff", "x" * 70_000])
def test_a_name_that_no_path_can_have_is_refused_and_not_asked_for(operated, name):
    remote = Remote(operated.url)
    for ask in (remote.session, remote.ready, remote.delete, remote.restart, remote.interrupt):
        with pytest.raises(BadRequest, match="no session can have this name"):
            ask(name)
    assert operated.asked == []


def test_it_says_who_asks(operated):
    operated.answers = {("GET", "/_owt/sessions"): as_json(SESSIONS)}
    Remote(operated.url, {"Authorization": "Bearer secret"}).sessions()
    assert operated.asked[0][2] == "Bearer secret"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            as_json({"title": "no such session", "detail": "session: there is none"}, 404),
            "session: there is none",
        ),
        (as_json({"title": "no such session"}, 404), "no such session"),
        ((500, "text/plain", b"it broke\nin many lines\n"), "it broke"),
        ((502, "text/html", b"<html>"), "the server answered 502 Bad Gateway"),
        ((500, "text/plain", b""), "the server answered 500 Internal Server Error"),
    ],
)
def test_a_refusal_carries_the_servers_message(operated, answer, message):
    operated.answers = {("GET", "/_owt/sessions/mine"): answer}
    with pytest.raises(Refused) as caught:
        Remote(operated.url).session("mine")
    assert str(caught.value) == message
    assert caught.value.code == answer[0]


def test_without_a_password_it_says_how_to_give_one(operated):
    operated.answers = {("GET", "/_owt/sessions"): (401, "text/plain", b"a password is needed")}
    with pytest.raises(Refused, match="a password is needed; give --auth user:password or --token TOKEN, or"):
        Remote(operated.url).sessions()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[1, 2]", b"\xff"])
def test_another_kind_of_server_is_not_taken_for_owt(operated, body):
    operated.answers = {("GET", "/_owt/sessions"): (200, "text/html", body)}
    with pytest.raises(Unreachable, match="is not an owt server"):
        Remote(operated.url).sessions()


def test_where_nothing_listens_it_is_unreachable(operated):
    url = operated.url
    operated.server_close()
    with pytest.raises(Unreachable, match=f"no server answers at {url}: .*; start one: owt serve"):
        Remote(url).sessions()


def test_a_proxy_does_not_stand_before_this_machine(operated, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    operated.answers = {("GET", "/_owt/sessions"): as_json(SESSIONS)}
    assert Remote(operated.url).sessions() == SESSIONS


def test_a_bad_url_is_refused_at_once():
    with pytest.raises(ConfigError, match="--url: give a URL such as"):
        Remote("127.0.0.1:9876")
