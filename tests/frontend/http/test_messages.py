"""owt.frontend.http.messages: chunks as frames."""

from __future__ import annotations

import json
import struct

import pytest

from owt.frontend.http.messages import EventMessages, Messages, closing, frame
from owt.frontend.problems import Problem
from owt.wire.chunk import Data, Done, Failed, Form, Head, Stdout

FAILED = Failed(500, "exception", "the adaptor raised KeyError", "'a'", "KeyError")


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (0xFFFF, b"\x81\x7e\xff\xff"),
        (0x10000, b"\x81\x7f" + struct.pack("!Q", 0x10000)),
    ],
)
def test_a_frame_states_its_length(size: int, head: bytes):
    assert frame(1, bytes(size)) == [head, bytes(size)]


def test_the_pieces_of_a_large_value_are_the_frames_of_one_message():
    messages = Messages("r1", None)
    begun = [Head(200, ()), Data(b"a", "bytes", more=True), Data(b"b", "bytes", more=True)]
    chunks = [*begun, Data(b"c", "bytes"), Data(b"d", "text"), Stdout("x")]
    assert [b"".join(messages.render(chunk)) for chunk in chunks] == [
        b"", b"\x02\x01a", b"\x00\x01b", b"\x80\x01c", b"\x81\x01d", b""
    ]  # fmt: skip
    assert not messages.finished
    assert (messages.render(Done(200, 1.0)), messages.finished, messages.closing) == ([], True, (1000, ""))


@pytest.mark.parametrize(
    ("status", "name", "detail", "expected"),
    [
        (500, "KeyError", "'a'", (1011, "KeyError: 'a'")),
        (500, "KeyError", "", (1011, "KeyError")),
        (404, "", "line 1\nline 2", (4404, "title: line 1")),
        (503, "", "ü" * 100, (4503, "title: " + "ü" * 58)),
    ],
)
def test_the_code_of_the_end_is_that_of_the_problem(status: int, name: str, detail: str, expected: object):
    assert closing(Problem("urn:owt:x", "title", status, detail, name)) == expected


def received(pieces: list[bytes]) -> list[tuple[str, int, object]]:
    """Return name, number and data of each event in frames, of which the last one is final."""
    data, events, message = b"".join(pieces), [], b""
    while data:
        size, start = data[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        assert data[0] & 0xF == (0 if message else 1)
        message += data[start : start + size]
        if data[0] & 0x80:
            document = json.loads(message)
            events.append((document["event"], int(document["id"].split("-")[1]), document["data"]))
            message = b""
        data = data[start + size :]
    assert not message
    return events


@pytest.mark.parametrize(("form", "name"), [("text", "message"), ("json", "message"), ("bytes", "bytes")])
def test_the_pieces_of_a_large_value_are_sent_as_they_come(form: Form, name: str):
    value = {"text": 'h"\\\n\x00aé💥lü', "json": {"é": [1, "💥"]}, "bytes": "aGFsw7w="}[form]
    body = {"text": str(value).encode(), "json": json.dumps(value, ensure_ascii=False).encode()}
    body["bytes"] = "halü".encode()
    step = 3 if form == "bytes" else 1
    parts = [body[form][start : start + step] for start in range(0, len(body[form]), step)]
    messages = EventMessages("r1", None)
    frames: list[bytes] = []
    # The second value is like the first.
    for number in range(2 * len(parts)):
        more = (number + 1) % len(parts) > 0
        pieces = messages.render(Data(parts[number % len(parts)], form, more=more))
        assert pieces
        frames += pieces
    assert received(frames) == [(name, len(parts), value), (name, 2 * len(parts), value)]


@pytest.mark.parametrize(("form", "data"), [("text", "hal"), ("bytes", "aGFsw7w=")])
def test_a_failure_cuts_off_a_value_after_its_last_piece(form: Form, data: str):
    messages = EventMessages("r1", None, after=2)
    body = "halü".encode()
    begun = messages.render(Data(body[:-1] if form != "bytes" else body, form, more=True))
    first, second = received(begun + messages.render(FAILED))
    assert first == ("incomplete", 3, data)
    assert second[:2] == ("error", 4)
    assert messages.closing == (1011, "KeyError: 'a'")


def test_no_event_follows_json_that_a_failure_cuts_off():
    messages = EventMessages("r1", None)
    assert messages.render(Data(b"[1, ", "json", more=True))
    assert [messages.render(chunk) for chunk in (Stdout("x"), FAILED, Done(500, 1.0))] == [[], [], []]
    assert (messages.finished, messages.closing) == (True, (1011, "KeyError: 'a'"))


def test_a_run_that_has_failed_closes_so_for_a_client_that_resumes_it():
    assert EventMessages("r1", None, failure=FAILED).closing[0] == 1011
