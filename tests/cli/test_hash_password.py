"""`owt hash-password`: what is kept of a password."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from contextlib import suppress

import bcrypt
import pytest

from owt.cli import main
from owt.frontend.config.access import read_credential
from owt.frontend.config.passwords import Passwords


def fits(line: str, user: str, password: bytes) -> bool:
    """Whether the server takes the line and lets this user in by it."""
    name, _, kept = read_credential(line).partition(":")
    return name == user and Passwords({name: kept}).check(user.encode(), password)


@pytest.fixture
def given(monkeypatch):
    """Puts bytes on standard input."""

    def give(text: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), "utf-8"))

    return give


@pytest.mark.parametrize("options", [["--cost", "4"], ["--sha256"]])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\nand more\n"])
def test_the_first_line_of_standard_input_is_the_password(given, capsys, options, end):
    given("pass wört: x".encode() + end)
    assert main.main(["hash-password", "ada", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    assert fits(out.rstrip("\n"), "ada", "pass wört: x".encode())


def test_it_is_bcrypt_unless_the_original_form_is_wanted(given, capsys):
    given(b"secret")
    main.main(["hash-password", "ada"])
    assert capsys.readouterr().out.startswith("ada:$2b$12$")
    given(b"secret")
    main.main(["hash-password", "--cost", "5"])
    out = capsys.readouterr().out
    assert out.startswith("$2b$05$")
    assert bcrypt.checkpw(b"secret", out.strip().encode())
    given(b"secret")
    main.main(["hash-password", "--sha256"])
    assert capsys.readouterr().out == hashlib.sha256(b"secret").hexdigest() + "\n"


@pytest.mark.parametrize(
    ("arguments", "text", "words"),
    [
        ([], b"x" * 73, ["73 bytes", "72", "--sha256"]),
        ([], "ä".encode() * 37, ["74 bytes"]),
        ([], b"a\0b", ["zero byte", "--sha256"]),
        ([], b"", ["no password", "owt hash-password"]),
        ([], b"\n", ["no password"]),
        (["a:b"], b"x", ["USER: ", "'a:b'", "colon"]),
        (["#a"], b"x", ["USER: "]),
        (["a\nb"], b"x", ["USER: "]),
        ([" a"], b"x", ["USER: "]),
        ([""], b"x", ["USER: "]),
        (["--cost", "3"], b"x", ["--cost", "4<=x<=20"]),
        (["--cost", "5", "--sha256"], b"x", ["--sha256 or --cost, not both"]),
    ],
)
def test_what_cannot_be_hashed_is_one_line_and_status_2(given, capsys, arguments, text, words):
    given(text)
    assert main.main(["hash-password", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in words), err


def test_sha256_takes_a_password_of_any_length(given, capsys):
    given(b"x" * 1000)
    assert main.main(["hash-password", "ada", "--sha256"]) == 0
    assert fits(capsys.readouterr().out.strip(), "ada", b"x" * 1000)


def on_a_terminal(*typed: bytes) -> tuple[int, bytes, bytes]:
    """The command on a terminal where this is typed: its status, its standard output, what is seen."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "owt", "hash-password", "ada", "--cost", "4"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = b""
    try:
        for line in typed:
            fresh = b""
            # Only once it is asked for: echo is turned off then, and what was typed before is dropped.
            while not fresh.rstrip().endswith(b":"):
                fresh += os.read(ours, 1000)
            os.write(ours, line + b"\n")
            seen += fresh
        out, _ = process.communicate(timeout=20)
        with suppress(OSError):  # Linux: nobody has the other end any more.
            while more := os.read(ours, 1000):
                seen += more
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
    return process.returncode, out, seen


def test_on_a_terminal_it_asks_twice_and_shows_nothing_of_what_is_typed():
    status, out, seen = on_a_terminal(b"secret", b"secret")
    assert status == 0
    assert fits(out.decode().strip(), "ada", b"secret")
    assert seen.count(b"Password") == 1
    assert b"Repeat" in seen
    assert b"secret" not in seen


def test_on_a_terminal_two_passwords_that_differ_are_asked_for_again():
    status, out, seen = on_a_terminal(b"secret", b"sceret", b"other", b"other")
    assert status == 0
    assert fits(out.decode().strip(), "ada", b"other")
    assert b"do not match" in seen
