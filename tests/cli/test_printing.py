"""owt.cli.output: the bytes of an event."""

from __future__ import annotations

import pytest

from owt.cli.output import event_bytes
from owt.client.events import Event
from owt.wire.chunk import FACTS

BUNDLE = {"text/plain": "   a\n0  1", "text/html": "<table>"}


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (Event("message", "token "), b"token "),
        (Event("message", "5"), b"5"),
        (Event("message", "5", is_json=True), b"5\n"),
        (Event("message", '{"a":1}', is_json=True), b'{"a":1}\n'),
        # A token of text, as a language model yields it.
        (Event("message", "{}"), b"{}"),
        (Event("message", "[not json"), b"[not json"),
        (Event("message", "[" * 100_000), b"[" * 100_000),
        (Event("bytes", b"\x00\xff"), b"\x00\xff"),
        (Event("stdout", "line\n"), b"line\n"),
        (Event("result", "ö"), "ö".encode()),
        (Event("result", "null", is_json=True), b""),
        (Event("result", "null"), b"null"),
        (Event("result", '{"a":1}', is_json=True), b'{"a":1}\n'),
        (Event("result", '{"a":1}'), b'{"a":1}'),
        (Event("result", b"\xff"), b"\xff"),
        (Event("result", '{"text/plain":"   a\\n0  1","text/html":"<b>"}', is_json=True), b"   a\n0  1\n"),
        (Event("result", '{"text/plain":"x","other":1}', is_json=True), b'{"text/plain":"x","other":1}\n'),
        (Event("display", BUNDLE), b"   a\n0  1\n"),
        (Event("display", {"image/png": "AA=="}), b"<image/png>\n"),
        (Event("display", {"image/png": "AA==", FACTS: {"display_id": "d"}}), b"<image/png>\n"),
        (Event("display", {FACTS: {"clear": "now"}}), b""),
        (Event("tick", "own"), b"own\n"),
        (Event("done", {"own": 1}), b'{"own": 1}\n'),
    ],
)
def test_event_bytes_are_readable(event, data):
    assert event_bytes(event) == data
