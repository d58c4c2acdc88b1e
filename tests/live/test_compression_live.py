"""Compressed requests and answers of a running server."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from owt.testing import Gate, LiveServer

LIMIT = 1024 * 1024
GZIP = {"Content-Encoding": "gzip"}
PYTHON = {"Content-Type": "text/x-python"}


@pytest.fixture(scope="module")
def own_server() -> Iterator[LiveServer]:
    with LiveServer("--pool-max", "1", "--max-body", str(LIMIT)) as server:
        yield server


@pytest.fixture(scope="module")
def http(own_server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=own_server.url, timeout=20, headers={"Accept-Encoding": "identity"}) as client:
        yield client


@pytest.mark.parametrize("coding", ["gzip", "X-Gzip", "identity"])
def test_a_compressed_body_counts_as_its_content(http: httpx.Client, coding: str) -> None:
    code = b"(request.content_length, request.headers.get('Content-Encoding'), request.method)"
    body = code if coding == "identity" else gzip.compress(code)
    response = http.post("/", content=body, headers={**PYTHON, "Content-Encoding": coding})
    assert response.json() == [len(code), "identity" if coding == "identity" else None, "POST"]


def test_a_compressed_form_of_an_endpoint_is_read(http: httpx.Client) -> None:
    code = "@endpoint('/compressed')\ndef f(a: int, b: str) -> dict: return {'a': a, 'b': b}"
    http.post("/", data={"session": "compressed", "code": code}).raise_for_status()
    bodies = {"application/json": b'{"a": 1, "b": "x"}', "application/x-www-form-urlencoded": b"a=1&b=x"}
    for kind, body in bodies.items():
        headers = {**GZIP, "Content-Type": kind}
        response = http.post("/compressed", content=gzip.compress(body), headers=headers)
        assert response.json() == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("status", "coding", "body"),
    [
        (415, "br", b"1"),
        (415, "gzip, gzip", gzip.compress(gzip.compress(b"1"))),
        (400, "gzip", b"1 + 1"),
        (400, "gzip", gzip.compress(b"1 + 1")[:-4]),
        (400, "gzip", b""),
        (413, "gzip", gzip.compress(bytes(100 * LIMIT))),
    ],
    ids=["br", "twice", "plain", "cut off", "empty", "bomb"],
)
@pytest.mark.parametrize("path", ["/", "/_owt/jupyter/api/sessions"])
def test_a_body_that_cannot_be_decoded_is_refused(
    http: httpx.Client, path: str, status: int, coding: str, body: bytes
) -> None:
    response = http.post(path, content=body, headers={**PYTHON, "Content-Encoding": coding})
    assert response.status_code == status
    assert http.get("/", params={"code": "1 + 1"}).text == "2"


@pytest.mark.parametrize("code", ["'owt' * 1000", "{'owt': [1] * 1000}", "('owt' * 1000 for _ in range(2))"])
def test_a_large_answer_is_compressed_for_who_asks(http: httpx.Client, code: str) -> None:
    plain = http.get("/", params={"code": code})
    with http.stream("GET", "/", params={"code": code}, headers={"Accept-Encoding": "br, gzip"}) as response:
        received = b"".join(response.iter_raw())
    assert "content-encoding" not in plain.headers
    assert response.headers["content-encoding"] == "gzip"
    for headers in (plain.headers, response.headers):
        assert headers["vary"].removeprefix("Accept, ") == "Accept-Encoding"
    assert len(received) < len(plain.content) / 10
    assert gzip.decompress(received) == plain.content


@pytest.mark.parametrize(
    "code",
    [
        "'owt' * 300",
        "b'owt' * 1000, {'Content-Type': 'image/png'}",
        "b'owt' * 1000, {'Content-Encoding': 'br'}",
        "'owt' * 1000, {'Cache-Control': 'no-transform'}",
        "'owt' * 1000, {'Content-Type': 'text/event-stream'}",
        "'owt' * 1000, 206",
    ],
)
def test_other_answers_are_sent_as_they_are(http: httpx.Client, code: str) -> None:
    with http.stream("GET", "/", params={"code": code}, headers={"Accept-Encoding": "gzip"}) as response:
        received = b"".join(response.iter_raw())
    assert response.headers.get("content-encoding") != "gzip"
    assert received.startswith(b"owtowt")


def test_a_stream_of_events_is_not_compressed(http: httpx.Client) -> None:
    headers = {"Accept-Encoding": "gzip", "Accept": "text/event-stream"}
    response = http.get("/", params={"code": "'owt' * 1000"}, headers=headers)
    assert "content-encoding" not in response.headers


def test_an_item_of_a_compressed_stream_can_be_read_before_the_next(
    own_server: LiveServer, http: httpx.Client, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    code = f"def run():\n yield 'a' * 2000\n {gate.wait}\n yield 'b' * 2000"
    reader, text = zlib.decompressobj(31), b""
    with http.stream("GET", "/", params={"code": code}, headers={"Accept-Encoding": "gzip"}) as response:
        for part in response.iter_raw():
            text += reader.decompress(part)
            if text == b"a" * 2000:
                gate.open()
    assert text == b"a" * 2000 + b"b" * 2000
    assert reader.eof


@pytest.mark.parametrize("stated", [3000, 5000])
def test_a_compressed_stream_of_another_length_than_stated_is_cut_off(
    http: httpx.Client, stated: int, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    pieces = f"def pieces():\n yield 'owt' * 500\n {gate.wait}\n yield 'owt' * 1000"
    code = f"{pieces}\ndef run(): return pieces(), {{'Content-Length': '{stated}'}}"
    headers = {"Accept-Encoding": "gzip"}
    with http.stream("GET", "/", params={"code": code}, headers=headers) as response:
        # The response has begun, so that its length cannot be refused by a status.
        gate.open()
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()
    assert response.headers["content-encoding"] == "gzip"


def test_a_strong_etag_of_a_compressed_answer_becomes_weak(http: httpx.Client) -> None:
    params = {"code": "'owt' * 1000, {'ETag': '\"x\"'}"}
    assert http.get("/", params=params).headers["etag"] == '"x"'
    assert http.get("/", params=params, headers={"Accept-Encoding": "gzip"}).headers["etag"] == 'W/"x"'


@pytest.mark.parametrize("coding", ["gzip", "identity"])
@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/", None),
        ("/_owt/openapi.json", None),
        ("/head/whole", "'owt' * 1000"),
        ("/head/stream", "iter(['owt' * 1000, 'end'])"),
    ],
)
def test_head_has_the_headers_of_get(http: httpx.Client, path: str, result: str | None, coding: str) -> None:
    if result is not None:
        code = f"@endpoint('{path}', methods=['GET'])\ndef f(): return {result}"
        http.post("/", data={"session": "head", "code": code}).raise_for_status()
    headers = {"Accept-Encoding": coding, "Accept": "text/html"}
    get, head = (http.request(method, path, headers=headers) for method in ("GET", "HEAD"))
    assert (get.status_code, head.content) == (head.status_code, b"")
    assert (get.headers.get("content-encoding") == "gzip") == (coding == "gzip")
    # Of a stream, the length is known if its end comes soon.
    varying = ["date", "owt-run", "transfer-encoding"]
    varying += ["content-length"] if path == "/head/stream" else []
    for response in (get, head):
        for name in varying:
            response.headers.pop(name, None)
    assert head.headers == get.headers


def test_a_large_page_of_the_server_is_compressed_for_who_asks(http: httpx.Client) -> None:
    assert "content-encoding" not in http.get("/_owt/metrics").headers
    answer = http.get("/_owt/metrics", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "# HELP" in answer.text
