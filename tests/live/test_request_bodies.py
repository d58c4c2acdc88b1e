"""Request bodies that stay in the frontend until the adaptor reads them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from owt.testing import LiveServer
from owt.testing.waiting import wait_until

SIZE = 300_000
FORM = "application/x-www-form-urlencoded"

READERS = {
    "get_data": "len(request.get_data())",
    "stream": "len(request.stream.read())",
    "stream in parts": "sum(len(part) for part in iter(lambda: request.stream.read(1000), b''))",
    "stream by line": "sum(map(len, request.stream))",
    "wsgi.input": "len(request.environ['wsgi.input'].read())",
    "content_length": "request.content_length",
    "twice": "len(request.get_data()) and len(request.get_data())",
}


def json_body(code: str) -> str:
    return json.dumps({"code": code, "text": "x" * SIZE})


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_an_adaptor_reads_the_whole_body(http: httpx.Client, reader: str) -> None:
    body = json_body(f"from owt import request\ndef run(): return str({reader})")
    answer = http.post("/", content=body, headers={"Content-Type": "application/json"})
    assert answer.text == str(len(body))


def test_json_and_form_of_a_large_body_are_parsed(http: httpx.Client) -> None:
    of_json = json_body("from owt import request\ndef run(): return str(len(request.json['text']))")
    assert http.post("/", content=of_json, headers={"Content-Type": "application/json"}).text == str(SIZE)
    code = "from owt import request\ndef run(): return str(len(request.form['text']))"
    assert http.post("/", data={"code": code, "text": "x" * SIZE}).text == str(SIZE)


def test_a_large_body_of_python_is_readable(http: httpx.Client) -> None:
    code = "from owt import request\ndef run(): return str(len(request.get_data()))\n" + "#" * SIZE
    answer = http.post("/", content=code, headers={"Content-Type": "text/x-python"})
    assert answer.text == str(len(code))


def test_a_large_body_is_readable_in_async_code_in_threads_and_in_pipelines(http: httpx.Client) -> None:
    codes = [
        "from owt import request\nasync def run(): return str(len(request.get_data()))",
        "import asyncio\nfrom owt import request\n"
        "async def run(): return str(await asyncio.to_thread(lambda: len(request.get_data())))",
        "from owt import request\ndef run():\n    yield 'a'\n    yield str(len(request.get_data()))",
    ]
    for code in codes:
        body = json_body(code)
        answer = http.post("/", content=body, headers={"Content-Type": "application/json"})
        assert answer.text in (str(len(body)), f"a{len(body)}")


def test_overlapping_runs_read_their_own_bodies(server: LiveServer, session: str) -> None:
    server.ask("PUT", f"/_owt/sessions/{session}", content=b'{"concurrency": 8}')
    code = "from owt import request\ndef run(): return str(len(request.get_data()))"
    bodies = [json.dumps({"session": session, "code": code, "text": "x" * (SIZE + n)}) for n in range(16)]

    def post(body: str) -> str:
        return server.ask("POST", "/", content=body, headers={"Content-Type": "application/json"}).text

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(post, bodies)) == [str(len(body)) for body in bodies]


def test_a_body_read_after_the_end_of_its_call_is_gone(server: LiveServer, session: str) -> None:
    code = "from owt import request, state\ndef run():\n    state.kept = request._get_current_object()\n"
    body = json.dumps({"session": session, "code": code, "text": "x" * SIZE})
    server.ask("POST", "/", content=body, headers={"Content-Type": "application/json"})
    answer = server.call("def run(): return state.kept.get_data()", session=session)
    assert answer.status_code == 500
    assert "the input of this call is gone, because the call has ended" in answer.text


def test_files_of_a_multipart_body_come_with_the_call(http: httpx.Client) -> None:
    code = "from owt import request\ndef run(): return str(len(request.files['file'].read()))"
    answer = http.post("/", data={"code": code}, files={"file": bytes(SIZE)})
    assert answer.text == str(SIZE)


def test_cancelling_a_run_that_waits_for_its_body_leaves_the_session_usable(
    server: LiveServer, session: str
) -> None:
    code = "from owt import request\nimport time\ndef run():\n    request.get_data()\n    time.sleep(60)"
    body = json.dumps({"session": session, "code": code, "detach": True, "text": "x" * SIZE})
    started = server.ask("POST", "/", content=body, headers={"Content-Type": "application/json"}).json()
    server.ask("DELETE", started["url"])
    wait_until(lambda: server.ask("GET", started["url"]).json()["status"] == 499)
    assert server.call("1 + 1", session=session).text == "2"
