"""Steps that run commands."""

from __future__ import annotations

import subprocess

import pytest

from owt.summat.commands import run_command


def test_command_gives_status_and_both_outputs():
    finished = run_command(["sh", "-c", "echo out; echo err >&2; exit 4"])
    assert (finished.status, finished.stdout, finished.stderr) == (4, b"out\n", b"err\n")


def test_arguments_are_passed_unchanged():
    arguments = ["a b", "$HOME", "'\"", "", "*", "-n", "ä\n"]
    expected = "".join(f"<{argument}>" for argument in arguments).encode()
    assert run_command(["printf", "<%s>", *arguments]).stdout == expected


def test_command_that_kills_its_group_is_a_failure():
    assert run_command(["sh", "-c", "kill -9 0"]).status == 137


def test_timeout_carries_the_output_so_far():
    # The command itself is a writer of the pipe that it reads, so the pipe never ends.
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        run_command(["bash", "-c", "echo so far; coproc cat; read -r -u ${COPROC[0]}"], timeout=2)
    assert caught.value.stdout == b"so far\n"
