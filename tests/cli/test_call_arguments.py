"""owt.cli.call: the code and the arguments of a command line."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from owt.cli.call import argument, program
from owt.errors import CannotSend


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3.5", -3.5),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ('{"a": [1]}', {"a": [1]}),
        ("True", True),
        ("None", None),
        ("'owt'", "owt"),
        ("{'a': 1}", {"a": 1}),
        ("owt", "owt"),
        ("", ""),
        (" spaced ", " spaced "),
        ("a, b", "a, b"),
        ("1, 2", "1, 2"),
        ("...", "..."),
        ("1 + 1", "1 + 1"),
        ("len('x')", "len('x')"),
        ("b'x'", "b'x'"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("007", "007"),
        ("\\d", "\\d"),
        ("'\\d'", "\\d"),
        ("2024-01-01", "2024-01-01"),
        ("@/dev/null", Path("/dev/null")),
        ("@@a.png", "@a.png"),
        ("@@", "@"),
        ("a@b", "a@b"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_an_argument_is_json_or_a_python_literal_or_a_file_or_text(text, value):
    result = argument(text)
    assert (result, type(result)) == (value, type(value))


def test_a_missing_file_is_refused_with_the_form_of_a_text():
    with pytest.raises(
        CannotSend, match=r"--arg: there is no file 'gone'; a text that begins with @ is @@gone"
    ):
        argument("@gone")


def test_an_argument_at_a_dash_is_standard_input(monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(b"content"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert argument("@-") is stdin.buffer


def test_an_expression_without_code_is_the_code():
    assert program(None, None, "pipe().f(len)") == "pipe().f(len)"


def test_an_expression_after_code_defines_the_function():
    text = program("def double(x): return 2 * x  # twice", None, "double  # that", None)
    names: dict[str, object] = {}
    exec(text or "", names)
    assert names["run"] is names["double"]


def test_an_expression_of_several_lines_defines_fn_name():
    text = program("x = 1\n", None, "(lambda:\n x)\n", "go")
    names: dict[str, object] = {}
    exec(text or "", names)
    assert names["go"]() == 1  # type: ignore[operator]


def test_a_file_is_read_in_its_declared_encoding(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes("# coding: latin-1\r\nx = 'ö'\r\n".encode("latin-1"))
    assert program(None, str(path), None) == "# coding: latin-1\nx = 'ö'\n"


def test_a_dash_reads_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1 + 1")))
    assert program(None, "-", None) == "1 + 1"


@pytest.mark.parametrize("options", [(None, None, None), ("", None, None), ("", None, "")])
def test_program_without_options_is_none(options):
    assert program(*options) is None


def test_options_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(CannotSend, match="not both"):
        program("x", "file", None)
    with pytest.raises(CannotSend, match=r"--file: .*gone\.py cannot be read: No such file"):
        program(None, str(tmp_path / "gone.py"), None)
    broken = tmp_path / "broken.py"
    broken.write_bytes(b"x = '\xff'\n")
    with pytest.raises(CannotSend, match=r"broken\.py is not text of its encoding"):
        program(None, str(broken), None)
