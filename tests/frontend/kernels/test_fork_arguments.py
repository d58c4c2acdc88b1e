"""TemplateProcess.arguments: kernelspecs that a fork of a template can serve."""

import sys

import pytest

from owt.frontend.kernels.template import TemplateProcess

COMMAND = [sys.executable, "-m", "owt.kernel", "-f", "kernel.json"]
ENV = {"PATH": "/bin", "PYTHONPATH": "/lib"}
LAUNCHED = ["/venv/bin/python", "/kernels/model/lib/owt/host/launcher.py"]


def forkable(kernel_command, env, template_env, **options):
    return TemplateProcess(env=template_env, **{"preload": (), **options}).arguments(kernel_command, env)


def test_owts_own_kernel_is_forked_with_its_arguments():
    assert forkable(COMMAND, ENV, ENV) == ["-f", "kernel.json"]


def test_a_command_without_arguments_is_forked_too():
    assert forkable(COMMAND[:3], ENV, ENV) == []


def test_a_kernel_with_other_ordinary_variables_is_forked():
    assert forkable(COMMAND, {**ENV, "COLOUR": "red", "PATH": "/sbin"}, ENV) is not None


def test_a_kernel_of_another_environment_is_forked_by_its_own_template_only():
    command = [*LAUNCHED, "owt.kernel", "-f", "kernel.json"]
    assert forkable(command, ENV, ENV) is None
    assert forkable(command, ENV, ENV, command=LAUNCHED) == ["-f", "kernel.json"]
    assert forkable(COMMAND, ENV, ENV, command=LAUNCHED) is None


def test_no_variable_differs_from_what_a_preloaded_module_may_have_read():
    assert forkable(COMMAND, {**ENV, "HF_HOME": "/models"}, ENV, preload=["torch"]) is None
    variables = {"OWT_KERNEL_ID": "1", "KERNEL_GATEWAY": "1"}
    assert forkable(COMMAND, {**ENV, **variables}, ENV, preload=["torch"]) is not None


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
        [sys.executable, "/elsewhere/launcher.py", "owt.kernel"],
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
