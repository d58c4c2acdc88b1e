"""Each value of the table of conversions is for each client what the table says."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator

import conversions
import httpx
import pytest
from conversion_clients import Collector, set_up

from owt.testing import LiveServer

GROUPS = [group for group in conversions.GROUPS if not group.libraries]
CLIENTS = [client for client in conversions.CLIENTS if client != "js" or shutil.which("node")]


@pytest.fixture(scope="module")
def collector(server: LiveServer) -> Iterator[Collector]:
    with set_up(server, GROUPS) as collector:
        yield collector


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_receives_what_the_table_says(collector: Collector, client: str) -> None:
    assert collector.differences(client) == {}


@pytest.mark.parametrize(
    ("accept", "code", "written"),
    [
        ("*/*", "3.5", b"3.5 200 text/html; charset=utf-8"),
        ("application/json", "[True, None]", b"[true,null]\n 200 application/json"),
        ("*/*", "import re\nre.compile('a+')", b'"a+"\n 200 application/json'),
        ("text/event-stream", "def run(): yield b'owt'", b"event: bytes\n"),
    ],
)
def test_curl_itself_receives_the_same(server: LiveServer, accept: str, code: str, written: bytes) -> None:
    command = ["curl", "-sS", server.url, "-H", f"Accept: {accept}", "--data-urlencode", f"code={code}"]
    done = subprocess.run([*command, "-w", " %{http_code} %{content_type}"], capture_output=True, check=True)
    assert done.stderr == b""
    assert written in done.stdout


def test_the_table_has_no_value_twice_and_no_cell_without_text() -> None:
    rows = [row for group in conversions.GROUPS for row in group.rows]
    assert len({row.value for row in rows}) == len(rows) > 200
    assert [row.value for row in rows for client in conversions.CLIENTS if not getattr(row, client)] == []


def test_a_value_that_is_not_empty_is_nowhere_an_empty_object() -> None:
    lost = [
        row.value
        for group in conversions.GROUPS
        for row in group.rows
        for client in conversions.CLIENTS
        if row.value != "{}" and getattr(row, client).endswith("`{}`")
    ]
    assert lost == []


@pytest.fixture(scope="module")
def endpoints(server: LiveServer, http: httpx.Client) -> Iterator[httpx.Client]:
    """Define an endpoint for each annotation, and one for the content of its row."""
    code = [conversions.SHOWN, conversions.PARAMETERS_SETUP]
    for number, row in enumerate(conversions.PARAMETERS):
        code.append(f"@endpoint('/values-in/{number}')\ndef f(x: {row.annotation}): return [shown(x)]")
    answer = http.post("/", data={"session": "values-in", "code": "\n".join(code)})
    assert answer.status_code == 200, answer.text
    yield http
    http.delete("/_owt/sessions/values-in")


@pytest.mark.parametrize("row", conversions.PARAMETERS, ids=lambda row: row.annotation)
def test_a_parameter_gets_what_the_table_says(
    endpoints: httpx.Client, row: conversions.Parameter
) -> None:
    path = f"/values-in/{conversions.PARAMETERS.index(row)}"
    expected = [row.argument]
    content = b""
    if row.content:
        content = endpoints.post("/", data={"session": "values-in", "code": row.content}).content
    value = base64.b64encode(content).decode() if row.json.startswith("the ") else json.loads(row.json)
    assert endpoints.post(path, json={"x": value}).json() == expected
    for kind in row.media_types[:1]:
        kind = "audio/wav" if kind == "any type" else kind
        assert endpoints.post(path, content=content, headers={"Content-Type": kind}).json() == expected
        assert endpoints.post(path, files={"x": ("upload", content, kind)}).json() == expected
