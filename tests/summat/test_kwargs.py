"""Steps that read and set kwargs."""

from __future__ import annotations

import pytest

from owt.summat import MissingKwarg, NoValue, pipe


def test_kwarg_gives_the_value_and_keeps_the_kwargs():
    assert pipe().kwarg("a").kwarg("b")(a=1, b=2) == 2


def test_missing_kwarg_lists_the_others():
    with pytest.raises(MissingKwarg, match="no kwarg 'c'; those given are 'a', 'b'"):
        pipe().kwarg("c")(a=1, b=2)
    with pytest.raises(MissingKwarg, match="those given are none"):
        pipe().kwarg("c")()


def test_kwarg_after_the_end_of_the_kwargs_has_a_hint():
    with pytest.raises(MissingKwarg, match=r"ended at an earlier step; \.input\(\) .* 'a'"):
        pipe().kwarg("a").f(str).kwarg("a")(a=1)


def test_kwarg_may_be_none():
    assert pipe().kwarg("a")(a=None) is None


def test_defaults_replace_missing_kwargs():
    assert pipe().kwargs(a=1, b=2)(b=3) == {"a": 1, "b": 3}


def test_kwargs_of_the_call_win_over_defaults_also_after_their_end():
    speak = pipe().kwarg("text").f(str.upper).name("text").kwargs(speed=1.0)
    assert speak(text="a", speed=2.0) == {"speed": 2.0, "text": "A"}
    assert speak(text="a") == {"speed": 1.0, "text": "A"}


def test_named_value_wins_over_the_calls_kwarg_and_over_a_default():
    assert pipe().const(3).name("a").kwargs(a=1).kwarg("a")(a=2) == 3


def test_first_of_two_defaults_counts():
    assert pipe().kwargs(a=1).kwargs(a=2)() == {"a": 1}


def test_defaults_keep_the_value():
    assert pipe().kwarg("a").kwargs(b=1).f(str)(a=5) == "5"


def test_name_puts_the_value_among_the_kwargs():
    assert pipe().kwarg("a").name("b")(a=1) == {"a": 1, "b": 1}


def test_after_name_a_function_gets_kwargs():
    assert pipe().const(2).name("base").f(lambda base, power=3: base**power)() == 8


def test_name_after_the_kwargs_ended_begins_new_ones():
    assert pipe().kwarg("a").f(str).name("b")(a=1) == {"b": "1"}


def test_name_needs_a_value():
    with pytest.raises(NoValue, match=r"name\('b'\) needs a value, and there are only kwargs \('a'\)"):
        pipe().name("b")(a=1)


def test_input_restores_the_kwargs():
    assert pipe().kwarg("a").f(str).input().kwarg("b")(a=1, b=2) == 2
    assert pipe().const(0).input()(a=1) == {"a": 1}


def test_input_restores_the_input_value():
    assert pipe().f(str).input().f(lambda x: x + 1)(1) == 2


def test_input_forgets_defaults_and_names():
    assert pipe().kwargs(b=1).kwarg("a").name("c").input()(a=1) == {"a": 1}
