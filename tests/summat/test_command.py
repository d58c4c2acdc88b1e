from __future__ import annotations

import subprocess

import pytest

from owt.summat.command import run


def test_a_command_gives_status_and_both_outputs():
    finished = run(["sh", "-c", "echo out; echo err >&2; exit 4"])
    assert (finished.status, finished.stdout, finished.stderr) == (4, b"out\n", b"err\n")


def test_arguments_arrive_as_they_are():
    arguments = ["a b", "$HOME", "'\"", "", "*", "-n", "ä\n"]
    expected = "".join(f"<{each}>" for each in arguments).encode()
    assert run(["printf", "<%s>", *arguments]).stdout == expected


def test_a_command_that_ends_its_whole_group_is_a_failure():
    assert run(["sh", "-c", "kill -9 0"]).status == 137


def test_a_timeout_carries_the_output_so_far():
    # The pipe that is read has a writer, this very command, and so never ends.
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        run(["bash", "-c", "echo so far; coproc cat; read -r -u ${COPROC[0]}"], timeout=2)
    assert caught.value.stdout == b"so far\n"
