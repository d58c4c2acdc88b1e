"""owt.frontend.http.messages: chunks as frames."""

from __future__ import annotations

import json
import struct

import pytest

from owt.frontend.http.messages import EventMessages, Messages, closing, frame
from owt.frontend.problems import Problem
from owt.wire.chunk import Data, Done, Failed, Head, Stdout

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


def events(pieces: list[bytes]) -> list[object]:
    """Return names, numbers and data of short events."""
    documents = [json.loads(piece) for piece in pieces[1::2]]
    return [(document["event"], document["id"].split("-")[1], document["data"]) for document in documents]


@pytest.mark.parametrize(
    ("form", "data"), [("text", "hal"), ("json", "hal"), ("bytes", "aGFsw7w=")]
)
def test_a_failure_cuts_off_a_value_after_its_last_piece(form: str, data: str):
    messages = EventMessages("r1", None, after=2)
    body = "halü".encode()
    assert messages.render(Data(body[:-1] if form != "bytes" else body, form, more=True)) == []
    first, second = events(messages.render(FAILED))
    assert first == ("incomplete", "3", data)
    assert second[:2] == ("error", "4")
    assert messages.closing == (1011, "KeyError: 'a'")


def test_a_run_that_has_failed_closes_so_for_a_client_that_resumes_it():
    assert EventMessages("r1", None, failure=FAILED).closing[0] == 1011
