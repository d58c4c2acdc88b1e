"""Resuming a run: the events after a lost connection, and the run between connections."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from owt.testing import Gate, LiveServer, wait_until
from owt.wire.sse import Decoder, Event

EVENTS = {"Accept": "text/event-stream"}
KIB = 1024

# Counts its runs in the session.
COUNTED = """
def run():
    state.runs = getattr(state, "runs", 0) + 1
    print("begun")
    for n in range(4):
        yield {"n": n}
    yield b"bytes"
"""


@pytest.fixture(scope="module")
def small() -> Iterator[LiveServer]:
    """Server with small journals and windows."""
    with LiveServer("--run-journal", "8KiB", "--window", "4KiB", "--keepalive", "50ms") as server:
        yield server


def following(answer: httpx.Response) -> Iterator[Event]:
    decoder = Decoder()
    for piece in answer.iter_raw():
        yield from decoder.feed(piece)


def events(answer: httpx.Response) -> list[Event]:
    assert answer.status_code == 200, answer.text
    return Decoder().feed(answer.content)


def ask(http: httpx.Client, code: str, last: str | None = None, **fields: str) -> httpx.Response:
    headers = {**EVENTS, **({"Last-Event-ID": last} if last else {})}
    return http.get("/", params={"code": code, **fields}, headers=headers)


class TestEvents:
    def test_every_event_has_the_runs_id_and_the_next_number(self, http: httpx.Client, session: str) -> None:
        answer = ask(http, COUNTED, session=session)
        run = answer.headers["owt-run"]
        assert answer.text.startswith(f"retry: 1000\nid: {run}-0\nevent: stdout\n")
        assert [event.id for event in events(answer)] == [f"{run}-{n}" for n in range(1, 8)]

    def test_a_client_that_resumes_after_any_event_gets_the_rest_without_a_new_run(
        self, http: httpx.Client, session: str
    ) -> None:
        whole = events(ask(http, COUNTED, session=session))
        run = whole[0].id.rpartition("-")[0]
        for seen in range(len(whole)):
            last = whole[seen - 1].id if seen else f"{run}-0"
            again = ask(http, COUNTED, last, session=session)
            assert again.headers["owt-run"] == run
            assert again.text.startswith(f"retry: 1000\nid: {last}\n")
            assert events(again) == whole[seen:]
            after = http.get(f"/_owt/runs/{run}/events", params={"after": seen})
            assert events(after) == whole[seen:]
        assert http.get("/", params={"code": "state.runs", "session": session}).text == "1"

    def test_resuming_after_the_last_event_gets_204(self, http: httpx.Client, session: str) -> None:
        last = events(ask(http, COUNTED, session=session))[-1].id
        for answer in (
            ask(http, COUNTED, last, session=session),
            http.get(f"/_owt/runs/{last.rpartition('-')[0]}/events", headers={"Last-Event-ID": last}),
            http.get(f"/_owt/runs/{last.rpartition('-')[0]}/events?after=7"),
        ):
            assert (answer.status_code, answer.content) == (204, b"")
        assert http.get("/", params={"code": "state.runs", "session": session}).text == "1"

    def test_a_connection_cut_at_any_byte_loses_nothing_and_repeats_nothing(
        self, http: httpx.Client, session: str
    ) -> None:
        big = "def run():\n    print('before')\n    yield 'x' * 600_000\n    yield 'é\\n' * 9\n    return 1"
        answer = ask(http, big, session=session)
        whole, content = events(answer), answer.content
        assert [len(event.data) for event in whole[:2]] == [7, 600_000]
        for cut in (0, 20, 70, 100, 300_000, len(content) // 2, len(content) - 60, len(content) - 1):
            decoder = Decoder()
            seen = decoder.feed(content[:cut])
            last = decoder.last_event_id or None
            if last is None:
                continue
            rest = ask(http, big, last, session=session)
            assert [*seen, *events(rest)] == whole, cut

    def test_a_client_can_resume_an_active_run(self, patient: LiveServer, gate: Gate) -> None:
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        params = {"code": code, "session": "comes-back"}
        with httpx.stream("GET", patient.url, params=params, headers=EVENTS) as answer:
            first = next(following(answer))
        last = {**EVENTS, "Last-Event-ID": first.id}
        with httpx.stream("GET", patient.url, params=params, headers=last) as again:
            assert again.headers["owt-run"] == answer.headers["owt-run"]
            gate.open()
            assert next(following(again)).data == "second"

    def test_several_readers_follow_one_run(self, http: httpx.Client, session: str, gate: Gate) -> None:
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        with http.stream("GET", "/", params={"code": code, "session": session}, headers=EVENTS) as answer:
            received = following(answer)
            first = next(received)
            address = f"/_owt/runs/{answer.headers['owt-run']}/events"
            with http.stream("GET", address) as other, http.stream("GET", f"{address}?after=1") as late:
                others = following(other)
                assert next(others) == first
                gate.open()
                rest = list(received)
                assert [event.data for event in rest[:1]] == ["second"]
                assert list(others) == rest
                assert list(following(late)) == rest

    def test_an_adaptors_event_stream_can_be_resumed(self, http: httpx.Client, session: str) -> None:
        code = """
def run():
    state.runs = getattr(state, "runs", 0) + 1
    def body():
        yield "event: tick\\ndata: 1\\n\\ndata: 2\\n\\nda"
        yield "ta: 3\\r\\n\\r\\n"
    return body(), {"Content-Type": "text/event-stream"}
"""
        whole = events(ask(http, code, session=session))
        assert [event.event for event in whole] == ["tick", "message", "message"]
        assert [event.data for event in whole] == ["1", "2", "3"]
        for seen in (1, 2):
            assert events(ask(http, code, whole[seen - 1].id, session=session)) == whole[seen:]
        # No further event follows.
        assert ask(http, code, whole[2].id, session=session).status_code == 204
        assert http.get("/", params={"code": "state.runs", "session": session}).text == "1"

    def test_the_event_id_of_another_call_gets_400(self, http: httpx.Client, session: str) -> None:
        last = events(ask(http, COUNTED, session=session))[0].id
        answer = ask(http, "1 + 1", last, session=session)
        assert answer.status_code == 400
        assert "Last-Event-ID: belongs to another call" in answer.text

    def test_an_event_id_of_another_server_is_ignored(self, http: httpx.Client, session: str) -> None:
        received = events(ask(http, COUNTED, "17", session=session))
        assert received[-1].event == "done"

    def test_resuming_an_unknown_run_gets_an_error_event_without_a_new_run(
        self, http: httpx.Client, session: str
    ) -> None:
        [lost] = events(ask(http, COUNTED, f"{'0' * 16}-3", session=session))
        assert lost.event == "error"
        assert "is not known here" in json.loads(lost.data)["detail"]
        assert ask(http, COUNTED, lost.id, session=session).status_code == 204
        answer = http.get("/", params={"code": "state.runs", "session": session})
        assert "AttributeError" in answer.text

    @pytest.mark.parametrize("after", ["x", "-1", "1.5"])
    def test_an_after_parameter_that_is_no_number_gets_400(self, http: httpx.Client, after: str) -> None:
        run = ask(http, "1").headers["owt-run"]
        answer = http.get(f"/_owt/runs/{run}/events", params={"after": after})
        assert answer.status_code == 400
        assert "after: must be the number" in answer.text

    @pytest.mark.parametrize("page", ["events", "answer"])
    def test_the_pages_of_an_unknown_run_get_404(self, http: httpx.Client, page: str) -> None:
        answer = http.get(f"/_owt/runs/{'0' * 16}/{page}")
        assert answer.status_code == 404
        assert "--run-retention" in answer.text

    def test_a_resuming_client_gets_the_error_of_a_dead_kernel(
        self, http: httpx.Client, session: str
    ) -> None:
        whole = events(ask(http, "def run():\n    yield 1\n    import os; os._exit(3)", session=session))
        assert [event.event for event in whole] == ["message", "error", "done"]
        run, _, _ = whole[0].id.rpartition("-")
        assert events(http.get(f"/_owt/runs/{run}/events?after=1")) == whole[1:]


class TestDetached:
    def test_a_detached_call_gets_202_with_the_addresses_of_its_run(
        self, http: httpx.Client, session: str
    ) -> None:
        code = "def run(): print('out'); return {'n': 42}"
        answer = http.post("/", data={"code": code, "session": session, "detach": "1"})
        assert answer.status_code == 202
        run = answer.headers["owt-run"]
        assert answer.headers["location"] == f"/_owt/runs/{run}"
        assert answer.json() == {
            "run": run,
            "url": f"/_owt/runs/{run}",
            "events": f"/_owt/runs/{run}/events",
            "answer": f"/_owt/runs/{run}/answer",
        }
        received = events(http.get(f"/_owt/runs/{run}/events"))
        assert [event.event for event in received] == ["stdout", "result", "done"]
        plain = http.get(f"/_owt/runs/{run}/answer")
        assert (plain.status_code, plain.json()) == (200, {"n": 42})
        assert plain.headers["content-type"] == "application/json"
        document = http.get(f"/_owt/runs/{run}").json()
        assert [document[name] for name in ("state", "detached", "events")] == ["done", True, 3]
        assert document["stdout"] == "out\n"

    def test_a_detached_run_completes_without_a_reader(self, http: httpx.Client, session: str) -> None:
        # More than ten times the window.
        code = "def run():\n    for _ in range(700): yield b'x' * 65536\n    state.end = True"
        run = http.post("/", data={"code": code, "session": session, "detach": "1"}).json()
        wait_until(lambda: http.get(run["url"]).json()["state"] == "done")
        assert http.post("/", data={"code": "state.end", "session": session}).text == "True"
        # More than the journal of a run holds.
        lost = http.get(run["answer"])
        assert lost.status_code == 410
        assert "--run-journal" in lost.text
        [error] = events(http.get(run["events"]))
        assert error.event == "error"
        assert http.get(run["events"], headers={"Last-Event-ID": error.id}).status_code == 204

    def test_a_follower_that_reads_nothing_delays_no_detached_run(
        self, http: httpx.Client, server: LiveServer, session: str, gate: Gate
    ) -> None:
        # More than the window and the buffers of the sockets hold.
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n"
        code += "    for _ in range(1000): yield b'x' * 65536"
        run = http.post("/", data={"code": code, "session": session, "detach": "1"}).json()
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as follower:
            follower.sendall(f"GET {run['answer']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            begun = b""
            while b"first" not in begun:
                begun += follower.recv(1 << 16)
            gate.open()
            wait_until(lambda: http.get(run["url"]).json()["state"] == "done")

    def test_a_detached_run_continues_after_its_readers_disconnect(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        run = http.post("/", data={"code": code, "session": session, "detach": "1"}).json()
        for page in ("events", "answer"):
            with http.stream("GET", run[page]) as answer:
                assert next(answer.iter_raw())
        gate.open()
        assert http.get(run["answer"]).text == "firstsecond"

    def test_a_detached_run_is_cancelled_by_its_id(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = (
            f"def run():\n    try:\n        yield 1\n        {gate.wait}\n"
            "    finally:\n        state.ended = True"
        )
        run = http.post("/", data={"code": code, "session": session, "detach": "1"}).json()
        wait_until(lambda: http.get(run["url"]).json()["events"])
        assert http.delete(run["url"]).status_code == 202
        assert [event.event for event in events(http.get(run["events"]))] == ["message", "error", "done"]
        assert http.post("/", data={"code": "state.ended", "session": session}).text == "True"

    def test_the_answer_of_a_failed_detached_run_is_the_error(self, http: httpx.Client, session: str) -> None:
        run = http.post("/", data={"code": "1 / 0", "session": session, "detach": "1"}).json()
        answer = http.get(run["answer"])
        assert answer.status_code == 500
        assert "ZeroDivisionError" in answer.text


class TestLastReader:
    ENDLESS = (
        "def run():\n    try:\n        yield 'first'\n        import time\n        time.sleep(1000)\n"
        "    finally:\n        state.ended = True"
    )

    def ended(self, http: httpx.Client, session: str) -> bool:
        return http.post("/", data={"code": "state.ended", "session": session}).text == "True"

    @pytest.mark.parametrize("stream", ["raw", "sse"])
    def test_a_run_is_cancelled_when_no_client_resumes_it(
        self, http: httpx.Client, session: str, stream: str
    ) -> None:
        data = {"code": self.ENDLESS, "session": session, "stream": stream}
        with http.stream("POST", "/", data=data) as answer:
            pieces = answer.iter_raw()
            while b"first" not in next(pieces):
                pass
        run = answer.headers["owt-run"]
        wait_until(lambda: http.get(f"/_owt/runs/{run}").json()["state"] == "failed")
        assert http.get(f"/_owt/runs/{run}").json()["failure"]["type"] == "cancelled"
        assert self.ended(http, session)

    def test_a_plain_run_is_cancelled_at_once_and_a_run_of_events_after_the_resume_window(
        self, patient: LiveServer, session: str
    ) -> None:
        runs = {}
        for stream in ("sse", "raw"):
            data = {"code": self.ENDLESS, "session": f"{session}-{stream}", "stream": stream}
            with httpx.stream("POST", patient.url, data=data) as answer:
                pieces = answer.iter_raw()
                while b"first" not in next(pieces):
                    pass
            runs[stream] = f"/_owt/runs/{answer.headers['owt-run']}"
        wait_until(lambda: patient.ask("GET", runs["raw"]).json()["state"] == "failed")
        assert patient.ask("GET", runs["sse"]).json()["state"] == "running"
        assert patient.ask("DELETE", runs["sse"]).status_code == 202
        for stream in runs:
            patient.ask("DELETE", f"/_owt/sessions/{session}-{stream}")

    def test_a_plain_run_continues_while_a_client_follows_its_events(
        self, http: httpx.Client, session: str, gate: Gate
    ) -> None:
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        with http.stream("POST", "/", data={"code": code, "session": session}) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b"first"
            other = http.stream("GET", f"/_owt/runs/{answer.headers['owt-run']}/events")
            follower = other.__enter__()
            received = following(follower)
            assert next(received).data == "first"
        gate.open()
        assert next(received).data == "second"
        other.__exit__(None, None, None)


class TestJournalLimits:
    def test_resuming_from_a_dropped_event_gets_an_error_and_then_204(self, small: LiveServer) -> None:
        code = "def run():\n    for n in range(100): yield 'x' * 1000"
        params = {"code": code, "session": "a"}
        whole = events(small.ask("GET", "/", params=params, headers=EVENTS))
        assert len(whole) == 101

        def back(last: str) -> httpx.Response:
            return small.ask("GET", "/", params=params, headers={**EVENTS, "Last-Event-ID": last})

        assert events(back(whole[98].id)) == whole[99:]
        [lost] = events(back(whole[10].id))
        assert lost.event == "error"
        assert "--run-journal" in json.loads(lost.data)["detail"]
        assert back(lost.id).status_code == 204

    def test_a_slow_reader_loses_nothing_beyond_the_journal_limit(self, small: LiveServer) -> None:
        code = "def run():\n    for n in range(3000): yield f'{n} ' * 20"
        with httpx.stream("GET", small.url, params={"code": code}, headers=EVENTS) as answer:
            received = [event.data for event in following(answer)]
        assert received[:-1] == [f"{n} " * 20 for n in range(3000)]

    def test_a_follower_too_slow_for_a_detached_run_gets_an_error_about_lost_events(
        self, small: LiveServer, gate: Gate
    ) -> None:
        # More than the buffers of the sockets hold.
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n"
        code += "    for _ in range(1000): yield 'x' * 65536"
        run = small.ask("POST", "/", data={"code": code, "detach": "1"}).json()
        with (
            httpx.stream("GET", small.url + run["events"]) as events,
            socket.create_connection(("127.0.0.1", small.port), timeout=20) as plain,
        ):
            plain.sendall(f"GET {run['answer']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            received = following(events)
            assert next(received).data == "first"
            begun = b""
            while b"first" not in begun:
                begun += plain.recv(1 << 16)
            gate.open()
            wait_until(lambda: small.ask("GET", run["url"]).json()["state"] == "done")
            rest = list(received)
            answer = b"".join(iter(lambda: plain.recv(1 << 20), b""))
        # A plain response can report it only by an abort, without the last chunk.
        assert begun.startswith(b"HTTP/1.1 200 ")
        assert not answer.endswith(b"0\r\n\r\n")
        assert len(rest) < 1000
        assert rest[-1].event == "error"
        # The events before it are complete, and the error is the last event.
        assert [event.data for event in rest[:-1]] == ["x" * 65536] * (len(rest) - 1)
        assert json.loads(rest[-1].data)["title"] == "the events are lost"
        back = small.ask("GET", run["events"], headers={"Last-Event-ID": rest[-1].id})
        assert back.status_code == 204

    def test_a_silent_stream_sends_comments(self, small: LiveServer, gate: Gate) -> None:
        code = f"def run():\n    yield 1\n    {gate.wait}\n    yield 2"
        with httpx.stream("GET", small.url, params={"code": code}, headers=EVENTS) as answer:
            content, gate_is_open = b"", False
            for piece in answer.iter_raw():
                content += piece
                if content.count(b": \n") >= 3 and not gate_is_open:
                    gate.open()
                    gate_is_open = True
        assert content.count(b": \n") >= 3
        assert [event.data for event in Decoder().feed(content)][:2] == ["1", "2"]
