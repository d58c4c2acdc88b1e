"""Chromium's WebSocket: messages in both directions, the codes of its end, and the guard of other origins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from selenium import webdriver

from owt.testing import LiveServer

CONVERSE = """
const [url, protocols, messages, count, done] = arguments;
const socket = new WebSocket(url, protocols);
socket.binaryType = "arraybuffer";
const received = [];
socket.onopen = () => messages.forEach((message) => socket.send(message));
socket.onmessage = ({ data }) => {
  received.push(typeof data === "string" ? data : [...new Uint8Array(data)]);
  if (received.length === count) socket.close();
};
socket.onclose = ({ code, reason }) => done([received, code, reason]);
"""
ECHO = "def run():\n  for message in request.messages: yield message"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer() as server:
        yield server


def converse(
    browser: webdriver.Chrome, server: LiveServer, code: str, *messages: str, events: bool = False,
    count: int = -1,
) -> Any:
    """Return what the page's WebSocket receives, and code and reason of its end; it closes after `count`."""
    url = f"{server.url.replace('http', 'ws', 1)}/?{urlencode({'code': code})}"
    return browser.execute_async_script(CONVERSE, url, ["owt.events"] * events, messages, count)


def test_a_page_of_the_server_converses_with_a_call(chromium: webdriver.Chrome, server: LiveServer) -> None:
    chromium.get(server.url)
    assert converse(chromium, server, ECHO, "one", "two", count=2)[0] == ["one", "two"]
    code = "def run():\n  yield b'bytes'\n  raise ValueError('bad')"
    assert converse(chromium, server, code) == [[list(b"bytes")], 1011, "ValueError: bad"]
    received, end, _ = converse(chromium, server, "1 + 1", '{"start": true}', events=True)
    assert ([len(received), end], '"data":2' in received[1]) == ([3, 1000], True)
    assert converse(chromium, server, "1 +")[1] == 4400


def test_a_page_of_another_origin_cannot_connect(chromium: webdriver.Chrome, server: LiveServer) -> None:
    chromium.get("about:blank")
    assert converse(chromium, server, ECHO, "one", count=1)[:2] == [[], 1006]
