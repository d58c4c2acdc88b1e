"""Steps that call functions."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from owt.summat import MissingArgument, MissingKwarg, WrongValue, pipe


def test_function_gets_the_value_alone():
    assert pipe().kwarg("a").f(lambda x, b=0: (x, b))(a=1, b=2) == (1, 0)


def test_none_is_a_value():
    assert pipe().const(None).f(lambda x: [x])() == [None]


def test_function_without_a_value_gets_the_kwargs_of_its_signature():
    assert pipe().f(lambda a, *, b, c=3: (a, b, c))(a=1, b=2, d=4) == (1, 2, 3)


def test_function_with_double_star_gets_all_kwargs():
    assert pipe().f(lambda a, **rest: (a, rest))(a=1, b=2) == (1, {"b": 2})


def test_function_without_arguments_gets_none():
    assert pipe().f(lambda: 5)(a=1) == 5


def test_missing_arguments_are_named_with_the_kwargs():
    def greet(name, *, title, end="."):
        return name

    with pytest.raises(
        MissingArgument, match="<function greet> needs 'name', 'title'; the kwargs are 'x', 'y'"
    ):
        pipe().f(greet)(x=1, y=2)


def test_positional_only_argument_needs_a_value():
    def negate(x, /):
        return -x

    assert pipe().f(negate)(3) == -3
    with pytest.raises(MissingArgument, match="'x' by position, so give it a value first"):
        pipe().f(negate)(x=3)


def test_optional_positional_only_argument_is_left_alone():
    assert pipe().f(lambda x=1, /, **rest: (x, rest))(x=3, y=4) == (1, {"y": 4})


def test_kwargs_end_at_f():
    with pytest.raises(MissingKwarg, match="ended"):
        pipe().f(lambda a: a).kwarg("a")(a=1)


def test_builtin_without_a_signature_gets_the_value_or_all_kwargs():
    assert pipe().f(dict)(a=1) == {"a": 1}
    assert pipe().f(str)(5) == "5"
    assert pipe().f(max)([1, 3, 2]) == 3


def test_classes_methods_partials_and_callables_are_functions():
    @dataclass
    class Point:
        x: int
        y: int = 0

        def __call__(self, z):
            return self.x + z

        def shifted(self, by):
            return self.x + by

    assert pipe().f(Point)(x=1, z=9) == Point(1)
    assert pipe().f(Point(1))(z=2, q=0) == 3
    assert pipe().f(Point(1).shifted)(by=2, q=0) == 3
    assert pipe().f(functools.partial(Point, y=5))(x=1) == Point(1, 5)


def test_function_runs_once_even_when_it_raises_type_error():
    runs = []

    def fail(**kwargs):
        runs.append(kwargs)
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        pipe().f(fail)(a=1)
    assert runs == [{"a": 1}]


def test_value_for_a_function_without_arguments_is_an_error():
    with pytest.raises(TypeError, match="takes 0 positional arguments"):
        pipe().const(1).f(lambda: 5)()


def test_exec_passes_value_and_kwargs_on():
    seen = []
    assert pipe().kwarg("a").exec(seen.append).kwarg("b")(a=1, b=2) == 2
    assert pipe().exec(lambda a: seen.append(-a))(a=1, b=2) == {"a": 1, "b": 2}
    assert seen == [1, -1]


def test_function_cannot_change_the_kwargs_of_later_steps():
    assert pipe().exec(lambda **kwargs: kwargs.clear())(a=1) == {"a": 1}


def test_stream_is_lazy():
    numbers = []

    def count(n):
        for i in range(n):
            numbers.append(i)
            yield i

    items = pipe().f(lambda n: n).stream(count)(n=3)
    assert numbers == []
    assert next(items) == 0
    assert numbers == [0]
    assert list(items) == [1, 2]


def test_stream_takes_any_iterable():
    assert list(pipe().stream(lambda: [1, 2])()) == [1, 2]
    items = pipe().stream(lambda: (1, 2))()
    assert next(items) == 1


def test_kwargs_end_at_stream():
    with pytest.raises(MissingKwarg):
        pipe().stream(lambda a: iter(())).kwarg("a")(a=1)


@pytest.mark.parametrize("wrong", ["text", b"bytes", {"a": 1}, 5, None])
def test_stream_refuses_a_result_that_is_no_iterator(wrong):
    with pytest.raises(WrongValue, match=f"gives an iterator; it got {type(wrong).__name__}"):
        pipe().stream(lambda: wrong)()


def test_fields_of_a_named_tuple_class_become_kwargs():
    class Args(NamedTuple):
        a: int
        b: int = 2

    assert pipe(Args).kwarg("b")(a=1) == 2
    assert pipe(Args)(a=1) == Args(1, 2)


def test_object_of_another_class_becomes_the_value():
    assert pipe(frozenset).f(len)([1, 2]) == 2
    assert pipe(lambda a: [a]).kwarg("b")(a=1, b=2) == 2
