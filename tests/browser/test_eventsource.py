"""Chromium's EventSource over a connection that is cut: it reconnects and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from selenium import webdriver
from tcp_proxy import TcpProxy

from owt.testing import Gate, LiveServer, wait_until

# The page follows the URL after `#`.
PAGE = """
def run(): return '''<!doctype html><title>events</title><script>
window.events = [];
const source = new EventSource(decodeURIComponent(location.hash.slice(1)));
const note = (event) => events.push([event.type, event.data, event.lastEventId]);
for (const name of ["message", "stdout", "result", "done", "tick"]) source.addEventListener(name, note);
source.addEventListener("error", (event) => event.data && note(event));
window.state = () => source.readyState;
</script>'''
"""
CLOSED = 2


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("--resume-window", "1m", "--run-journal", "64KiB", "--window", "16KiB") as server:
        yield server


@pytest.fixture
def between(server: LiveServer) -> Iterator[TcpProxy]:
    with TcpProxy(server.port) as forwarder:
        yield forwarder


class Listening:
    """A page whose EventSource listens to a call."""

    def __init__(self, browser: webdriver.Chrome, between: TcpProxy, code: str, session: str) -> None:
        self._browser = browser
        source = "/?" + urlencode({"code": code, "session": session})
        browser.get("about:blank")
        browser.get(f"{between.url}/?{urlencode({'code': PAGE})}#{source.replace('%', '%25')}")

    @property
    def events(self) -> list[list[str]]:
        events: list[list[str]] = self._do("return window.events")
        return events

    @property
    def texts(self) -> list[str]:
        return [data for _, data, _ in self.events]

    def closed(self) -> bool:
        return bool(self._do("return state()") == CLOSED)

    def _do(self, script: str) -> Any:
        return self._browser.execute_script(script)


def test_eventsource_reconnects_to_the_same_run_and_stops_at_its_end(
    chromium: webdriver.Chrome, server: LiveServer, between: TcpProxy, gate: Gate
) -> None:
    code = (
        "def run():\n    state.runs = getattr(state, 'runs', 0) + 1\n    print('begun')\n"
        f"    for n in range(3):\n        yield {{'n': n}}\n        {gate.wait}\n"
    )
    page = Listening(chromium, between, code, "back")
    texts = ["begun\n"]
    for n in range(3):
        texts.append(f'{{"n":{n}}}')
        wait_until(lambda: page.texts == texts)
        assert between.cut() >= 1
        gate.open()
    wait_until(lambda: len(page.events) == 5)
    assert [name for name, _, _ in page.events] == ["stdout", "message", "message", "message", "done"]
    assert [id.rpartition("-")[2] for _, _, id in page.events] == ["1", "2", "3", "4", "5"]
    # The server ends the connection, the browser reconnects, and gets 204.
    wait_until(page.closed)
    assert len(page.events) == 5
    assert server.call("state.runs", session="back").text == "1"


def test_events_sent_during_a_disconnect_are_not_lost(
    chromium: webdriver.Chrome, server: LiveServer, between: TcpProxy, gate: Gate
) -> None:
    code = f"def run():\n    yield 'first'\n    {gate.wait}\n    for n in range(2000): yield f'{{n}} ' * 10\n"
    page = Listening(chromium, between, code, "away")
    wait_until(lambda: page.texts == ["first"])
    gate.open()
    between.cut()
    wait_until(lambda: len(page.events) == 2002)
    assert page.texts[1:-1] == [f"{n} " * 10 for n in range(2000)]


def test_adaptors_own_event_stream_is_resumed(
    chromium: webdriver.Chrome, server: LiveServer, between: TcpProxy, gate: Gate
) -> None:
    code = (
        "def run():\n    state.runs = getattr(state, 'runs', 0) + 1\n"
        "    def body():\n        yield 'event: tick\\ndata: 1\\n\\ndata: ha'\n"
        f"        {gate.wait}\n        yield 'lf\\n\\n'\n"
        "    return body(), {'Content-Type': 'text/event-stream'}\n"
    )
    page = Listening(chromium, between, code, "own")
    wait_until(lambda: page.texts == ["1"])
    between.cut()
    gate.open()
    wait_until(page.closed)
    assert page.texts == ["1", "half"]
    assert server.call("state.runs", session="own").text == "1"


def test_stream_without_events_is_not_run_again(
    chromium: webdriver.Chrome, server: LiveServer, between: TcpProxy
) -> None:
    code = (
        "def run():\n    state.runs = getattr(state, 'runs', 0) + 1\n"
        "    return iter(()), {'Content-Type': 'text/event-stream'}\n"
    )
    page = Listening(chromium, between, code, "none")
    wait_until(page.closed)
    assert page.events == []
    assert server.call("state.runs", session="none").text == "1"


def test_lost_events_are_reported_once_and_nothing_runs_again(
    chromium: webdriver.Chrome, server: LiveServer, between: TcpProxy, gate: Gate
) -> None:
    code = (
        "def run():\n    state.runs = getattr(state, 'runs', 0) + 1\n    yield 'first'\n"
        f"    {gate.wait}\n    for n in range(100): yield str(n) * 1000\n"
    )
    page = Listening(chromium, between, code, "lost")
    wait_until(lambda: page.texts == ["first"])
    run = page.events[0][2].rpartition("-")[0]
    # Another reader reads so much that the journal drops the position of the first before it reconnects.
    with httpx.stream("GET", f"{server.url}/_owt/runs/{run}/events") as other:
        pieces = other.iter_raw()
        assert next(pieces)
        between.close()
        gate.open()
        assert b"event: done" in b"".join(pieces)
    between.open()
    wait_until(page.closed)
    assert [name for name, _, _ in page.events] == ["message", "error"]
    assert json.loads(page.texts[1])["title"] == "the events are lost"
    assert server.call("state.runs", session="lost").text == "1"
