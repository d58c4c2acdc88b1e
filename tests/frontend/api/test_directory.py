"""owt.frontend.api.directory: the list of endpoints as JSON and HTML."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import msgspec
import pytest

from owt.frontend.api import directory
from owt.frontend.api.directory import directory_page, entry_document
from owt.frontend.endpoints import Endpoints, Entry
from owt.testing import async_test
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
    assert table.register("k1", "dev", RegisterEndpoints(1, endpoints)) is None
    return table


def as_json(entry: Entry, base: str = "") -> dict[str, object]:
    document: dict[str, object] = msgspec.json.decode(msgspec.json.encode(entry_document(entry, base)))
    return document


def test_an_endpoints_document_has_all_that_a_call_needs(table):
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


def test_an_endpoint_that_is_gone_is_listed_with_the_reason(table):
    table.kernel_died("k1", "was restarted on request")
    greet = as_json(table.all()[0])
    assert (greet["state"], greet["reason"]) == ("gone", "the kernel was restarted on request")
    assert "gone: the kernel was restarted on request" in directory_page(table.all())


def test_the_page_links_endpoints_without_required_parameters_and_escapes_text(table):
    text = directory_page(table.all(), "/base")
    assert '<a href="/base/list">' in text
    assert "greet/{name}</a>" not in text
    assert "Say hello." in text
    assert "More." not in text
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;amp;" in text


def test_a_page_without_endpoints_has_a_notice():
    assert "There are no endpoints." in directory_page([])


@async_test
async def test_other_requests_continue_between_the_slices_of_a_document(monkeypatch):
    monkeypatch.setattr(directory, "SLICE", 0)
    order: list[str] = []

    def steps() -> Generator[None, None, str]:
        for step in "abc":
            order.append(step)
            yield
        return "document"

    async def other() -> None:
        for _ in range(3):
            order.append("other")
            await asyncio.sleep(0)

    result, _ = await asyncio.gather(directory.in_slices(steps()), other())
    assert (result, order) == ("document", ["a", "other", "b", "other", "c", "other"])
