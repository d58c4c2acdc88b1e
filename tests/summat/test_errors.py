"""Exceptions of pipelines, and their messages."""

from __future__ import annotations

import inspect

import pytest

from owt.errors import OwtError
from owt.summat import PipeError, errors

ERRORS = [
    name for name, item in vars(errors).items() if inspect.isclass(item) and issubclass(item, PipeError)
]


@pytest.mark.parametrize("name", ERRORS)
def test_tree_in_the_docstring_names_every_error(name):
    assert name in errors.__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.WrongValue, TypeError),
        (errors.NoValue, errors.WrongValue),
        (errors.NoItem, IndexError),
        (errors.MissingKwarg, LookupError),
        (errors.MissingArgument, TypeError),
        (errors.NoRequest, RuntimeError),
        (errors.PathRefused, PermissionError),
        (errors.ShellTimeout, TimeoutError),
        (errors.ShellTimeout, errors.ShellError),
        (PipeError, OwtError),
    ],
)
def test_errors_can_be_caught_by_their_builtin_kind(error, builtin):
    assert issubclass(error, builtin)
    assert issubclass(error, PipeError)


def test_message_of_a_shell_error_ends_with_stderr():
    error = errors.ShellError("bash failed", 2, b"out", b"\xff wrong\n")
    assert str(error) == "bash failed\n\\xff wrong"
    assert error.exit_status == 2
