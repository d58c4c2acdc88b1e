"""owt.frontend.api.directory: the endpoints as JSON and for people."""

from __future__ import annotations

import msgspec
import pytest

from owt.frontend.api.directory import page, show
from owt.frontend.endpoints import Endpoints, Entry
from owt.wire.endpoint import Endpoint, Parameter
from owt.wire.messages import RegisterEndpoints

TEXT = Parameter("text", "field", '{"type":"string"}', True)
NAME = Parameter("name", "path", "{}", True)
TIMES = Parameter("times", "field", '{"type":"integer"}', False, "1")


@pytest.fixture
def table() -> Endpoints:
    table = Endpoints()
    endpoints = (
        Endpoint("/greet/{name}", ("GET", "POST"), "greet", "Say hello.\n\nMore.", (NAME, TIMES)),
        Endpoint("/list", ("GET",), "all", "<b>&amp;", (TIMES,)),
    )
    assert table.offer("k1", "dev", RegisterEndpoints(1, endpoints)) is None
    return table


def as_json(entry: Entry, base: str = "") -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(msgspec.json.encode(show(entry, base)))
    return found


def test_an_endpoint_is_shown_with_all_that_is_needed_to_call_it(table):
    greet = as_json(table.all()[0], "/base")
    assert {key: greet[key] for key in ("path", "methods", "session", "state", "reason", "function")} == {
        "path": "/base/greet/{name}",
        "methods": ["GET", "POST"],
        "session": "dev",
        "state": "live",
        "reason": None,
        "function": "greet",
    }
    assert greet["parameters"] == [
        {"name": "name", "in": ["path"], "required": True, "schema": {}},
        {
            "name": "times",
            "in": ["query", "body"],
            "required": False,
            "schema": {"type": "integer"},
            "default": 1,
        },
    ]


def test_what_is_gone_is_shown_with_the_reason(table):
    table.lost("k1", "was restarted on request")
    greet = as_json(table.all()[0])
    assert (greet["state"], greet["reason"]) == ("gone", "the kernel was restarted on request")
    assert "gone: the kernel was restarted on request" in page(table.all())


def test_the_page_links_to_what_a_link_can_call_and_escapes_the_rest(table):
    text = page(table.all(), "/base")
    assert '<a href="/base/list">' in text
    assert "greet/{name}</a>" not in text
    assert "Say hello." in text
    assert "More." not in text
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;amp;" in text


def test_a_page_without_endpoints_says_so():
    assert "There are none." in page([])
