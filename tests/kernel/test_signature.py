"""owt.kernel.signature: what a function takes and gives."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from owt.errors import EndpointError
from owt.kernel.signature import Described, describe, read
from owt.wire.endpoint import parameters


class Mine:
    """A class that msgspec does not know."""


def described(function: Callable[..., Any], path: str = "/f") -> Described:
    names = parameters(path)
    return describe(function, read(function, path, names), names)


def test_parameters_have_a_place_a_schema_and_a_default():
    def f(name, text: str, n: int = 2): ...

    name, text, n = described(f, "/{name}").parameters
    assert (name.where, name.schema, name.required) == ("path", "{}", True)
    assert (text.where, json.loads(text.schema), text.required) == ("field", {"type": "string"}, True)
    assert (n.where, n.required, n.default) == ("field", False, "2")


def test_a_default_that_json_does_not_have_is_not_told():
    def f(a=Mine, b=b"x" * 2000): ...

    assert [each.default for each in described(f).parameters] == [None, None]


def test_a_type_that_msgspec_does_not_know_is_anything():
    def f(a: Mine, b: list[Mine], c: int): ...

    schemas = [json.loads(each.schema) for each in described(f).parameters]
    assert schemas[0] == {}
    assert schemas[2] == {"type": "integer"}


def test_a_path_of_the_file_system_is_a_text():
    def f(a: Path): ...

    assert json.loads(described(f).parameters[0].schema) == {"type": "string"}


def test_none_as_the_default_makes_none_a_value():
    def f(a: int = None): ...  # noqa: RUF013

    assert {"type": "null"} in json.loads(described(f).parameters[0].schema)["anyOf"]


@pytest.mark.parametrize(
    ("returns", "streams"),
    [
        (Iterator[int], True),
        (Generator[int, None, None], True),
        (AsyncIterator[int], True),
        (Iterator, True),
        (list[int], False),
        (int, False),
    ],
)
def test_what_is_annotated_as_an_iterator_streams(returns, streams):
    def f(): ...

    f.__annotations__["return"] = returns
    assert described(f).streams is streams


def test_a_generator_streams_whatever_it_says():
    def f():
        yield 1

    async def g():
        yield 1

    assert described(f).streams
    assert described(g).streams


def test_the_items_of_a_stream_are_what_is_described():
    def f() -> Iterator[int]: ...

    def g() -> int: ...

    def h(): ...

    an_int = '{"type": "integer"}'
    assert [described(each).result for each in (f, g, h)] == [an_int, an_int, None]


def test_what_a_decorator_wraps_is_what_counts():
    def f(text: str): ...

    @functools.wraps(f)
    def wrapper(*args, **kwargs): ...

    assert list(read(wrapper, "/f", []).parameters) == ["text"]


def test_what_has_a_call_or_arguments_already_has_a_signature_too():
    class Adder:
        def __call__(self, a: int) -> int:
            return a

    assert list(read(Adder(), "/f", []).parameters) == ["a"]
    assert list(read(functools.partial(lambda a, b: a, 1), "/f", []).parameters) == ["b"]


def test_a_parameter_with_the_name_of_an_option_is_refused():
    def f(timeout): ...

    with pytest.raises(EndpointError, match="f has a parameter 'timeout', which is an option of owt's"):
        read(f, "/f", [])


def test_in_the_path_a_parameter_may_have_any_name():
    def f(session): ...

    assert list(read(f, "/{session}", ["session"]).parameters) == ["session"]


def test_a_parameter_of_the_path_that_the_function_lacks_is_refused_with_what_to_write():
    def f(text): ...

    with pytest.raises(EndpointError, match=r"f has no parameter 'name'.*write def f\(name, text\)"):
        read(f, "/{name}", ["name"])
    assert read(lambda **more: 1, "/{name}", ["name"]).more is not None


def test_annotations_that_cannot_be_read_are_refused():
    def f(a: Unknown): ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(EndpointError, match="signature of f cannot be read: NameError: name 'Unknown'"):
        read(f, "/f", [])
