"""owt.kernel.answer.response_tuple: `(body, status, headers)`, and valid headers."""

from __future__ import annotations

import http
from typing import Any, NamedTuple
from unittest.mock import MagicMock, Mock

import numpy as np
import pandas as pd
import pytest
from werkzeug.datastructures import Headers as WerkzeugHeaders

from owt.kernel.answer.response_tuple import ResponseTuple, header, merged, parse_response_tuple, validated


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.9), np.int64(200), np.zeros(3), np.zeros(0), pd.DataFrame({"a": [1]}), pd.Series([1]),
        pd.NA, Mock(spec=int), MagicMock(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_of_libraries_are_neither_status_nor_headers(value: Any) -> None:
    assert parse_response_tuple(("a", value)) is None
    assert parse_response_tuple((value, value)) is None
    assert parse_response_tuple(("a", 200, value)) is None
    assert parse_response_tuple(("a", value, {})) is None


class Pair(NamedTuple):
    text: str
    number: int


@pytest.mark.parametrize(
    ("value", "response"),
    [
        (("b", 201), ResponseTuple("b", 201)),
        (("b", 200), ResponseTuple("b", 200)),
        (("b", 599), ResponseTuple("b", 599)),
        (("b", http.HTTPStatus.NOT_FOUND), ResponseTuple("b", 404)),
        (("b", {"A": "x"}), ResponseTuple("b", None, (("A", "x"),))),
        (("b", {"A": 7}), ResponseTuple("b", None, (("A", "7"),))),
        (("b", {}), ResponseTuple("b", None)),
        (("b", [("A", "x"), ("A", "y")]), ResponseTuple("b", None, (("A", "x"), ("A", "y")))),
        (("b", 201, {"A": "x"}), ResponseTuple("b", 201, (("A", "x"),))),
        (("b", 201, []), ResponseTuple("b", 201)),
        ((None, 404), ResponseTuple(None, 404)),
        (("b", {"A": "  x\t"}), ResponseTuple("b", None, (("A", "x"),))),
    ],
)
def test_a_body_with_a_status_or_headers_is_a_response_tuple(value: Any, response: ResponseTuple) -> None:
    assert parse_response_tuple(value) == response


@pytest.mark.parametrize(
    "value",
    [
        (),
        ("b",),
        (1, 2),
        ("b", 199),
        ("b", 600),
        ("b", True),
        ("b", 200.0),
        ("b", []),
        ("b", None),
        ("b", {"A": [1]}),
        ("b", {"A": True}),
        ("b", {"A": None}),
        ("b", {1: "x"}),
        ("b", [["A", "x"]]),
        ("b", [("A", 1)]),
        ("b", [("A", "x", "y")]),
        ("b", 200, None),
        ("b", 20, {"A": "x"}),
        ("b", {"A": "x"}, 200),
        ("b", 200, {"A": "x"}, 1),
    ],
)
def test_other_tuples_are_no_response_tuples(value: Any) -> None:
    assert parse_response_tuple(value) is None


def test_the_status_of_an_enum_is_a_plain_int() -> None:
    response = parse_response_tuple(("b", http.HTTPStatus.CREATED))
    assert response is not None
    assert type(response.status) is int


def test_werkzeug_headers_keep_their_repetitions() -> None:
    headers = WerkzeugHeaders([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    response = parse_response_tuple(("b", headers))
    assert response is not None
    assert response.headers == (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "é", "a\x00", "a\r\nX"])
def test_an_invalid_header_name_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ValueError, match="a header's name has only") as failure:
        parse_response_tuple(("b", {name: "x"}))
    assert repr(name) in str(failure.value)


@pytest.mark.parametrize(
    "value", ["a\r\nSet-Cookie: x", "a\n", "\r", "a\x00b", "\x1b", "\x7f", "€", "\ud800"]
)
def test_an_invalid_header_value_is_an_error_that_names_the_header(value: str) -> None:
    with pytest.raises(ValueError, match="header X-Thing: ") as failure:
        validated([("X-Good", "y"), ("X-Thing", value)])
    assert value not in str(failure.value) or value.isprintable()


@pytest.mark.parametrize("value", ["", "a b", "a\tb", "é", '"quoted"; q=1'])
def test_a_header_value_may_have_spaces_tabs_and_latin_1(value: str) -> None:
    assert validated([("A", value)]) == (("A", value),)


def test_a_namedtuple_may_be_a_response_tuple() -> None:
    # `ValueEncoder` passes only plain tuples.
    assert parse_response_tuple(Pair("b", 300)) == ResponseTuple("b", 300)


def test_merging_replaces_headers_of_the_same_name_in_any_spelling() -> None:
    old = (("A", "1"), ("content-type", "x"), ("B", "2"))
    assert merged(old, (("Content-Type", "y"),)) == (("A", "1"), ("B", "2"), ("Content-Type", "y"))


def test_header_ignores_the_case_of_names() -> None:
    assert header((("A", "1"), ("CONTENT-type", "x")), "content-type") == "x"
    assert header((("A", "1"),), "content-type") is None
