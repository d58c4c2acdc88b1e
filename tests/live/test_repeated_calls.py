"""Calls whose client has chosen the id of the run: a request that is sent twice runs once."""

from __future__ import annotations

import http.client
import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from owt.testing import PATIENCE, Gate, LiveServer, wait_until
from owt.wire.sse import Decoder

COUNT = "state.runs = getattr(state, 'runs', 0) + 1"
EVENTS = "text/event-stream"
BAD_ID = "must be 8 to 64 letters, digits, '-' or '_'"


@pytest.fixture
def id() -> str:
    return uuid.uuid4().hex


@pytest.fixture(scope="module")
def small() -> Iterator[LiveServer]:
    """Server that keeps 8 KiB of each run, and shows its requests in the log."""
    with LiveServer("-vv", "--run-journal", "8KiB", "--window", "4KiB") as server:
        yield server


def counting(body: str) -> str:
    """Return an adaptor that counts its runs in the session."""
    return f"def run():\n    {COUNT}\n    {body}\n"


def runs(server: LiveServer, session: str) -> str:
    return server.call("getattr(state, 'runs', 0)", session=session).text


def state_of(server: LiveServer, id: str) -> str | None:
    """Return the state of a run, or None if it is not known."""
    state: str | None = server.ask("GET", f"/_owt/runs/{id}").json().get("state")
    return state


def ask(server: LiveServer, id: str, code: str, accept: str = "*/*", **options: Any) -> httpx.Response:
    """Return the answer to a call on a connection of its own."""
    headers = {"Owt-Run": id, "Accept": accept, **options.pop("headers", {})}
    with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        return client.post("/", data={"code": code, **options.pop("data", {})}, headers=headers, **options)


def answer(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body, without what differs between any two responses."""
    headers = dict(response.headers)
    for name in ("date", "content-length", "transfer-encoding"):
        headers.pop(name, None)
    return response.status_code, headers, response.content


# The same answer

BODIES = {
    "text": "return 'whole'",
    "status and headers": "return 'tea', 418, {'X-Pot': 'short', 'Content-Type': 'text/plain'}",
    "bytes": "return b'\\x89PNG'",
    "lines of JSON": "return ({'n': n} for n in range(3))",
    "stream": "return (c for c in 'stream')",
    "failure": "raise ValueError('no')",
    "failure after data": "\n    yield 'one'\n    raise ValueError('no')",
    "large": "return 'x' * 3_000_000",
}


@pytest.mark.parametrize("accept", ["*/*", "application/json", EVENTS])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_request_that_is_sent_again_gets_the_same_answer_and_runs_once(
    server: LiveServer, session: str, id: str, body: str, accept: str
) -> None:
    answers = []
    for _ in range(2):
        try:
            response = ask(server, id, counting(body), accept, data={"session": session})
        except httpx.RemoteProtocolError as error:
            answers.append(str(error))
        else:
            answers.append(answer(response))
            assert response.headers["owt-run"] == id
    assert answers[0] == answers[1]
    assert runs(server, session) == "1"
    assert server.ask("GET", f"/_owt/runs/{id}").json()["session"] == session


def test_requests_join_a_queued_a_running_and_an_ended_run(
    server: LiveServer, session: str, id: str, gate: Gate
) -> None:
    code = counting(f"return {gate.wait} or 'whole'")
    with ThreadPoolExecutor() as threads:
        blocking = threads.submit(server.call, gate.wait, session=session)
        gate.reached()
        calls = [threads.submit(ask, server, id, code, data={"session": session}) for _ in range(2)]
        wait_until(lambda: server.session(session)["queue"] == 1)
        gate.open()
        blocking.result()
        gate.reached()
        calls += [threads.submit(ask, server, id, code, EVENTS, data={"session": session})]
        gate.open()
        texts = [call.result().text for call in calls]
    assert texts[:2] == ["whole", "whole"]
    assert "event: result\ndata: whole\n" in texts[2].replace(f"id: {id}-1\n", "")
    assert ask(server, id, code, data={"session": session}).text == "whole"
    assert runs(server, session) == "1"


def test_fifty_concurrent_requests_run_once(server: LiveServer, session: str, id: str, gate: Gate) -> None:
    code = counting(f"return {gate.wait} or 'whole'")
    with ThreadPoolExecutor(50) as threads:
        calls = [threads.submit(ask, server, id, code, data={"session": session}) for _ in range(50)]
        gate.reached()
        gate.open()
        assert {call.result().text for call in calls} == {"whole"}
    assert runs(server, session) == "1"


def test_events_of_a_plain_call_can_be_read_from_any_event(
    server: LiveServer, session: str, id: str
) -> None:
    code = counting("return (c for c in 'abc')")
    fields = {"data": {"session": session}}
    assert ask(server, id, code, **fields).text == "abc"
    whole = Decoder().feed(ask(server, id, code, EVENTS, **fields).content)
    assert [(event.id, event.data) for event in whole[:3]] == [(f"{id}-{n}", "_abc"[n]) for n in (1, 2, 3)]
    last = {"Last-Event-ID": f"{id}-2"}
    rest = ask(server, id, code, EVENTS, headers=last, **fields)
    assert Decoder().feed(rest.content) == whole[2:]
    assert ask(server, id, code, EVENTS, headers={"Last-Event-ID": whole[-1].id}, **fields).status_code == 204
    other = ask(server, id, code, EVENTS, headers={"Last-Event-ID": f"{uuid.uuid4().hex}-2"}, **fields)
    assert (other.status_code, runs(server, session)) == (400, "1")


def test_the_events_of_an_unknown_run_are_lost_and_do_not_run_again(
    server: LiveServer, session: str, id: str
) -> None:
    last = {"Last-Event-ID": f"{id}-2"}
    lost = ask(server, id, counting("return 1"), EVENTS, headers=last, data={"session": session})
    assert "urn:owt:events-lost" in lost.text
    assert runs(server, session) == "0"


def test_a_detached_call_that_is_sent_again_gets_the_same_addresses(
    server: LiveServer, session: str, id: str, gate: Gate
) -> None:
    code = counting(f"return {gate.wait} or 'whole'")
    first, second = [ask(server, id, code, data={"session": session, "detach": "1"}) for _ in range(2)]
    assert answer(first) == answer(second)
    assert (first.status_code, first.json()["answer"]) == (202, f"/_owt/runs/{id}/answer")
    gate.open()
    assert server.ask("GET", first.json()["answer"]).text == "whole"
    assert runs(server, session) == "1"


def test_a_form_is_the_same_with_another_boundary(server: LiveServer, session: str, id: str) -> None:
    code = counting("return request.files['file'].read()")
    file = {"file": ("a.txt", b"content")}
    for _ in range(2):
        assert ask(server, id, code, data={"session": session}, files=file).text == "content"
    assert runs(server, session) == "1"


def test_a_call_for_the_cache_has_a_run_of_its_own_with_the_id(
    server: LiveServer, session: str, id: str
) -> None:
    fields = {"session": session, "use_cache": "1"}
    code = counting("return 'cached'")
    others = [ask(server, uuid.uuid4().hex, code, data=fields) for _ in range(2)]
    assert [other.headers["owt-cache"] for other in others] == ["miss", "hit"]
    hit = ask(server, id, code, data=fields)
    assert (hit.text, hit.headers["owt-run"], hit.headers["owt-cache"]) == ("cached", id, "hit")
    assert ask(server, id, code, data=fields).text == "cached"
    assert runs(server, session) == "1"


def test_the_death_of_the_kernel_is_the_answer_to_all_requests(
    server: LiveServer, session: str, id: str, gate: Gate
) -> None:
    code = counting(f"{gate.wait}; import os; os.kill(os.getpid(), 9)")
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(ask, server, id, code, data={"session": session}) for _ in range(2)]
        gate.reached()
        gate.open()
        texts = {call.result().text for call in calls}
    texts.add(ask(server, id, code, data={"session": session}).text)
    assert len(texts) == 1
    assert "kernel died" in texts.pop()


# Another call

OTHERS: dict[str, dict[str, Any]] = {
    "body": {"data": {"code": "2"}},
    "query": {"params": {"reload": "1"}},
    "path": {"path": "/path"},
    "method": {"method": "GET", "params": {"code": "1"}, "data": None},
    "media type": {"headers": {"Content-Type": "text/x-python"}},
    "session": {"headers": {"Owt-Session": "other"}},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_another_call_with_the_same_id_is_refused(
    server: LiveServer, id: str, change: dict[str, Any]
) -> None:
    request: dict[str, Any] = {"method": "POST", "path": "/", "data": {"code": "1"}}
    named = {"Owt-Run": id}
    assert server.ask(**request, headers=named).text == "1"
    refused = server.ask(**{**request, **change, "headers": {**named, **change.get("headers", {})}})
    assert (refused.status_code, refused.headers["owt-run"] != id) == (409, True)
    assert f"Owt-Run: {id} stands for another call" in refused.text


@pytest.mark.parametrize("bad", ["short", "x" * 65, "a/../../b", "with space", "dotted.id.x", "émile-zola"])
def test_an_id_that_is_not_one_is_refused_with_the_rule(server: LiveServer, bad: str) -> None:
    refused = server.ask("POST", "/", data={"code": "1"}, headers={"Owt-Run": bad.encode()})
    assert (refused.status_code, BAD_ID in refused.text) == (400, True)


def test_the_id_of_a_run_that_the_server_named_is_taken(server: LiveServer) -> None:
    run = server.call("1").headers["owt-run"]
    refused = ask(server, run, "1")
    assert (refused.status_code, "Owt-Caller" in refused.text) == (409, True)


def test_a_refused_call_does_not_take_the_id(server: LiveServer, session: str, id: str) -> None:
    assert ask(server, id, "1", data={"session": session, "timeout": "soon"}).status_code == 400
    assert ask(server, id, "1", data={"session": session}).text == "1"


# What is kept


def test_an_answer_larger_than_the_journal_cannot_be_joined_and_does_not_run_again(
    small: LiveServer, session: str, id: str
) -> None:
    code = counting("return ('x' * 1000 for _ in range(50))")
    fields = {"data": {"session": session}}
    assert len(ask(small, id, code, **fields).content) == 50_000
    lost = ask(small, id, code, **fields)
    assert (lost.status_code, "--run-journal" in lost.text) == (410, True)
    rest = ask(small, id, code, EVENTS, headers={"Last-Event-ID": f"{id}-48"}, **fields)
    assert [event.id for event in Decoder().feed(rest.content)] == [f"{id}-{n}" for n in (49, 50, 51)]
    assert runs(small, session) == "1"


def test_the_log_shows_the_id_and_long_ids_keep_unsent_output(small: LiveServer, session: str) -> None:
    id = "Long_id-" * 8
    code = counting("import os, sys; sys.stdout.write('last'); os.kill(os.getpid(), 9)")
    assert ask(small, id, code, data={"session": session}).status_code == 502
    assert small.ask("GET", f"/_owt/runs/{id}").json()["stdout"] == "last"
    small.wait_for_log(rf"owt.access: POST / 502 .* ms run_id={id}")


@contextmanager
def sent(server: LiveServer, id: str, code: str, session: str) -> Iterator[http.client.HTTPConnection]:
    """Yield a connection on which a call was sent."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        connection.request("GET", f"/?session={session}&code={quote(code)}", headers={"Owt-Run": id})
        yield connection


def test_a_call_whose_client_left_goes_on_for_the_resume_window(
    patient: LiveServer, session: str, id: str, gate: Gate
) -> None:
    code = counting(f"return {gate.wait} or 'whole'")
    with sent(patient, id, code, session):
        gate.reached()
    gate.open()
    with sent(patient, id, code, session) as again:
        assert again.getresponse().read() == b"whole"
    assert runs(patient, session) == "1"


def test_a_call_that_nobody_repeats_is_cancelled_after_the_resume_window(
    server: LiveServer, session: str, id: str, gate: Gate
) -> None:
    code = counting(gate.wait)
    with sent(server, id, code, session):
        gate.reached()
    wait_until(lambda: state_of(server, id) == "failed")
    with sent(server, id, code, session) as again:
        assert again.getresponse().status == 499
    assert runs(server, session) == "1"


# Bodies that stream

READ = counting("return request.stream.read()")


def upload(server: LiveServer, id: str, session: str, *parts: bytes, code: str = READ) -> httpx.Response:
    params = {"session": session, "code": code}
    headers = {"Owt-Run": id, "Content-Type": "application/octet-stream"}
    return server.ask("POST", "/", params=params, headers=headers, content=iter(parts))


def test_a_body_that_streams_again_is_compared_when_it_has_come(
    server: LiveServer, session: str, id: str
) -> None:
    assert upload(server, id, session, b"one", b"two").text == "onetwo"
    assert upload(server, id, session, b"onetwo").text == "onetwo"
    whole = server.ask(
        "POST", "/", params={"session": session, "code": READ}, content=b"onetwo",
        headers={"Owt-Run": id, "Content-Type": "application/octet-stream"},
    )  # fmt: skip
    assert whole.text == "onetwo"
    other = upload(server, id, session, b"one", b"three")
    assert (other.status_code, "stands for another call" in other.text) == (409, True)
    assert runs(server, session) == "1"


def test_a_body_that_broke_off_leaves_the_id_taken(server: LiveServer, session: str, id: str) -> None:
    code = counting("return len(request.stream.read())")
    client = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    client.sendall(
        f"POST /?session={session}&code={quote(code)} HTTP/1.1\r\nHost: localhost\r\nOwt-Run: {id}\r\n"
        "Content-Length: 100\r\nContent-Type: application/octet-stream\r\n\r\nhalf".encode()
    )
    wait_until(lambda: state_of(server, id) == "running")
    client.close()
    wait_until(lambda: state_of(server, id) == "failed")
    refused = upload(server, id, session, b"half and more", code=code)
    assert (refused.status_code, "has not come as a whole" in refused.text) == (409, True)
    assert runs(server, session) == "1"
