"""owt.jupyter.renderer and terminal: output of a call in a terminal."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import numpy as np
import pytest

from owt.jupyter.output_items import (
    AdaptorEvent,
    Blob,
    End,
    JsonValue,
    MimeBundle,
    OutputItem,
    Printed,
    TextValue,
)
from owt.jupyter.renderer import indented
from owt.jupyter.terminal import TerminalRenderer
from owt.lib.encoding import wav


@pytest.fixture
def output(capsys):
    """Return a function that returns the text of some pieces on stdout and stderr."""

    def show(*pieces: OutputItem) -> tuple[str, str]:
        screen = TerminalRenderer()
        for piece in pieces:
            screen.show(piece)
        screen.end()
        printed = capsys.readouterr()
        return printed.out, printed.err

    return show


SOUND = wav(np.zeros(500, np.int16), 1000)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([TextValue("a"), TextValue("b")], "ab\n"),
        ([TextValue("a\n"), TextValue("b\n")], "a\nb\n"),
        ([TextValue("a"), JsonValue({"b": 1})], 'a\n{"b": 1}\n'),
        ([TextValue("a"), Printed("stdout", "b")], "ab\n"),
        ([TextValue("<svg/>", returned=True, type="image/svg+xml")], "<svg/>\n"),
        ([JsonValue(1), JsonValue(None)], "1\nnull\n"),
        ([AdaptorEvent("token", "a"), AdaptorEvent("token", {"b": 1})], 'token: a\ntoken: {"b": 1}\n'),
        ([TextValue("a", line=True), TextValue("[DONE]", line=True)], "a\n"),
        ([MimeBundle({"text/plain": "[red]table", "text/html": "<b>"})], "[red]table\n"),
        ([JsonValue({"a": [1], "b": "x" * 90})], f'{{\n  "a": [1],\n  "b": "{"x" * 90}"\n}}\n'),
        ([JsonValue(["x" * 200])], f'[\n  "{"x" * 200}"\n]\n'),
        ([MimeBundle({"image/png": "aaaa"})], "<image/png>\n"),
        ([Blob(SOUND, "audio/wav"), TextValue("after")], "audio/wav, 0.5 s, 1.0 kB\nafter\n"),
        (
            [JsonValue({"sentence": "One.", "chunk": base64.b64encode(SOUND).decode()})],
            "One. (audio/wav, 0.5 s, 1.0 kB)\n",
        ),
        ([Blob(b"plain", "text/plain")], "plain\n"),
        ([Blob(b"\xff\x00", "text/html")], "application/octet-stream, 2 bytes\n"),
        ([Blob(b"PK" * 900, "application/zip", returned=True)], "application/zip, 1.8 kB\n"),
    ],
)
def test_items_are_shown_as_text(output, pieces, expected):
    assert output(*pieces) == (expected, "")


@pytest.mark.parametrize(
    "piece",
    [
        MimeBundle({"text/markdown": "* one", "text/plain": "x"}),
        TextValue("* one", returned=True, type="text/markdown; charset=utf-8"),
        Blob(b"* one", "text/markdown", returned=True),
    ],
)
def test_markdown_is_rendered(output, piece):
    assert output(piece)[0].split() == ["•", "one"]


def test_stderr_and_error_statuses_go_to_stderr(output):
    assert output(Printed("stderr", "a\n"), TextValue("b"), End(418)) == (
        "b\n",
        "a\nowt: the adaptor answered 418\n",
    )


def test_an_unfinished_line_is_ended_on_its_own_stream(output):
    assert output(Printed("stderr", "9 %"), JsonValue(1)) == ("1\n", "9 %\n")


def test_text_is_flushed_at_once(monkeypatch):
    flushed: list[str] = []

    class Buffered(io.StringIO):
        def flush(self) -> None:
            flushed.append(self.getvalue())

    monkeypatch.setattr(sys, "stdout", Buffered())
    screen = TerminalRenderer()
    screen.show(TextValue("a"))
    screen.show(TextValue("b"))
    assert flushed[-1] == "ab"


@pytest.mark.parametrize("depth", [300, 930, 2000])
def test_deeply_nested_json_is_shown(output, depth):
    document: list[Any] = []
    for _ in range(depth):
        document = [document]
    assert output(JsonValue(document))[0].count("\n") < 50


def test_long_objects_are_indented():
    words = ["summat"] * 12
    assert indented({"a": [1, 2], "words": words}) == (
        '{\n  "a": [1, 2],\n  "words": [\n' + ",\n".join(['    "summat"'] * 12) + "\n  ]\n}"
    )
    assert indented("x" * 200) == f'"{"x" * 200}"'
