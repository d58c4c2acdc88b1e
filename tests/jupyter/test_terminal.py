"""A call's output in a terminal, and where it stands in its lines."""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import numpy as np
import pytest

from owt.jupyter.output_items import Blob, Bundle, Json, Named, Over, Piece, Printed, Text
from owt.jupyter.renderer import Nothing, indented
from owt.jupyter.terminal import Terminal
from owt.lib.encoding import wav


@pytest.fixture
def shown(capsys):
    """Gives what some pieces are on stdout and stderr."""

    def show(*pieces: Piece) -> tuple[str, str]:
        screen = Terminal()
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
        ([Text("a"), Text("b")], "ab\n"),
        ([Text("a\n"), Text("b\n")], "a\nb\n"),
        ([Text("a"), Json({"b": 1})], 'a\n{"b": 1}\n'),
        ([Text("a"), Printed("stdout", "b")], "ab\n"),
        ([Text("<svg/>", returned=True, type="image/svg+xml")], "<svg/>\n"),
        ([Json(1), Json(None)], "1\nnull\n"),
        ([Named("token", "a"), Named("token", {"b": 1})], 'token: a\ntoken: {"b": 1}\n'),
        ([Text("a", line=True), Text("[DONE]", line=True)], "a\n"),
        ([Bundle({"text/plain": "[red]table", "text/html": "<b>"})], "[red]table\n"),
        ([Json({"a": [1], "b": "x" * 90})], f'{{\n  "a": [1],\n  "b": "{"x" * 90}"\n}}\n'),
        ([Json(["x" * 200])], f'[\n  "{"x" * 200}"\n]\n'),
        ([Bundle({"image/png": "aaaa"})], "<image/png>\n"),
        ([Blob(SOUND, "audio/wav"), Text("after")], "audio/wav, 0.5 s, 1.0 kB\nafter\n"),
        (
            [Json({"sentence": "One.", "chunk": base64.b64encode(SOUND).decode()})],
            "One. (audio/wav, 0.5 s, 1.0 kB)\n",
        ),
        ([Blob(b"plain", "text/plain")], "plain\n"),
        ([Blob(b"\xff\x00", "text/html")], "application/octet-stream, 2 bytes\n"),
        ([Blob(b"PK" * 900, "application/zip", returned=True)], "application/zip, 1.8 kB\n"),
    ],
)
def test_pieces_are_text(shown, pieces, expected):
    assert shown(*pieces) == (expected, "")


@pytest.mark.parametrize(
    "piece",
    [
        Bundle({"text/markdown": "* one", "text/plain": "x"}),
        Text("* one", returned=True, type="text/markdown; charset=utf-8"),
        Blob(b"* one", "text/markdown", returned=True),
    ],
)
def test_markdown_is_rendered(shown, piece):
    assert shown(piece)[0].split() == ["•", "one"]


def test_what_goes_to_stderr_goes_there(shown):
    assert shown(Printed("stderr", "a\n"), Text("b"), Over(418)) == (
        "b\n",
        "a\nowt: the adaptor answered 418\n",
    )


def test_a_line_is_ended_where_it_was_begun(shown):
    assert shown(Printed("stderr", "9 %"), Json(1)) == ("1\n", "9 %\n")


def test_text_is_there_when_it_has_come(monkeypatch):
    flushed: list[str] = []

    class Buffered(io.StringIO):
        def flush(self) -> None:
            flushed.append(self.getvalue())

    monkeypatch.setattr(sys, "stdout", Buffered())
    screen = Terminal()
    screen.show(Text("a"))
    screen.show(Text("b"))
    assert flushed[-1] == "ab"


@pytest.mark.parametrize("depth", [300, 930, 2000])
def test_what_is_nested_deeply_is_shown_nevertheless(shown, depth):
    document: list[Any] = []
    for _ in range(depth):
        document = [document]
    assert shown(Json(document))[0].count("\n") < 50


def test_a_quiet_cell_shows_nothing(capsys):
    screen = Nothing()
    screen.show(Text("a"))
    screen.end()
    assert capsys.readouterr() == ("", "")


def test_objects_are_indented_as_far_as_they_are_long():
    words = ["summat"] * 12
    assert indented({"a": [1, 2], "words": words}) == (
        '{\n  "a": [1, 2],\n  "words": [\n' + ",\n".join(['    "summat"'] * 12) + "\n  ]\n}"
    )
    assert indented("x" * 200) == f'"{"x" * 200}"'
