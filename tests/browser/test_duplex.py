"""Calls that owt.js talks to from Chromium: other origins, credentials, limits, and cuts under load."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from chromium import OWT
from selenium import webdriver
from tcp_proxy import TcpProxy

from owt.testing import LiveServer, wait_until

TOKEN = "0123456789abcdef"
RUN = """
const [owt, url, options, body, done] = arguments;
import(owt).then(async ({ Client }) => {
  const all = (stream) => Array.fromAsync(stream);
  const failure = (promise) => promise.then(() => null, ({ name, status }) => [name, status]);
  const program = new Function("client", "all", "failure", `return (async () => {${body}})()`);
  done(await program(new Client(url, options), all, failure));
}).catch((error) => done(String(error.stack)));
"""
TALK = """
const stream = client.duplex("def run():\\n    for message in request.messages: yield message");
await stream.send("one");
stream.end();
"""
LOAD = """
const stream = client.duplex("def run():\\n    for message in request.messages: yield message");
window.received = [];
(async () => {
  for (let number = 0; !window.enough; number++) await stream.send(number + "x".repeat(number % 100 * 20));
  await stream.end();
})().catch((error) => (window.failed = error.stack));
(async () => {
  for await (const item of stream) received.push(parseInt(item));
  window.finished = true;
})().catch((error) => (window.failed = error.stack));
"""
REACHED = "return received.length >= arguments[0] || window.failed"


@pytest.fixture(scope="module")
def guarded(patient: LiveServer) -> Iterator[LiveServer]:
    """Start a server for pages of another origin, which needs credentials, and takes small messages only."""
    digest = hashlib.sha256("pä:ss".encode()).hexdigest()
    options = ("--auth", f"me:{digest}", "--token", TOKEN, "--max-body", "64KiB")
    with LiveServer(*options, "--base-url", "/my/owt", "--allow-origin", patient.url) as server:
        yield server


@pytest.fixture
def page(chromium: webdriver.Chrome, patient: LiveServer) -> Iterator[webdriver.Chrome]:
    chromium.get(f"{patient.url}/")
    yield chromium
    chromium.get("about:blank")


def run(page: webdriver.Chrome, url: str, body: str, **options: str) -> Any:
    """Return the result of JavaScript with a client of this URL."""
    return page.execute_async_script(RUN, OWT, url, options, body)


@pytest.mark.parametrize("options", [{"token": TOKEN}, {"auth": "me:pä:ss"}], ids=["token", "auth"])
def test_a_page_of_an_allowed_origin_talks_with_its_credentials(
    page: webdriver.Chrome, guarded: LiveServer, options: dict[str, str]
) -> None:
    assert run(page, f"{guarded.url}/a/b", f"{TALK} return await all(stream);", **options) == ["one"]


def test_a_page_of_the_server_talks_with_the_password_that_its_visitor_has_entered(
    chromium: webdriver.Chrome, guarded: LiveServer
) -> None:
    chromium.get(guarded.url.replace("http://", "http://me:p%C3%A4:ss@"))
    body = f"{TALK} return await all(stream);"
    assert run(chromium, guarded.url, body) == ["one"]


@pytest.mark.parametrize(
    ("options", "failure"),
    [({"token": "wrong"}, ["RemoteError", 401]), ({}, ["RemoteError", 401])],
    ids=["wrong token", "no token"],
)
def test_credentials_that_are_refused_are_the_error_of_the_stream(
    page: webdriver.Chrome, guarded: LiveServer, options: dict[str, str], failure: list[object]
) -> None:
    body = f"{TALK} return await failure(all(stream));"
    assert run(page, f"{guarded.url}/a/b", body, **options) == failure


def test_a_message_that_is_too_large_fails_the_call_and_cancels_it(
    page: webdriver.Chrome, guarded: LiveServer
) -> None:
    body = f"""
        {TALK.replace('stream.end();', '')}
        const items = stream[Symbol.asyncIterator]();
        await items.next();
        await stream.send("x".repeat(70_000));
        return [await failure(items.next()), stream.run];
    """
    failure, id = run(page, guarded.url, body, token=TOKEN)
    assert failure == ["RemoteError", 413]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    record = wait_until(lambda: ended(guarded.ask("GET", f"/_owt/runs/{id}", headers=headers).json()))
    assert record["failure"]["type"] == "cancelled"


def test_leaving_the_page_cancels_its_call(page: webdriver.Chrome, patient: LiveServer) -> None:
    begin = TALK.replace("stream.end();", "await stream[Symbol.asyncIterator]().next();")
    body = f"{begin} return stream.run;"
    id = run(page, patient.url, body)
    page.get("about:blank")
    record = wait_until(lambda: ended(patient.ask("GET", f"/_owt/runs/{id}").json()))
    assert record["failure"]["type"] == "cancelled"


def ended(record: dict[str, Any]) -> dict[str, Any] | None:
    return record if record["ended"] else None


def test_cuts_under_load_lose_and_repeat_nothing(page: webdriver.Chrome, patient: LiveServer) -> None:
    with TcpProxy(patient.port) as between:
        page.get(f"{between.url}/")
        run(page, between.url, LOAD)
        wait_until(lambda: page.execute_script("return received.length"))
        chance = random.Random(1)
        for _ in range(10):
            count = page.execute_script("return received.length") + chance.randrange(200)
            wait_until(lambda count=count: page.execute_script(REACHED, count))
            between.cut()
        page.execute_script("window.enough = true")
        wait_until(lambda: page.execute_script("return window.finished || window.failed"))
        assert page.execute_script("return window.failed") is None
        assert page.execute_script("return received.every((number, index) => number === index)")
        page.get("about:blank")
