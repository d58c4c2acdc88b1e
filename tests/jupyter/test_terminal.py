"""A call's output in a terminal, and where it stands in its lines."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from owt.jupyter.pieces import Blob, Bundle, Json, Named, Over, Piece, Printed, Text
from owt.jupyter.screen import Nothing, indented
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
        ([Json(1), Json(None)], "1\nnull\n"),
        ([Named("token", "a"), Named("token", {"b": 1})], 'token: a\ntoken: {"b": 1}\n'),
        ([Text("a", line=True), Text("[DONE]", line=True)], "a\n"),
        ([Bundle({"text/plain": "[red]table", "text/html": "<b>"})], "[red]table\n"),
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


def test_markdown_is_rendered(shown):
    assert shown(Bundle({"text/markdown": "* one", "text/plain": "x"}))[0].split() == ["•", "one"]


def test_what_goes_to_stderr_goes_there(shown):
    assert shown(Printed("stderr", "a\n"), Text("b"), Over(418)) == (
        "b\n",
        "a\nowt: the adaptor answered 418\n",
    )


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
