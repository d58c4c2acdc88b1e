"""owt.kernel.endpoints.binding: a request's fields to arguments."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict
from urllib.parse import urlencode

import msgspec
import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from owt.errors import Unprocessable
from owt.kernel.answer import json_encoding
from owt.kernel.code.arguments import Arguments
from owt.kernel.endpoints.binding import bind
from owt.kernel.endpoints.signature import read_signature


class Colour(enum.Enum):
    RED = "red"


class Level(enum.Enum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True)
class Fixed:
    x: int
    y: int = 0


class Shape(msgspec.Struct):
    corners: list[Point]


class Options(TypedDict):
    loud: bool


class Mine:
    """Class that msgspec does not know."""


OPEN: list[Request] = []
"""Requests of a test, which have open files."""


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        request = OPEN.pop()
        request.close()
        request.environ["wsgi.input"].close()


def taking(kind: Any) -> Callable[..., Any]:
    def f(x): ...

    f.__annotations__["x"] = kind
    return f


def fit(
    function: Callable[..., Any],
    query: str = "",
    *,
    path: dict[str, str] | None = None,
    kwargs: Arguments = Arguments(),  # noqa: B008
    **request: Any,
) -> dict[str, Any]:
    """Return the arguments by name."""
    built = EnvironBuilder(query_string=query, method="POST" if request else "GET", **request)
    path = path or {}
    signature = read_signature(function, "/f", list(path))
    request = Request(built.get_environ())
    OPEN.append(request)
    args, named = bind(signature, path, request, kwargs, "GET /f")
    return {**{f"#{number}": value for number, value in enumerate(args)}, **named}


def refusal(function: Callable[..., Any], query: str = "", **more: Any) -> str:
    with pytest.raises(Unprocessable) as error:
        fit(function, query, **more)
    return str(error.value)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "3", 3),
        (float, "3", 3.0),
        (bool, "true", True),
        (bool, "0", False),
        (bool, "on", True),
        (bool | None, "no", False),
        (str, "3", "3"),
        (str, "", ""),
        (Any, "3", "3"),
        (int | None, "null", None),
        (int | None, "", None),
        (str | None, "", ""),
        (str | None, "null", "null"),
        (int | float, "2.5", 2.5),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        (Literal[True, False], "true", True),
        (Literal[True, False], "False", False),
        (Literal[True, False], "no", False),
        (Literal[True, "auto"], "true", True),
        (Literal[True, "auto"], "auto", "auto"),
        (Literal[True, None], "on", True),
        (int | str, "5", 5),
        (int | str, "1.5", "1.5"),
        (int | str, "0x5", "0x5"),
        (int | str, "true", "true"),
        (int | str, "05", "05"),
        (int | str, "", ""),
        (float | str, "5", 5.0),
        (float | str, "1.5", 1.5),
        (float | str | None, "null", "null"),
        (bool | str, "true", True),
        (bool | str, "1", "1"),
        (list[int | str], "5", [5]),
        (Annotated[int, msgspec.Meta(gt=9)] | str, "5", "5"),
        (Any, "5", "5"),
        (Colour, "red", Colour.RED),
        (Level, "1", Level.LOW),
        (datetime.date, "2026-01-02", datetime.date(2026, 1, 2)),
        (datetime.datetime, "2026-01-02T03:04:05", datetime.datetime(2026, 1, 2, 3, 4, 5)),
        (bytes, "a b", b"a b"),
        (Path, "/a", Path("/a")),
        (complex, "1+2j", 1 + 2j),
        (Point, '{"x": 1}', Point(1)),
        (Point | None, '{"x": "1"}', Point(1)),
        (Shape, '{"corners": [{"x": 1, "y": 2}]}', Shape([Point(1, 2)])),
        (Options, '{"loud": true}', {"loud": True}),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (dict, '{"a": [1]}', {"a": [1]}),
        (list[int], "3", [3]),
        (list[int], "[3, 4]", [3, 4]),
        (list, "[3, 4]", [3, 4]),
        (tuple[int, str], '[3, "x"]', (3, "x")),
        (list[Point], '{"x": 1}', [Point(1)]),
        (Mine, "as it is", "as it is"),
        (list[Mine], "as it is", "as it is"),
        (list[str], "[draft", ["[draft"]),
        (list[str], "[1]", ["[1]"]),
        (list[str], '["a"]', ["a"]),
        (list[bytes], "[1]", [b"[1]"]),
        (list[int] | None, "", None),
        (str | list[int], "a", "a"),
        (str | list[int], "[1]", [1]),
        (str | Point, "{x", "{x"),
        (str | Point, '{"x": 1}', Point(1)),
    ],
)
def test_text_is_converted_to_the_type(kind, text, value):
    result = fit(taking(kind), urlencode({"x": text}))["x"]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("kind", "values", "value"),
    [
        (list[int], ["1", "2"], [1, 2]),
        (list[bool], ["on", "0"], [True, False]),
        (list[Literal[True, False]], ["true", "no"], [True, False]),
        (set[str], ["a", "b", "a"], {"a", "b"}),
        (tuple[int, str], ["1", "2"], (1, "2")),
        (list[Point], ['{"x": 1}', '{"x": 2}'], [Point(1), Point(2)]),
        (list[int] | None, ["1", "2"], [1, 2]),
        (list[bytes], ["a", "b"], [b"a", b"b"]),
        (int, ["1", "2"], 2),
    ],
)
def test_a_repeated_field_is_a_list_or_else_its_last_value(kind, values, value):
    assert fit(taking(kind), urlencode({"x": values}, doseq=True)) == {"x": value}


def test_without_an_annotation_text_stays_text():
    assert fit(lambda x: 1, "x=3") == {"x": "3"}


@pytest.mark.parametrize("value", ["3", 3, None, [1, "a"], {"a": 1.5}])
def test_without_an_annotation_json_values_are_unchanged(value):
    assert fit(lambda x: 1, json={"x": value}) == {"x": value}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 3, 3),
        (Point, {"x": 1}, Point(1)),
        (bytes, "YWI=", b"ab"),
        (datetime.date, "2026-01-02", datetime.date(2026, 1, 2)),
        (Path, "/a", Path("/a")),
        (list[Colour], ["red"], [Colour.RED]),
    ],
)
def test_types_that_json_lacks_are_converted(kind, value, expected):
    assert fit(taking(kind), json={"x": value}) == {"x": expected}


def test_form_fields_are_converted_like_the_query():
    assert fit(taking(list[int]), data={"x": ["1", "2"]}) == {"x": [1, 2]}


def test_a_body_wins_over_the_query_and_kwargs_over_both():
    def f(a: int, b: int, c: int): ...

    result = fit(f, "a=1&b=1&c=1", data={"b": "2", "c": "2"}, kwargs=Arguments({"c": 3}))
    assert result == {"a": 1, "b": 2, "c": 3}


def test_path_parameters_are_converted():
    assert fit(taking(int), path={"x": "3"}) == {"x": 3}
    assert "x: expected int; got 'a'" in refusal(taking(int), path={"x": "a"})


def test_a_field_cannot_set_a_path_parameter():
    assert "x: is not one of its fields" in refusal(taking(int), "x=4", path={"x": "3"})


def upload(content: bytes = b"\xff\x00") -> dict[str, Any]:
    return {"x": (io.BytesIO(content), "a.bin")}


def test_an_uploaded_file_is_its_bytes_or_its_text():
    assert fit(taking(bytes), data=upload()) == {"x": b"\xff\x00"}
    assert fit(taking(str), data=upload("ä".encode())) == {"x": "ä"}
    assert fit(taking(list[bytes]), data=upload()) == {"x": [b"\xff\x00"]}
    assert fit(taking(dict), data=upload(b'{"a": 1}')) == {"x": {"a": 1}}


def test_an_uploaded_file_may_be_a_list_in_json():
    assert fit(taking(list[int]), data=upload(b"[1, 2]")) == {"x": [1, 2]}


def test_parameters_of_each_bytes_type_get_the_bytes():
    assert bytes(fit(taking(memoryview), "x=ab")["x"]) == b"ab"


def test_an_uploaded_file_for_an_untyped_parameter_is_a_file_storage():
    result = fit(lambda x: 1, data=upload())["x"]
    assert isinstance(result, FileStorage)
    assert (result.filename, result.read()) == ("a.bin", b"\xff\x00")


def test_an_uploaded_file_that_is_not_text_does_not_fit_a_text():
    assert "x: 'utf-8' codec can't decode" in refusal(taking(str), data=upload())


def test_a_large_field_of_a_form_fits():
    large = "x" * 2_000_000
    assert fit(taking(str), data={"x": large}) == {"x": large}
    in_parts = {"x": large, "y": (io.BytesIO(b"1"), "y")}
    assert fit(lambda x, y: 1, data=in_parts)["x"] == large


def test_the_request_can_still_be_read_by_the_function():
    built = EnvironBuilder(method="POST", data={"x": "1"})
    request = Request(built.get_environ())
    bind(read_signature(taking(int), "/f", []), {}, request, Arguments(), "f")
    assert request.get_data() == b"x=1"
    assert request.form["x"] == "1"


@pytest.mark.parametrize("body", [b"[1, 2]", b'"x"', b"3"])
def test_json_that_is_no_object_is_left_to_the_function(body):
    assert fit(lambda: 1, data=body, content_type="application/json") == {}


def test_invalid_json_is_refused():
    assert "body: cannot be read as JSON" in refusal(lambda: 1, data=b"{", content_type="application/json")


def test_deeply_nested_json_is_refused():
    body = b'{"x":' + b"[" * 100_000
    assert "body: cannot be read as JSON" in refusal(lambda x: 1, data=body, content_type="application/json")


def test_json_sent_as_a_form_is_an_error_with_the_remedy():
    form = "application/x-www-form-urlencoded"
    message = refusal(lambda x: 1, data=b'{"x": 1}', content_type=form)
    assert "is not one of its fields; add -H 'Content-Type: application/json' for JSON." in message
    assert "-H" not in refusal(lambda x: 1, data=b"y=1", content_type=form)


def test_options_of_owt_are_no_arguments():
    assert fit(taking(int), "x=1&stream=sse&timeout=3", data={"use_cache": "1"}) == {"x": 1}
    assert fit(lambda **more: 1, json={"detach": True, "a": 1}) == {"a": 1}


def test_positional_only_parameters_are_bound_by_name():
    def f(a: int, b: int = 7, /, c: int = 8, *rest: int, d: int): ...

    assert fit(f, "a=1&d=2") == {"#0": 1, "#1": 7, "d": 2}


def test_var_keyword_parameters_get_the_other_fields():
    def f(a, **more: int): ...

    assert fit(f, "a=1&b=2&c=3&c=4") == {"a": "1", "b": 2, "c": 4}
    assert "b: expected int; got 'x'" in refusal(f, "a=1&b=x")


def test_path_parameters_may_be_bound_to_var_keywords():
    assert fit(lambda **more: 1, path={"name": "x"}) == {"name": "x"}


def test_every_problem_is_listed_with_the_signature():
    def f(text: str, n: int = 1): ...

    assert refusal(f, "n=many&speed=2") == (
        "text: is missing. n: expected int; got 'many'. speed: is not one of its fields. "
        "GET /f takes text: str, n: int = 1"
    ).replace("text: str, n: int = 1", str(read_signature(f, "/f", []).text))


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (int, "3", None),
        (int, "x", "x: Expected int, got str; got 'x'"),
        (Point, {"y": 1}, "x: Object missing required field x"),
        (list[Point], [{"x": []}], r"Expected int, got array - at $[0].x"),
    ],
)
def test_a_problem_inside_of_json_names_its_place(kind, value, problem):
    if problem is None:
        assert fit(taking(kind), json={"x": value}) == {"x": 3}
    else:
        assert problem in refusal(taking(kind), json={"x": value})


def test_a_long_value_is_shown_shortened_and_many_problems_are_cut():
    assert len(refusal(taking(int), f"x={'y' * 100_000}")) < 500
    assert len(refusal(taking(int), "x=1&" + urlencode({f"f{n}": "" for n in range(1000)}))) < 1000


@pytest.mark.parametrize(
    ("kind", "one_of"), [(Literal["a", "b"], "'a', 'b'"), (Colour, "'red'"), (Colour | None, "'red'")]
)
def test_an_invalid_choice_is_an_error_that_lists_the_choices(kind, one_of):
    assert f"x: expected one of {one_of}; got 'z'" in refusal(taking(kind), "x=z")
    assert f"x: expected one of {one_of}; got 'z'" in refusal(taking(kind), json={"x": "z"})


def test_kwargs_that_are_no_mapping_are_refused():
    assert "kwargs: must be a mapping of names to values; got 3" in refusal(
        lambda: 1, kwargs=Arguments(value=3)
    )


def test_text_that_only_looks_like_json_stays_text():
    assert fit(taking(str), urlencode({"x": json.dumps({"a": 1})})) == {"x": '{"a": 1}'}


@pytest.mark.parametrize("text", ["", "null"])
def test_an_optional_list_can_be_none_in_a_form(text: str) -> None:
    def f(via: list[int] | None = (), name: str | None = "x"): ...

    assert fit(f, f"via={text}&name={text}") == {"via": None, "name": text}


@pytest.mark.parametrize("body", ["[1, 2]", "null", "5", '"a"'])
def test_a_json_body_without_fields_is_refused_where_fields_are_needed(body: str) -> None:
    def f(a: int = 1): ...

    def g(): ...

    sent = {"data": body, "content_type": "application/json"}
    message = refusal(f, **sent)
    assert message.startswith("body: must be a JSON object; got ")
    assert '; send {"a": ...}. ' in message
    assert fit(g, **sent) == {}


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (Point, {"x": 1}),
        (Fixed, {"x": 1}),
        (list[Point], [{"x": 1}]),
        (dict[str, tuple[Point, ...]], {"a": [{"x": 1}]}),
        (Shape, {"corners": [{"x": 1}]}),
        (Point | None, {"x": 1}),
    ],
)
def test_a_default_of_a_dataclass_is_part_of_its_json(kind: Any, document: Any) -> None:
    value = fit(taking(kind), json={"x": document})["x"]
    assert b'{"x":1,"y":0}' in json_encoding.encode(value)
