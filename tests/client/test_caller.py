"""owt.client.caller: the base URL of a server."""

from __future__ import annotations

import httpx
import pytest

from owt.client.caller import Caller
from owt.server import Server

CURRENT = "http://127.0.0.1:9876"
RUN = {"Owt-Run": "r1"}


@pytest.fixture(autouse=True)
def _current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_announced", Server.from_url(f"{CURRENT}/owt"))


def run_urls(url: str | None, *responses: httpx.Response) -> list[str]:
    """Return the URL of a run before the first response, and after each of these."""
    caller = Caller(url)
    urls = [caller._control_url("runs/r1")]
    for response in responses:
        before = urls[-1]
        assert caller._update_base(response) == (caller._control_url("runs/r1") != before)
        urls.append(caller._control_url("runs/r1"))
    return urls


def test_the_base_url_of_the_current_server_is_known() -> None:
    for url in (None, f"{CURRENT}/owt/", f"{CURRENT}/owt/a/b"):
        assert run_urls(url) == [f"{CURRENT}/owt/_owt/runs/r1"]


def test_the_base_url_of_another_server_comes_from_its_responses() -> None:
    answer = httpx.Response(200, headers={**RUN, "Owt-Base": "/x"})
    assert run_urls("http://h/x/a", answer) == ["http://h/_owt/runs/r1", "http://h/x/_owt/runs/r1"]


def test_a_response_without_a_base_url_means_the_root() -> None:
    assert run_urls("http://h/a/b", httpx.Response(200, headers=RUN)) == ["http://h/_owt/runs/r1"] * 2


def test_a_stranger_at_the_root_makes_the_whole_path_the_base_url() -> None:
    stranger = httpx.Response(404, headers={"Content-Type": "text/html"})
    assert run_urls("http://h/x/", stranger)[-1] == "http://h/x/_owt/runs/r1"
    problem = httpx.Response(404, headers={"Content-Type": "application/problem+json"})
    assert run_urls("http://h/a/", problem)[-1] == "http://h/_owt/runs/r1"


def test_a_proxys_error_keeps_the_known_base_url() -> None:
    known = httpx.Response(200, headers={**RUN, "Owt-Base": "/x"})
    stranger = httpx.Response(502, headers={"Content-Type": "text/html"})
    assert run_urls("http://h/x/a", known, stranger)[-1] == "http://h/x/_owt/runs/r1"


def test_control_over_a_unix_socket_uses_an_http_url() -> None:
    assert run_urls("http+unix://%2Frun%2Fowt/a") == ["http://owt/_owt/runs/r1"]
