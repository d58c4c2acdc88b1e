"""owt.kernel.endpoints.signature: parameters and result of a function."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from owt.errors import EndpointError
from owt.kernel.endpoints.signature import describe, read_signature
from owt.wire.endpoint import Endpoint, parameters


class Mine:
    """Class that msgspec does not know."""


def described(function: Callable[..., Any], path: str = "/f") -> Endpoint:
    return describe(function, read_signature(function, path, parameters(path)), path, ("GET",))


def test_parameters_have_a_place_a_schema_and_a_default():
    def f(name, text: str, n: int = 2): ...

    name, text, n = described(f, "/{name}").parameters
    assert (name.where, name.schema, name.required) == ("path", "{}", True)
    assert (text.where, json.loads(text.schema), text.required) == ("field", {"type": "string"}, True)
    assert (n.where, n.required, n.default) == ("field", False, "2")


def test_a_default_that_json_lacks_is_omitted():
    def f(a=Mine, b=b"x" * 2000): ...

    assert [item.default for item in described(f).parameters] == [None, None]


def test_an_unknown_type_is_described_as_anything():
    def f(a: Mine, b: list[Mine], c: int): ...

    schemas = [json.loads(item.schema) for item in described(f).parameters]
    assert schemas[0] == {}
    assert schemas[2] == {"type": "integer"}


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        (list[Mine], False),
        (dict[str, list[Mine]], False),
        (tuple[int, Mine], False),
        (Callable[[int], str], False),
        (list[Path], True),
        (dict[str, int], True),
    ],
)
def test_a_container_of_an_unknown_type_is_not_convertible(kind, known):
    def f(x): ...

    f.__annotations__["x"] = kind
    assert read_signature(f, "/f", []).parameters["x"].convertible is known


def test_an_annotation_that_is_no_type_is_ignored():
    def f(a=None, b=None): ...

    f.__annotations__.update(a=5, b={"min": 1})
    parameters = read_signature(f, "/f", []).parameters.values()
    assert [parameter.convertible for parameter in parameters] == [False, False]


def test_a_default_that_cannot_be_shown_is_refused():
    class Hidden:
        def __repr__(self) -> str:
            raise RuntimeError("hidden")

    def f(a=Hidden()): ...  # noqa: B008

    with pytest.raises(EndpointError, match="signature of f cannot be read: RuntimeError: hidden"):
        read_signature(f, "/f", [])


@pytest.mark.parametrize(
    "returns",
    [tuple[str, int], tuple[bytes, dict[str, str]], tuple[Any, int, dict[str, str]], tuple[int, ...],
     Path, datetime.datetime, Iterator[Path]],
)  # fmt: skip
def test_results_that_are_sent_differently_have_no_schema(returns):
    def f(): ...

    f.__annotations__["return"] = returns
    assert described(f).result is None


@pytest.mark.parametrize(
    "returns", [tuple[int, str], tuple[str, ...], tuple[int, int, int, int], Iterator[tuple[str, int]]]
)
def test_a_tuple_that_is_no_response_tuple_has_a_schema(returns):
    def f(): ...

    f.__annotations__["return"] = returns
    assert json.loads(described(f).result or "")["type"] == "array"


def test_a_pathlib_path_is_described_as_text():
    def f(a: Path): ...

    assert json.loads(described(f).parameters[0].schema) == {"type": "string", "format": "path"}


def test_a_default_of_none_makes_the_parameter_optional():
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
def test_a_function_annotated_as_iterator_streams(returns, streams):
    def f(): ...

    f.__annotations__["return"] = returns
    assert described(f).streams is streams


def test_a_generator_function_streams_whatever_its_annotation():
    def f():
        yield 1

    async def g():
        yield 1

    assert described(f).streams
    assert described(g).streams


def test_the_result_schema_of_a_stream_is_that_of_its_items():
    def f() -> Iterator[int]: ...

    def g() -> int: ...

    def h(): ...

    an_int = '{"type": "integer"}'
    assert [described(item).result for item in (f, g, h)] == [an_int, an_int, None]


def test_the_signature_of_a_wrapped_function_is_used():
    def f(text: str): ...

    @functools.wraps(f)
    def wrapper(*args, **kwargs): ...

    assert list(read_signature(wrapper, "/f", []).parameters) == ["text"]


def test_callable_objects_and_partials_have_a_signature():
    class Adder:
        def __call__(self, a: int) -> int:
            return a

    assert list(read_signature(Adder(), "/f", []).parameters) == ["a"]
    assert list(read_signature(functools.partial(lambda a, b: a, 1), "/f", []).parameters) == ["b"]


def test_a_parameter_with_the_name_of_an_option_is_refused():
    def f(timeout): ...

    with pytest.raises(EndpointError, match="f has a parameter 'timeout', which is a field of every"):
        read_signature(f, "/f", [])


def test_a_path_parameter_may_have_the_name_of_an_option():
    def f(session): ...

    assert list(read_signature(f, "/{session}", ["session"]).parameters) == ["session"]


def test_a_missing_path_parameter_is_refused_with_the_remedy():
    def f(text): ...

    with pytest.raises(EndpointError, match=r"f has no parameter 'name'.*write def f\(name, text\)"):
        read_signature(f, "/{name}", ["name"])
    assert read_signature(lambda **more: 1, "/{name}", ["name"]).extra is not None


def test_annotations_that_cannot_be_read_are_refused():
    def f(a: Unknown): ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(EndpointError, match="signature of f cannot be read: NameError: name 'Unknown'"):
        read_signature(f, "/f", [])
