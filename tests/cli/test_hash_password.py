"""`owt hash-password`: hashes of passwords."""

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
from owt.frontend.access.authentication import Passwords
from owt.frontend.config.credentials import read_credential


def fits(line: str, user: str, password: bytes) -> bool:
    """Return whether the server accepts the line, and this user with this password by it."""
    name, _, digest = read_credential(line).partition(":")
    return name == user and Passwords({name: digest}).check(user.encode(), password)


@pytest.fixture
def stdin(monkeypatch):
    """Return a function that puts bytes on standard input."""

    def put(text: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), "utf-8"))

    return put


@pytest.mark.parametrize("options", [["--cost", "4"], ["--sha256"]])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\nand more\n"])
def test_the_first_line_of_standard_input_is_the_password(stdin, capsys, options, end):
    stdin("pass wört: x".encode() + end)
    assert main.main(["hash-password", "ada", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    assert fits(out.rstrip("\n"), "ada", "pass wört: x".encode())


def test_the_default_is_bcrypt_and_sha256_is_an_option(stdin, capsys):
    stdin(b"secret")
    main.main(["hash-password", "ada"])
    assert capsys.readouterr().out.startswith("ada:$2b$12$")
    stdin(b"secret")
    main.main(["hash-password", "--cost", "5"])
    out = capsys.readouterr().out
    assert out.startswith("$2b$05$")
    assert bcrypt.checkpw(b"secret", out.strip().encode())
    stdin(b"secret")
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
def test_a_password_or_user_that_cannot_be_used_is_one_line_and_status_2(
    stdin, capsys, arguments, text, words
):
    stdin(text)
    assert main.main(["hash-password", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in words), err


def test_sha256_accepts_a_password_of_any_length(stdin, capsys):
    stdin(b"x" * 1000)
    assert main.main(["hash-password", "ada", "--sha256"]) == 0
    assert fits(capsys.readouterr().out.strip(), "ada", b"x" * 1000)


def on_a_terminal(*typed: bytes) -> tuple[int, bytes, bytes]:
    """Run the command on a terminal; return its status, its standard output and the terminal's text."""
    controller, terminal = os.openpty()
    command = [sys.executable, "-m", "owt", "hash-password", "ada", "--cost", "4"]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    seen = b""
    try:
        for line in typed:
            fresh = b""
            # After the prompt: it turns echo off and drops earlier input.
            while not fresh.rstrip().endswith(b":"):
                fresh += os.read(controller, 1000)
            os.write(controller, line + b"\n")
            seen += fresh
        out, _ = process.communicate(timeout=20)
        with suppress(OSError):  # Linux: the other end is closed.
            while more := os.read(controller, 1000):
                seen += more
    finally:
        process.kill()
        process.communicate()
        os.close(controller)
    return process.returncode, out, seen


def test_on_a_terminal_it_prompts_twice_without_echo():
    status, out, seen = on_a_terminal(b"secret", b"secret")
    assert status == 0
    assert fits(out.decode().strip(), "ada", b"secret")
    assert seen.count(b"Password") == 1
    assert b"Repeat" in seen
    assert b"secret" not in seen


def test_on_a_terminal_different_passwords_are_prompted_for_again():
    status, out, seen = on_a_terminal(b"secret", b"sceret", b"other", b"other")
    assert status == 0
    assert fits(out.decode().strip(), "ada", b"other")
    assert b"do not match" in seen
