"""owt.cli.output: the destination of a response."""

from __future__ import annotations

import io
import os

import pytest

from owt.cli.output import Output
from owt.errors import ConfigError


@pytest.mark.parametrize("path", [None, "-"])
def test_standard_output_receives_each_piece_at_once(capsysbinary, path):
    with Output(path) as out:
        assert not out.is_file
        out.write(b"\x00\xff")
        assert capsysbinary.readouterr().out == b"\x00\xff"
        assert not out.ends_in_newline
        out.write(b"\n")
        assert out.ends_in_newline
    assert capsysbinary.readouterr().out == b"\n"


def test_a_file_is_emptied_when_the_response_begins(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"what was there before")
    with Output(str(path)) as out:
        assert out.is_file
        assert path.read_bytes() == b"what was there before"
        out.begin(None)
        assert path.read_bytes() == b""
        out.write(b"new")
        assert path.read_bytes() == b"new"
        out.begin(3)
    assert path.read_bytes() == b"new"


def test_a_call_without_a_response_leaves_the_file_unchanged(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    for path in (old, new):
        with Output(str(path)):
            pass
    assert old.read_bytes() == b"old"
    assert not new.exists()


def test_an_empty_response_makes_an_empty_file(tmp_path):
    with Output(str(tmp_path / "file")) as out:
        out.begin(0)
    assert (tmp_path / "file").read_bytes() == b""


def test_output_can_be_a_device_or_a_pipe():
    with Output(os.devnull) as out:
        out.write(b"gone")
    assert os.path.exists(os.devnull)


def test_a_file_that_cannot_be_written_is_refused_before_the_call(tmp_path):
    with pytest.raises(ConfigError, match=r"--output: .*gone/file cannot be written: No such file"):
        Output(str(tmp_path / "gone" / "file"))
    with pytest.raises(ConfigError, match="Is a directory"):
        Output(str(tmp_path))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal. Not a fixture: pytest replaces stderr after fixtures."""
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return screen


def test_a_long_download_has_a_progress_line(monkeypatch, tmp_path):
    screen = terminal(monkeypatch)
    with Output(str(tmp_path / "speech.wav"), patience=0) as out:
        out.begin(4000)
        out.write(b"x" * 1000)
        out.write(b"x" * 3000)
    assert "speech.wav" in screen.getvalue()
    assert "4.0/4.0 kB" in screen.getvalue()


def test_a_short_download_has_no_progress_line(monkeypatch, tmp_path):
    screen = terminal(monkeypatch)
    with Output(str(tmp_path / "file"), patience=1000) as out:
        out.write(b"x" * 1000)
    assert screen.getvalue() == ""


def test_a_download_without_a_terminal_has_no_progress_line(capsys, tmp_path):
    with Output(str(tmp_path / "file"), patience=0) as out:
        out.write(b"x" * 1000)
    assert capsys.readouterr() == ("", "")
