"""owt.frontend.kernels.fork: kernelspecs that a fork of the template can serve."""

import sys

import pytest

from owt.frontend.kernels.fork import forkable

COMMAND = [sys.executable, "-m", "owt.kernel", "-f", "kernel.json"]
ENV = {"PATH": "/bin", "PYTHONPATH": "/lib"}


def test_owts_own_kernel_is_forked_with_its_arguments():
    assert forkable(COMMAND, ENV, ENV) == ["-f", "kernel.json"]


def test_a_command_without_arguments_is_forked_too():
    assert forkable(COMMAND[:3], ENV, ENV) == []


def test_a_kernel_with_other_ordinary_variables_is_forked():
    assert forkable(COMMAND, {**ENV, "COLOUR": "red", "PATH": "/sbin"}, ENV) is not None


@pytest.mark.parametrize(
    "command",
    [
        [],
        [sys.executable],
        [sys.executable, "-m"],
        [sys.executable, "-m", "ipykernel_launcher", "-f", "kernel.json"],
        [sys.executable, "-m", "owt.host.template"],
        [sys.executable, "-X", "dev", "-m", "owt.kernel"],
        ["/usr/bin/another-python", "-m", "owt.kernel"],
        ["bash", "-c", "owt.kernel"],
    ],
)
def test_other_commands_are_not_forked(command):
    assert forkable(command, ENV, ENV) is None


@pytest.mark.parametrize(
    "env",
    [
        {**ENV, "PYTHONPATH": "/other"},
        {**ENV, "PYTHONHASHSEED": "0"},
        {"PATH": "/bin"},
        {**ENV, "LD_LIBRARY_PATH": "/lib"},
        {**ENV, "LD_PRELOAD": "x.so"},
        {**ENV, "MALLOC_ARENA_MAX": "1"},
        {**ENV, "OMP_NUM_THREADS": "1"},
    ],
)
def test_a_kernel_with_other_start_variables_is_not_forked(env):
    assert forkable(COMMAND, env, ENV) is None
