"""Data that passes from step to step."""

from __future__ import annotations

import dataclasses

import pytest

from owt.summat import MISSING, Flow, NoValue, WrongValue


def test_missing_is_not_none():
    assert MISSING is not None
    assert repr(MISSING) == "MISSING"


def test_flow_gives_its_value_or_its_kwargs():
    assert Flow.of(MISSING, {"a": 1}).result() == {"a": 1}
    assert Flow.of(None, {"a": 1}).result() is None


def test_giving_keeps_the_kwargs_and_ending_does_not():
    flow = Flow.of(MISSING, {"a": 1})
    assert flow.giving(2).kwargs == {"a": 1}
    assert flow.ending(2).kwargs == {}
    assert flow.ending(2).call_kwargs == {"a": 1}
    assert flow.ending(2).naming({"b": 1}).ended is False


def test_flow_cannot_be_changed():
    flow = Flow.of(1, {"a": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        flow.value = 2
    with pytest.raises(TypeError):
        flow.kwargs["a"] = 2


def test_errors_of_a_flow_name_the_step_and_show_the_value():
    with pytest.raises(NoValue, match=r"mine needs a value, and there are only kwargs \('a'\)"):
        Flow.of(MISSING, {"a": 1}).needed("mine")
    error = Flow.of("x" * 500, {}).wrong("mine", "a number")
    assert isinstance(error, WrongValue)
    assert str(error).startswith("mine needs a number; it got str: 'xxx")
    assert len(str(error)) < 120
