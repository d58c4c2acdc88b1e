"""Base classes of steps, and their source text."""

from __future__ import annotations

import doctest
import functools

import pytest

import owt.summat
from owt.summat import Step, step


@pytest.mark.parametrize("module", [owt.summat, step])
def test_examples_in_the_docstrings_are_true(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_step_class_without_run_is_abstract():
    class Nothing(Step):
        pass

    with pytest.raises(TypeError, match="run"):
        Nothing()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (int, "int"),
        (len, "<function len>"),
        (str.upper, "<function upper>"),
        ("a", "'a'"),
        (None, "None"),
        (functools.partial(int, base=2), "functools.partial(<class 'int'>, base=2)"),
    ],
)
def test_source_of_arguments_is_short_and_by_name(value, text):
    assert step.source(value) == text
