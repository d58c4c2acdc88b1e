"""Calls by WebSocket, by real clients."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import signal
import socket as sockets
import struct
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tcp_proxy import TcpProxy
from websocket import (
    ABNF,
    WebSocket,
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
    create_connection,
)

from owt.testing import PATIENCE, Gate, LiveServer, wait_until

ECHO = "def run():\n    for message in request.messages:\n        yield message"
START = '{"start": true}'
MIB = 1 << 20


@contextmanager
def connected(
    server: LiveServer | TcpProxy, path: str = "/", *, events: bool = False,
    headers: dict[str, str] | None = None, protocols: tuple[str, ...] = (), **fields: object,
) -> Iterator[WebSocket]:
    """Yield a WebSocket of a call; with `events`, of the subprotocol `owt.events`."""
    query = "&".join(f"{name}={quote(str(value))}" for name, value in fields.items())
    socket = create_connection(
        server.url.replace("http", "ws", 1) + f"{path}?{query}",
        timeout=PATIENCE,
        subprotocols=[*protocols, *["owt.events"] * events],
        suppress_origin=True,
        header=headers or {},
        skip_utf8_validation=True,
    )
    try:
        yield socket
    finally:
        socket.shutdown()


def end_of(socket: WebSocket) -> tuple[list[Any], int, str]:
    """Receive until the server closes. Returns the messages, the code and the reason."""
    messages: list[Any] = []
    while True:
        code, data = socket.recv_data()
        if code == ABNF.OPCODE_CLOSE:
            return messages, struct.unpack("!H", data[:2])[0], data[2:].decode()
        messages.append(data.decode() if code == ABNF.OPCODE_TEXT else data)


def event(socket: WebSocket) -> dict[str, Any]:
    received: dict[str, Any] = json.loads(socket.recv())
    return received


def ended(http: httpx.Client, session: str) -> dict[str, Any] | None:
    """Return the newest run of the session if it has ended."""
    runs = [run for run in http.get("/_owt/runs").json()["runs"] if run["session"] == session]
    run: dict[str, Any] = max(runs, key=lambda run: run["created"])
    return run if run["ended"] else None


def test_each_message_is_an_item_and_each_yield_a_message(server: LiveServer, session: str) -> None:
    with connected(server, session=session, code=ECHO) as socket:
        for message in ("text", "", "ü" * 100_000):
            socket.send(message)
            assert socket.recv() == message
        for data in (b"bytes", b"", bytes(3 * MIB)):
            socket.send_binary(data)
            assert socket.recv() == data


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ("yield 'a'; yield b'b'; yield {'n': 1}; yield None; yield ''", ["a", b"b", '{"n":1}', "null", ""]),
        ("yield 1; return 2", ["1", "2"]),
        ("return [1, 'x']", ['[1,"x"]']),
        ("return b'bytes'", [b"bytes"]),
        ("print('to the log')", []),
        ("yield 'x' * 3_000_000", ["x" * 3_000_000]),
        ("return request.scheme", ["ws"]),
    ],
)
def test_values_are_messages(server: LiveServer, session: str, body: str, messages: list[Any]) -> None:
    with connected(server, session=session, code=f"def run(): {body}") as socket:
        assert end_of(socket) == (messages, 1000, "")


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"code": "def run(): raise ValueError('x' * 500)"}, 1011, "ValueError: xxx"),
        ({"code": "def run(): yield 'ü' * 300_000; raise ValueError('ü' * 500)"}, 1011, "ValueError: ü"),
        ({"code": "1 +"}, 4400, "SyntaxError: "),
        ({"code": "import time; time.sleep(60)", "timeout": "0.2"}, 4504, "timed out: "),
        ({}, 4400, "bad request: code: is missing"),
        ({"code": "1", "detach": "1"}, 4400, "bad request: detach: "),
        ({"code": "1", "use_cache": "1"}, 4400, "bad request: use_cache: "),
        ({"fn_name": "nothing"}, 4404, "no such session: "),
    ],
)
def test_a_failure_closes_with_its_code(
    server: LiveServer, session: str, fields: dict[str, str], code: int, reason: str
) -> None:
    with connected(server, session=session, **fields) as socket:
        _, actual, text = end_of(socket)
        assert (actual, text[: len(reason)]) == (code, reason)
        assert len(text.encode()) <= 123


@pytest.mark.parametrize("events", [False, True])
def test_an_unknown_path_closes_with_4404(server: LiveServer, events: bool) -> None:
    with connected(server, "/nothing/here", events=events) as socket:
        if events:
            socket.send(START)
        messages, code, _ = end_of(socket)
        assert code == 4404
        names = [json.loads(message)["event"] for message in messages]
        assert names == (["open", "error", "done"] if events else [])


@pytest.mark.parametrize(
    ("kind", "sent", "received"),
    [
        ("Iterator[str]", ["a", b"b"], ["'a'", "'b'"]),
        ("Iterator[bytes]", ["a", b"b"], ["b'a'", "b'b'"]),
        ("Iterator[dict[str, int]]", ['{"n": 1}', b'{"n": 2}'], ["{'n': 1}", "{'n': 2}"]),
        ("AsyncIterator[str]", ["a", "b"], ["'a'", "'b'"]),
        ("AsyncIterator[int]", ["1", "2"], ["1", "2"]),
    ],
)
def test_messages_are_typed_by_the_annotation_of_an_endpoint(
    server: LiveServer, http: httpx.Client, session: str, kind: str, sent: list[Any], received: list[str]
) -> None:
    path = f"/{session}"
    a = "async " * kind.startswith("Async")
    define = f"{a}def f(items: {kind}):\n  {a}for i in items: yield repr(i)"
    code = f"from collections.abc import *\n@endpoint({path!r})\n{define}"
    assert http.post("/", data={"session": session, "code": code}).status_code < 300
    with connected(server, path) as socket:
        for message in sent:
            socket.send(message, ABNF.OPCODE_TEXT if isinstance(message, str) else ABNF.OPCODE_BINARY)
        assert [socket.recv() for _ in received] == received
        if "int" in kind:
            socket.send("{")
            _, code_, reason = end_of(socket)
            assert code_ == 4422
            assert "items: message 3: " in reason


def test_an_endpoint_for_other_methods_is_called(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    code = f"@endpoint('/{session}', methods=['POST'])\ndef f(n: int): return n + 1"
    http.post("/", data={"session": session, "code": code})
    with connected(server, f"/{session}", n=1) as socket:
        assert end_of(socket)[0] == ["2"]


def test_the_end_of_the_connection_ends_the_input(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    code = "def run():\n  state.got = list(request.messages)\n  state.after = True"
    with connected(server, session=session, code=code) as socket:
        socket.send("one")
        socket.send("two")
        socket.close()
    wait_until(lambda: ended(http, session))
    assert http.get("/", params={"session": session, "code": "state.got, state.after"}).text.strip() == (
        '[["one","two"],true]'
    )


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("events", [True, False])
def test_a_client_that_vanishes_ends_the_generator(
    server: LiveServer, http: httpx.Client, session: str, events: bool, reads: bool
) -> None:
    body = "for _ in request.messages: pass" if reads else "while True: yield 'x'"
    code = f"def run():\n  try:\n    yield 'begun'\n    {body}\n  finally: state.ended = True"
    with connected(server, session=session, code=code, events=events) as socket:
        if events:
            socket.send(START)
            socket.recv()
        socket.recv()
        socket.shutdown()
    run = wait_until(lambda: ended(http, session))
    assert run["failure"]["type"] == "cancelled"
    assert http.get("/", params={"session": session, "code": "state.ended"}).text == "True"


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("how", ["cancel", "interrupt", "timeout"])
def test_a_call_that_waits_for_a_message_can_be_stopped(
    server: LiveServer, http: httpx.Client, session: str, how: str, is_async: bool
) -> None:
    a = "async " * is_async
    code = f"{a}def run():\n  yield 'waits'\n  {a}for _ in request.messages: pass"
    options = {"timeout": "0.5"} if how == "timeout" else {}
    with connected(server, session=session, code=code, **options) as socket:
        assert socket.recv() == "waits"
        if how == "interrupt":
            http.post(f"/_owt/sessions/{session}/interrupt")
        elif how == "cancel":
            runs = http.get("/_owt/runs").json()["runs"]
            [id] = [run["id"] for run in runs if run["session"] == session and not run["ended"]]
            http.delete(f"/_owt/runs/{id}")
        assert end_of(socket)[1] in ((4504,) if how == "timeout" else (4499, 1011))
    assert http.get("/", params={"session": session, "code": "1 + 1"}).text == "2"


def test_a_sender_waits_for_an_adaptor_that_does_not_read(
    server: LiveServer, http: httpx.Client, session: str, gate: Gate
) -> None:
    code = f"def run():\n  {gate.wait}\n  return sum(map(len, request.messages))"
    sent = 0
    with connected(server, session=session, code=code, events=True) as socket:
        socket.send(START)
        socket.recv()
        socket.settimeout(0.5)
        part = bytes(MIB)
        with suppress(WebSocketTimeoutException):
            while sent < 40:
                socket.send_binary(part)
                sent += 1
        # A window, one message and the buffers of both ends of the connection.
        assert sent < 40
        gate.open()


def test_a_client_that_reads_slowly_stops_the_generator(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    code = "def run():\n  for state.sent in range(1000): yield bytes(1 << 20)"
    with connected(server, session=session, code=code) as socket:
        socket.recv()
        id = next(run["id"] for run in http.get("/_owt/runs").json()["runs"] if run["session"] == session)

        def sent() -> int:
            return int(http.get(f"/_owt/runs/{id}").json()["bytes"])

        counts = [-1]

        def waits() -> bool:
            counts.append(sent())
            return counts[-1] == counts[-2]

        # It has sent what the buffers take.
        wait_until(waits)
        assert sent() < 100 * MIB
    assert wait_until(lambda: ended(http, session))["failure"]["type"] == "cancelled"


def test_a_plain_connection_cannot_ask_and_says_what_can(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    with connected(server, session=session, code="def run(): return input('Name? ')") as socket:
        _, code, reason = end_of(socket)
    assert (code, reason[:50]) == (1011, "EOFError: no client can answer this input(): a pla")
    failure = wait_until(lambda: ended(http, session))["failure"]
    assert "by WebSocket with the subprotocol owt.events" in failure["detail"]


class TestEvents:
    """The subprotocol `owt.events`."""

    @pytest.mark.parametrize("how", ["message", "post"])
    def test_questions_are_events_and_messages_the_answers(
        self, server: LiveServer, http: httpx.Client, session: str, how: str
    ) -> None:
        code = (
            "import getpass\ndef run():\n  yield input('Name? ')\n  yield getpass.getpass('PIN')\n"
            "  yield from request.messages"
        )
        with connected(server, session=session, code=code, events=True) as socket:
            socket.send(START)
            run = event(socket)["data"]["run"]

            def answer(text: str) -> None:
                if how == "message":
                    socket.send(text)
                else:
                    http.post(f"/_owt/runs/{run}/input", content=text, headers={"Content-Type": "text/plain"})

            for prompt, password in (("Name? ", False), ("PIN", True)):
                question = event(socket)
                assert question["event"] == "input"
                assert question["data"] == {"prompt": prompt, "password": password}
                assert http.get(f"/_owt/runs/{run}").json()["state"] == "waiting-for-input"
                answer(f"to {prompt}")
                assert event(socket)["data"] == f"to {prompt}"
            answer("more")
            assert event(socket)["data"] == "more"
            socket.close()

    def test_a_question_is_asked_again_by_the_next_connection(
        self, patient: LiveServer, request: pytest.FixtureRequest
    ) -> None:
        name = f"asked-{abs(hash(request.node.nodeid))}"
        with connected(patient, session=name, code="def run(): return input('?')", events=True) as first:
            first.send(START)
            opening, question = event(first), event(first)
            _reset(first)
        with connected(patient, session=name, events=True) as second:
            second.send(json.dumps({"resume": opening["id"], "received": 0}))
            assert event(second)["event"] == "open"
            assert event(second) == question
            second.send("answer")
            assert event(second)["data"] == "answer"

    def test_a_large_value_comes_in_fragments(self, server: LiveServer, session: str) -> None:
        values: dict[str, object] = {
            "text": 'h"\n€' * 300_000, "json": [{"é": 1.5}] * 100_000, "bytes": b"\0\xff" * 400_000
        }  # fmt: skip
        code = (
            "def run():\n  yield 'h\"\\n€' * 300_000\n  yield [{'é': 1.5}] * 100_000\n"
            "  yield b'\\0\\xff' * 400_000"
        )
        with connected(server, session=session, code=code, events=True) as socket:
            socket.send(START)
            event(socket)
            for form, value in values.items():
                received = event(socket)
                data = base64.b64decode(received["data"]) if form == "bytes" else received["data"]
                assert received["form"] == form
                assert data == value
            assert event(socket)["event"] == "done"

    def test_every_event_is_a_json_text(self, server: LiveServer, session: str) -> None:
        code = (
            "import sys\ndef run():\n  print('out')\n  yield 'text'\n  yield b'bytes'\n  yield {'n': 1}\n"
            "  print('err', file=sys.stderr)\n  display({'text/plain': 'shown'}, raw=True)\n"
            "  yield 'x' * 3_000_000\n  raise ValueError('bad')"
        )
        with connected(server, session=session, code=code, events=True) as socket:
            socket.send(START)
            messages, *closing = end_of(socket)
        events = [json.loads(message) for message in messages]
        run = events[0]["data"]["run"]
        assert [(item["event"], item["id"]) for item in events] == [
            (name, f"{run}-{number}")
            for number, name in enumerate(
                ["open", "stdout", "message", "bytes", "message", "stderr", "display"]
            )
        ] + [(item["event"], item["id"]) for item in events[7:]]
        assert [item["event"] for item in events[7:]] == ["message", "error", "done"]
        assert events[0]["data"] == {"run": run, "session": session, "received": 0}
        assert [item["data"] for item in events[1:7]] == [
            "out\n", "text", "Ynl0ZXM=", {"n": 1}, "err\n", {"text/plain": "shown"}
        ]  # fmt: skip
        assert [item.get("form") for item in events[1:6]] == [None, "text", "bytes", "json", None]
        assert events[7]["data"] == "x" * 3_000_000
        assert events[8]["data"]["exception"] == "ValueError"
        assert events[9]["data"]["status"] == 500
        assert closing == [1011, "ValueError: bad"]

    def test_a_client_may_read_the_output_elsewhere(
        self, server: LiveServer, http: httpx.Client, session: str
    ) -> None:
        code = f"print('begun', end='')\n{ECHO}\n    1 / 0"
        with connected(server, session=session, code=code, events=True) as first:
            first.send(json.dumps({"start": True, "end": "end", "output": False}))
            run = event(first)["data"]["run"]
            with http.stream("GET", f"/_owt/runs/{run}/events") as answer:
                lines = (line for line in answer.iter_lines() if line.startswith("data"))
                first.send("one")
                assert [next(lines), next(lines)] == ["data: begun", "data: one"]
                with connected(server, session=session, code="1", events=True) as second:
                    second.send(json.dumps({"resume": f"{run}-0", "received": 1, "output": False}))
                    assert end_of(first)[1] == 4409
                    assert event(second) == {
                        "event": "open", "id": f"{run}-0",
                        "data": {"run": run, "session": session, "received": 1},
                    }
                    for _ in range(64):
                        second.send("x")
                    assert event(second) == {"event": "received", "data": 65}
                    assert [next(lines) for _ in range(64)] == ["data: x"] * 64
                    second.send("end")
                    assert "ZeroDivisionError" in next(lines)
                    assert end_of(second) == ([], 1011, "ZeroDivisionError: division by zero")
            with connected(server, session=session, code="1", events=True) as late:
                late.send(json.dumps({"resume": f"{run}-0", "received": 66, "output": False}))
                assert event(late)["data"]["received"] == 66
                assert end_of(late)[1] == 1011

    @pytest.mark.parametrize("window", ["0s", "50ms"])
    def test_output_that_nobody_reads_cancels_the_call(self, window: str) -> None:
        code = "def run():\n  for message in request.messages: pass"
        with LiveServer("--resume-window", window) as server:
            with connected(server, session="s", code=code, events=True) as socket:
                socket.send(json.dumps({"start": True, "output": False}))
                run = event(socket)["data"]["run"]
            wait_until(lambda: server.ask("GET", f"/_owt/runs/{run}").json()["ended"])
            assert server.ask("GET", f"/_owt/runs/{run}").json()["failure"]["type"] == "cancelled"

    @pytest.mark.parametrize(
        ("first", "code"),
        [
            ("nonsense", 4400),
            ("{}", 4400),
            ('{"resume": "nonsense"}', 4400),
            ('{"start": true, "more": 1}', 4400),
            ('{"resume": "0123456789abcdef-0"}', 4410),
        ],
    )
    def test_another_first_message_is_refused(
        self, server: LiveServer, session: str, first: str, code: int
    ) -> None:
        with connected(server, session=session, code="state.ran = 1", events=True) as socket:
            socket.send(first)
            messages, actual, _ = end_of(socket)
        assert actual == code
        assert [json.loads(message)["data"]["status"] for message in messages] == [code - 4000]

    @pytest.mark.parametrize(
        ("body", "value"),
        [
            ("return list(request.messages)", ["one\n", "t", "wo"]),
            ("return [line.decode() for line in request.stream]", ["one\n", "two"]),
            ("return [request.get_data().decode(), request.method]", ["one\ntwo", "POST"]),
            ("input()", None),
        ],
    )
    def test_the_messages_can_be_the_parts_of_a_body_with_an_end(
        self, server: LiveServer, session: str, body: str, value: list[str] | None
    ) -> None:
        with connected(server, session=session, code=f"def run(): {body}", events=True) as socket:
            socket.send('{"start": true, "body": true, "end": "-"}')
            for part in ("one\n", "t", "wo", "-", "dropped"):
                socket.send(part)
            messages, *_ = end_of(socket)
        result = json.loads(messages[1])
        assert result["data"] == value if value else result["data"]["exception"] == "EOFError"

    def test_parts_of_a_body_are_lines_of_an_endpoint(
        self, server: LiveServer, http: httpx.Client, session: str
    ) -> None:
        define = f"@endpoint('/{session}', methods=['POST'])\ndef f(lines: Iterator[str]): yield from lines"
        http.post("/", data={"session": session, "code": f"from collections.abc import *\n{define}"})
        with connected(server, f"/{session}", events=True) as socket:
            socket.send('{"start": true, "body": true, "end": "-"}')
            for part in ("one\nt", "wo\n", "-"):
                socket.send(part)
            assert [json.loads(message)["data"] for message in end_of(socket)[0][1:-1]] == ["one", "two"]

    def test_a_run_goes_on_by_another_connection(
        self, patient: LiveServer, request: pytest.FixtureRequest
    ) -> None:
        name = f"resumed-{abs(hash(request.node.nodeid))}"
        with connected(patient, session=name, code=ECHO, events=True) as first:
            first.send(START)
            first.send("one")
            event(first)
            one = event(first)
            # While the first one is still there.
            with connected(patient, session=name, code=ECHO, events=True) as second:
                second.send(json.dumps({"resume": one["id"], "received": 1}))
                assert event(second)["data"]["received"] == 1
                second.send("two")
                assert event(second)["data"] == "two"
                assert end_of(first)[1] == 4409
                second.close()
        with connected(patient, session=name, events=True) as third:
            # The connection's end has ended the input, and the run.
            third.send(json.dumps({"resume": one["id"], "received": 2}))
            messages, code, _ = end_of(third)
            assert [json.loads(message)["event"] for message in messages] == ["open", "message", "done"]
            assert code == 1000
            over = json.loads(messages[-1])["id"]
        with connected(patient, session=name, events=True) as fourth:
            fourth.send(json.dumps({"resume": over, "received": 9}))
            assert end_of(fourth)[1] == 4400
        with connected(patient, session=name, events=True) as fifth:
            fifth.send(json.dumps({"resume": over, "received": 2}))
            messages, code, _ = end_of(fifth)
            assert ([json.loads(message)["event"] for message in messages], code) == (["open"], 1000)

    def test_cuts_at_any_byte_lose_nothing_and_repeat_nothing_in_either_direction(
        self, patient: LiveServer, request: pytest.FixtureRequest
    ) -> None:
        name = f"cuts-{abs(hash(request.node.nodeid))}"
        chance = random.Random(14)
        items = [f"{number} " + "x" * chance.choice([0, 10, 5000, 20_000]) for number in range(CUT_ITEMS)]
        # The event of a large value is sent in fragments.
        items[::200] = ["x" * 600_000] * len(items[::200])
        code = (
            "def run():\n  for number, item in enumerate(request.messages, 1):\n"
            f"    yield item\n    if number == {len(items)}: break"
        )
        echoed: list[str] = []
        ids: list[int] = []
        last = ""

        def limit() -> int:
            # The first connection gets as far as the run's id.
            return chance.choice([1 << 20, *[chance.randrange(60_000)] * 9]) + (0 if last else 2000)

        with TcpProxy(patient.port, limit) as proxy:
            while len(echoed) < len(items):
                with suppress(WebSocketException, OSError), connected(
                    proxy, session=name, code=code, events=True
                ) as socket:
                    socket.send(json.dumps({"resume": last, "received": 0}) if last else START)
                    opening = event(socket)
                    last = last or opening["id"]
                    rest = items[opening["data"]["received"] :]
                    sender = threading.Thread(target=_send, args=(socket, rest))
                    sender.start()
                    try:
                        while (received := event(socket))["event"] != "done":
                            if received["event"] == "message":
                                last = received["id"]
                                ids.append(int(last.rpartition("-")[2]))
                                echoed.append(received["data"])
                    finally:
                        sender.join()
            cuts = proxy.cuts
        assert echoed == items
        assert ids == sorted(set(ids))
        assert cuts > CUT_ITEMS / 10


CUT_ITEMS = 500
"""Number of messages in the test of cuts, of which there are about a quarter as many."""


def _send(socket: WebSocket, items: list[str]) -> None:
    # The connection is cut.
    with suppress(WebSocketException, OSError):
        for item in items:
            socket.send(item)


def _reset(socket: WebSocket) -> None:
    """Cut the connection at once."""
    socket.sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    socket.sock.shutdown(sockets.SHUT_RDWR)
    socket.sock.close()


@pytest.fixture(scope="module")
def guarded() -> Iterator[LiveServer]:
    """Start a server with a user, a token and a small limit of bodies."""
    auth = f"me:{hashlib.sha256(b'a:b').hexdigest()}"
    with LiveServer("--auth", auth, "--token", "secret-secret-secret", "--max-body", "1KiB") as server:
        yield server


class TestGuards:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://other.example"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "https://other.example"},
            {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"},
        ],
    )
    def test_a_page_of_another_origin_is_refused(self, server: LiveServer, headers: dict[str, str]) -> None:
        with pytest.raises(WebSocketBadStatusException) as refused, connected(
            server, code="1", headers=headers
        ):
            pass
        assert refused.value.status_code == 403

    def test_the_servers_own_page_may_connect(self, server: LiveServer) -> None:
        with connected(server, code="1", headers={"Origin": server.url}) as socket:
            assert end_of(socket)[0] == ["1"]

    def test_a_client_needs_credentials_and_sees_its_own_runs_only(self, guarded: LiveServer) -> None:
        with pytest.raises(WebSocketBadStatusException) as refused, connected(guarded, code="1"):
            pass
        assert refused.value.status_code == 401
        headers = {"Authorization": "Bearer secret-secret-secret"}
        code = "def run(): return 'Authorization' in request.headers"
        with connected(guarded, code=code, headers=headers) as socket:
            assert end_of(socket)[0] == ["False"]
        with connected(guarded, code=ECHO, headers=headers) as socket:
            socket.send("x" * 1024)
            assert socket.recv() == "x" * 1024
            socket.send("x" * 1025)
            assert end_of(socket)[1] == 1009

    @pytest.mark.parametrize("events", [False, True])
    def test_a_subprotocol_has_the_credentials_of_a_client_without_headers(
        self, guarded: LiveServer, events: bool
    ) -> None:
        authorizations = ["Basic bWU6YTpi", "Bearer secret-secret-secret", "Bearer wrong", "", "x"]
        code = "def run(): return request.remote_user, 'owt.' in str(request.headers)"
        results: list[object] = []
        for authorization in authorizations:
            encoded = urlsafe_b64encode(authorization.encode()).decode().rstrip("=")
            protocols = (f"owt.authorization.{encoded}", "owt.messages")
            try:
                with connected(guarded, code=code, protocols=protocols, events=events) as socket:
                    assert socket.getsubprotocol() == ("owt.events" if events else "owt.messages")
                    socket.send(START)
                    message = json.loads(end_of(socket)[0][events])
                results.append(message["data"] if events else message)
            except WebSocketBadStatusException as refused:
                results.append(refused.status_code)
        assert results == [["me", False], ["token", False], 401, 401, 401]

    def test_shutting_down_closes_with_1001(self) -> None:
        with LiveServer("--drain", "0s") as server, connected(server, code=ECHO) as socket:
            socket.send("a")
            assert socket.recv() == "a"
            server.send_signal(signal.SIGTERM)
            assert end_of(socket)[1] == 1001


def test_a_run_id_of_the_client_is_refused(server: LiveServer) -> None:
    with connected(server, code="1", headers={"Owt-Run": "client-chosen"}) as socket:
        messages, code, reason = end_of(socket)
    assert (messages, code) == ([], 4400)
    assert "Owt-Run: cannot be used by WebSocket" in reason
