"""owt.frontend.nesting: depth of brackets, except those in strings and comments."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.errors import BadRequest
from owt.frontend.config.settings import Settings
from owt.frontend.http.requests import parse_fields
from owt.frontend.nesting import check, is_deeper
from owt.wire.call import RequestFacts

texts = st.text(st.sampled_from("[](){}'\"\\#\n ab\u00fc"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


def depth(text: str) -> int:
    """Return the depth according to the check."""
    return next(depth for depth in range(1000) if not is_deeper(text, depth))


def depth_of(value: Any) -> int:
    """Return the depth of a value of lists and dicts."""
    match value:
        case list():
            return 1 + max(map(depth_of, value), default=0)
        case dict():
            return 1 + max(map(depth_of, value.values()), default=0)
        case _:
            return 0


@given(values)
def test_brackets_of_json_count_except_inside_strings(value: Any) -> None:
    assert depth(json.dumps(value)) == depth_of(value)
    assert depth(json.dumps(value, indent=1, ensure_ascii=False)) == depth_of(value)


@given(values)
def test_brackets_of_python_count_except_inside_strings(value: Any) -> None:
    assert depth(repr(value)) == depth_of(value)


@given(texts, st.sampled_from(["'", '"', "'''", '"""']), st.sampled_from(["", "r", "b", "f", "Rb", "u"]))
def test_a_string_literal_ends_as_in_python(inner: str, quote: str, prefix: str) -> None:
    text = f"({prefix}{quote}{inner}{quote}, [])"
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        return
    match tree:
        case ast.Tuple(elts=[ast.Constant() | ast.JoinedStr(), ast.List()]):
            assert depth(text) == 2
        case _:
            # The text between the quotes is more than one literal.
            return


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("1", 0),
        ("[]", 1),
        ("[][][]", 1),
        ("dict(a=[{1: (2,)}])", 4),
        ("[(}{)]", 2),
        ("'[[['", 0),
        ('"[[["', 0),
        ("'it\\'s [' + '['", 0),
        ('"a\\"[" + "["', 0),
        ('"a\\\\" + ["b"]', 1),
        ("r'\\'[' + f(1)", 1),
        ("'''[ ' [\n [''' + (1)", 1),
        ('"""[ " [\n ["""', 0),
        ('"""a\\"""[""" + (1)', 1),
        ('"" + "[" + ""', 0),
        ('{"a": "it\'s [", "b": "#["}', 1),
        ("f'{[[1]]}'", 0),
        ("1 # [[[", 0),
        ("(1 # '[[[\n, [2])", 2),
        ("'#' + [1]", 1),
        # An unclosed literal extends to the end of the text.
        ("'''[[[", 0),
        # The end of the line ends an unclosed literal.
        ("'[[\n[", 1),
        ("\ud800['\ud800[']", 1),
    ],
)
def test_depth_is_the_maximum_of_open_brackets(text: str, expected: int) -> None:
    assert depth(text) == expected


def test_a_long_text_is_counted_to_its_end() -> None:
    assert depth("[" * 3 + "[]," * 100_000 + "[[]]" + "]" * 3) == 5
    assert is_deeper("[]" * 100_000 + "[" * 101, 100)
    assert not is_deeper("[]" * 100_000 + "[" * 100, 100)


def test_the_error_names_the_option_and_shortens_the_text() -> None:
    check("kwargs", "[" * 7 + "]" * 7, 7)
    with pytest.raises(BadRequest) as caught:
        check("kwargs", "[" * 50_000 + "]" * 50_000, 7)
    assert str(caught.value).startswith("kwargs: is nested too deeply: more than 7 brackets")
    assert "(--max-nesting)" in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_setting_limits_kwargs_from_every_source() -> None:
    limit = Settings().max_nesting
    form = (("Content-Type", "application/json"),)
    for inside in (limit - 1, limit):
        # The arguments themselves are the outermost bracket.
        value = '{"a":' + "[" * inside + "]" * inside + "}"
        requests = (
            RequestFacts("POST", "/", "", form, b'{"code":"1","kwargs":%b}' % value.encode(), "localhost"),
            RequestFacts("GET", "/", f"code=1&kwargs={value}", (), b"", "localhost"),
        )
        for facts in requests:
            if inside < limit:
                assert parse_fields(facts).call.kwargs == value
            else:
                with pytest.raises(BadRequest, match="--max-nesting"):
                    parse_fields(facts)
            assert parse_fields(facts, max_nesting=limit + 1).call.kwargs == value
