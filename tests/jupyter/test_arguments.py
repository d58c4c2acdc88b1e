"""owt.jupyter.arguments: words and arguments of a line."""

from __future__ import annotations

import pytest

from owt.errors import CannotSend
from owt.jupyter.arguments import evaluate, split_words, unquoted


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  a=1   b=2 ", ["a=1", "b=2"]),
        ('text="two words" n=1', ['text="two words"', "n=1"]),
        (r'text="a \" b" n=1', [r'text="a \" b"', "n=1"]),
        ("words=['a', 'b'] n=(1, 2)", ["words=['a', 'b']", "n=(1, 2)"]),
        ("d={'a b': [1, 2]} --session tour", ["d={'a b': [1, 2]}", "--session", "tour"]),
        ("text=it's n=1", ["text=it's", "n=1"]),
        ("a=] b=1", ["a=]", "b=1"]),
    ],
)
def test_a_word_ends_at_a_blank_outside_of_quotes_and_brackets(line, words):
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ('"a b"', "a b"),
        ("''", ""),
        ("a", "a"),
        ('"', '"'),
        ("'a\"", "'a\""),
        ('--session="a b"', "--session=a b"),
        ("--session=''", "--session="),
        ("--session=a", "--session=a"),
        ('--"a"', '--"a"'),
    ],
)
def test_quotes_around_the_value_of_an_option_are_removed(word, text):
    assert unquoted(word) == text


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('a="x=y"', "x=y"),
        ("a=-3", -3),
        ("a=1.5,", 1.5),
        ("a=None", None),
        ("a=[1, 'b', {'c': True}]", [1, "b", {"c": True}]),
        ("a={'b': 1}", {"b": 1}),
        ("a={}", {}),
        ("a=$rows", ["r"]),
        ("a={rows}", ["r"]),
        ("a={len(rows) + 1}", 2),
        ("a={[row * 2 for row in rows]}", ["rr"]),
        ("größe=1", 1),
    ],
)
def test_a_value_is_a_literal_or_an_expression_of_the_notebook(word, value):
    [argument] = evaluate([word], {"rows": ["r"]}).values()
    assert argument == value


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a=owt"], r"a: give a Python literal such as .* got 'owt'; for the text, write a='owt'"),
        (["a=1+x"], r"a: give a Python literal"),
        (["a=$missing"], r"a: the notebook has no missing"),
        (["a={missing + 1}"], r"a: the notebook has no missing"),
        (["a={[missing for _ in 'x']}"], r"a: the notebook has no missing"),
        (["owt"], r"arguments are name=value, .* got 'owt'"),
        (["a=1", "a=2"], r"a: there are two of them"),
    ],
)
def test_a_word_that_is_not_an_argument_is_refused(words, problem):
    with pytest.raises(CannotSend, match=problem):
        evaluate(words, {})


def test_an_error_of_an_expression_is_raised_unchanged():
    with pytest.raises(ZeroDivisionError):
        evaluate(["a={1 / 0}"], {})


def broken():
    return missing  # noqa: F821


def test_a_name_error_inside_a_called_function_is_raised_unchanged():
    with pytest.raises(NameError, match="'missing' is not defined"):
        evaluate(["a={broken()}"], {"broken": broken})
