"""owt.kernel.syntax: what a text says, and what is said of one that cannot be read."""

from __future__ import annotations

import ast
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager
from sourced import FRAGMENTS

from owt.errors import SyntaxFault
from owt.kernel.syntax import (
    UNREADABLE,
    bound_names,
    free_names,
    leftmost_call,
    lines_of,
    parse_expression,
    parse_text,
    syntax_fault,
)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x", {"x"}),
        ("x.y[z](w)", {"x", "z", "w"}),
        ("lambda x, y=z: x + y + w", {"z", "w"}),
        ("[x for x in y if z]", {"y", "z"}),
        ("[x for y in x for x in y]", {"x"}),
        ("(lambda: (lambda: deep))()", {"deep"}),
        ("(x := 1) + x", set()),
        ("x + (x := 1)", {"x"}),
        ("[(x := y) for y in z] and x", {"z"}),
        ("lambda: (x := 1) + x", set()),
        ("f'{x!r:{y}}'", {"x", "y"}),
        ("print(x)", {"print", "x"}),
        ("{**a, b: c}", {"a", "b", "c"}),
    ],
)
def test_free_names_are_those_taken_from_outside(code: str, names: set[str]) -> None:
    compiled = compile(ast.Expression(parse_expression(code)), "x", "eval")
    assert free_names(compiled) == names


@pytest.mark.parametrize(
    "code", ["1) + (2", "1), (2", "1)(2", "1)\n#", "1\n)(", "x) for (x) in (y", "1] + [2", ")("]
)
def test_text_that_would_close_the_parentheses_is_a_syntax_fault(kernel: Sourced, code: str) -> None:
    with pytest.raises(SyntaxFault, match=r"line [12]: (unmatched|invalid syntax)"):
        kernel.prepare(code)


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        (
            "x = 1\ny = 2\nz = foo(1,\n",
            3,
            "code: line 3: '(' was never closed\n    z = foo(1,\n           ^",
        ),
        (
            "def run():\n    return 1 +\n",
            2,
            "code: line 2: invalid syntax\n    return 1 +\n              ^",
        ),
        (
            "pipe()\n  .f(lambda x: x +)\n  .last()",
            2,
            "code: line 2: invalid syntax\n    .f(lambda x: x +)\n                    ^",
        ),
        ("pipe()\n  .f(g\n", 2, "code: line 2: '(' was never closed\n    .f(g\n      ^"),
        ("pipe()\n  .f(g)]\n", 2, "code: line 2: unmatched ']'\n    .f(g)]\n         ^"),
        ("pipe(\n  .f(g)\n", 1, "code: line 1: '(' was never closed\n    pipe(\n        ^"),
        ("pipe()\n  .f(g)) + (2", 2, "code: line 2: unmatched ')'\n    .f(g)) + (2\n         ^"),
        ("pipe()\n  .f(g) +", 2, "code: line 2: invalid syntax\n    .f(g) +\n           ^"),
        ("  f(g(x)", 1, "code: line 1: '(' was never closed\n    f(g(x)\n     ^"),
        ("1)\n#", 1, "code: line 1: unmatched ')'\n    1)\n     ^"),
        ("return 5", 1, "code: line 1: 'return' outside function"),
        ("yield 5", 1, "code: line 1: 'yield' outside function"),
        ("x = 1\nbreak", 2, "code: line 2: 'break' outside loop"),
        ("from __future__ import braces", 1, "code: line 1: not a chance"),
        ("x = 1\ndef run(): return await f()", 2, "code: line 2: 'await' outside async function"),
        ("x = await f()\ndef run(): pass", 1, "code: line 1: 'await' outside function"),
        ("x = 1\ny = '\n", 2, "code: line 2: unterminated string literal"),
        ("x = 1\n\n\ndef", 4, "code: line 4: invalid syntax"),
        ("if x:\n", 1, "code: line 1: expected an indented block after 'if' statement on line 1"),
        ("x = 1\n  y = 2", 2, "code: line 2: unexpected indent"),
        ("a b c", 1, "code: line 1: invalid syntax"),
        ("%time\nx = = 1", 2, "code: line 2: invalid syntax\n    x = = 1\n        ^"),
        ("  def run():\n    x = = 1", 2, "code: line 2: invalid syntax\n    x = = 1"),
        ("x = 1\ny = '\0'", 2, "code: line 2: the code holds a NUL character"),
        ("x = 1\ny = '\ud800'", 2, r"code: line 2: the code holds '\ud800', half of a surrogate pair"),
        ("x = " + "9" * 5000, 1, "code: line 1: Exceeds the limit"),
    ],
)
def test_a_syntax_fault_names_its_line_and_shows_it(
    kernel: Sourced, code: str, line: int, message: str
) -> None:
    with pytest.raises(SyntaxFault) as caught:
        kernel.prepare(code)
    assert caught.value.line == line
    assert str(caught.value).startswith(message)
    assert caught.value.status == 400


def test_a_long_line_is_cut_around_its_fault(kernel: Sourced) -> None:
    with pytest.raises(SyntaxFault) as caught:
        kernel.prepare(f"x = [{'1, ' * 200}2 3, {'4, ' * 200}]")
    _, shown, caret = str(caught.value).split("\n")
    assert len(shown) <= 84
    assert shown[caret.index("^")] == "2"


@pytest.mark.parametrize(
    "code",
    [
        "-" * 50_000 + "1",
        "a" + ".a" * 50_000,
        "1+" * 50_000 + "1",
        "lambda:" * 50_000 + "1",
        "(" * 50_000,
        "(" * 50_000 + ")" * 50_000,
        "f" + "()" * 50_000,
        "[" * 1_000 + "]" * 1_000,
        "if 1: pass\n" + "elif 1: pass\n" * 20_000,
        "".join(" " * n + "if 1:\n" for n in range(99)) + " " * 99 + "pass",
        "".join(" " * n + "if 1:\n" for n in range(200)) + " " * 200 + "pass",
    ],
    ids=range(11),
)
def test_deep_nesting_is_a_syntax_fault_or_understood(kernel: Sourced, code: str) -> None:
    prepared = kernel.outcome(code)
    assert isinstance(prepared, Cell) or "nested" in str(prepared) or "too many" in str(prepared)


def test_a_transform_that_fails_leaves_the_syntax_fault_as_it_is() -> None:
    def broken(code: str) -> str:
        raise IndexError("an extension's own transform")

    sources = Sources({}, {}, frozenset(), broken)
    with pytest.raises(SyntaxFault, match="line 1: invalid syntax"):
        sources.prepare("a b", "run")


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(FRAGMENTS, max_size=25).map("".join), st.text(max_size=60)))
def test_any_text_is_prepared_or_a_syntax_fault(code: str) -> None:
    kernel = Sourced()
    outcome = kernel.outcome(code)
    if isinstance(outcome, SyntaxFault):
        assert outcome.line is None or 1 <= outcome.line <= max(1, len(source._lines(code)))
        assert str(outcome).startswith("code: ")
    else:
        assert kernel.prepare(code) is outcome
    kernel.sources.forget(code)


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_an_expression_in_parentheses_of_its_own_is_the_same_expression(code: str) -> None:
    try:
        tree = parse_expression(code)
    except source.UNREADABLE:
        return
    assert ast.dump(parse_expression(f"({code}\n)")) == ast.dump(tree)
    # Only Python's own rules may refuse the tree; positions that do not fit would be a ValueError.
    with suppress(SyntaxError):
        compile(ast.Expression(tree), "x", "eval")
