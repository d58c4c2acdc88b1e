"""owt.kernel.code.syntax: the parser, and its errors."""

from __future__ import annotations

import ast
import gc
import re
import warnings
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager
from session_sources import FRAGMENTS

from owt.errors import UNREADABLE, SyntaxFault
from owt.kernel.code.syntax import (
    bound_names,
    free_names,
    leftmost_call,
    lines_of,
    parse_expression,
    parse_text,
    syntax_fault,
)


def transform(code: str) -> str:
    return TransformerManager().transform_cell(code)


def fault_of(code: str) -> SyntaxFault | None:
    """Return the error for a text that can neither be parsed nor compiled as a module, else None."""
    try:
        compile(parse_text(code, transform)[1], "x", "exec", dont_inherit=True)
    except SyntaxFault as fault:
        return fault
    except UNREADABLE as error:
        return syntax_fault(error, code)
    return None


@pytest.mark.parametrize(
    ("code", "source", "is_expression"),
    [
        ("x = 1\nx", "x = 1\nx", False),
        ("x + 1", "x + 1", True),
        ("  x +\n1", "  x +\n1", True),
        ("pipe()\n  .f(g)\n  .done()", "pipe()\n  .f(g)\n  .done()", True),
        ("\ufeffx", "x", True),
        ("!ls", "get_ipython().system('ls')\n", False),
        ("", "", False),
    ],
)
def test_parse_text_returns_python_text_and_a_single_expression(
    code: str, source: str, is_expression: bool
) -> None:
    python, tree, expression = parse_text(code, transform)
    assert python == source
    assert (expression is not None) is is_expression
    assert isinstance(tree, ast.Module)
    if expression is not None:
        assert [statement.value for statement in tree.body if isinstance(statement, ast.Expr)] == [expression]


def test_valid_python_is_not_transformed() -> None:
    def refuse(code: str) -> str:
        raise AssertionError(code)

    for code in ("x = 1", "a\n(b)", "x\n  .y()", "# %time"):
        assert parse_text(code, refuse)[0] == code


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f(a, b=(c := 1)): d = 1", {"f", "c"}),
        ("import a.b, c as d\nfrom e import f, g as h", {"a", "d", "f", "h"}),
        ("a, (b, *c) = d.e = x", {"a", "b", "c"}),
        ("if x: a = 1\nelif y: b = 1\nelse: c = 1", {"a", "b", "c"}),
        ("[(a := b) for c in d]; lambda: (e := 1)", {"a"}),
        ("class A(b := object): c = 1", {"A", "b"}),
        ("a: int\nb: int = 1\nc += 1", {"b"}),
        ("del a\nx.y = 1\nz[0] = 1", set()),
    ],
)
def test_bound_names_are_those_that_the_top_level_binds(code: str, names: set[str]) -> None:
    assert set(bound_names(ast.parse(code))) == names


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("path()", "path"),
        ("path().last()[0].upper()", "path"),
        ("f(g())", "f"),
        ("(path)().last", "path"),
        ("path.last()", None),
        ("path", None),
        ("a() + b()", None),
        ("(a or b)()", None),
    ],
)
def test_leftmost_call_returns_the_call_at_the_start_of_a_chain(code: str, name: str | None) -> None:
    call = leftmost_call(parse_expression(code))
    assert (call and ast.unparse(call.func)) == name


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
def test_free_names_are_names_from_outside_of_the_expression(code: str, names: set[str]) -> None:
    compiled = compile(ast.Expression(parse_expression(code)), "x", "eval")
    assert free_names(compiled) == names


def test_names_inside_a_lambda_are_not_read_while_the_expression_is_evaluated() -> None:
    compiled = compile("f(lambda: x, [y for _ in z])", "x", "eval")
    assert free_names(compiled) == {"f", "x", "y", "z"}
    assert free_names(compiled, lambdas=False) == {"f", "y", "z"}


@pytest.mark.parametrize(
    "code", ["1) + (2", "1), (2", "1)(2", "1)\n#", "1\n)(", "x) for (x) in (y", "1] + [2", ")("]
)
def test_text_that_would_close_the_parentheses_is_a_syntax_fault(code: str) -> None:
    assert re.search(r"line [12]: (unmatched|invalid syntax)", str(fault_of(code)))


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
        ("x = 1\ny = '\0'", 2, "code: line 2: the code contains a NUL character"),
        ("x = 1\ny = '\ud800'", 2, r"code: line 2: the code contains '\ud800', half of a surrogate pair"),
        ("x = " + "9" * 5000, 1, "code: line 1: Exceeds the limit"),
    ],
)
def test_a_syntax_fault_names_its_line_and_shows_it(code: str, line: int, message: str) -> None:
    fault = fault_of(code)
    assert fault is not None
    assert fault.line == line
    assert str(fault).startswith(message)
    assert fault.status == 400


def test_a_long_line_is_cut_around_its_fault() -> None:
    fault = fault_of(f"x = [{'1, ' * 200}2 3, {'4, ' * 200}]")
    _, line, caret = str(fault).split("\n")
    assert len(line) <= 84
    assert line[caret.index("^")] == "2"


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
def test_deep_nesting_is_parsed_or_a_syntax_fault(code: str) -> None:
    fault = fault_of(code)
    assert fault is None or "nested" in str(fault) or "too many" in str(fault)


def test_a_failing_transform_keeps_the_syntax_fault() -> None:
    def broken(code: str) -> str:
        raise IndexError("an extension's own transform")

    with pytest.raises(SyntaxError, match="invalid syntax") as caught:
        parse_text("a b", broken)
    assert syntax_fault(caught.value, "a b").line == 1


@pytest.mark.parametrize(
    "code", ["'\\d'", "f(\n '\\d')", "f()\n  .g('\\d')", "('\\d', 1)", "'\\d', 1", "x is 1"]
)
def test_python_warns_once_about_an_expression(code: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expression = parse_expression(code)
        parsed = len(caught)
        compile(ast.Expression(expression), "x", "eval")
        assert len(caught) == 1
        del caught[:]
        parse_text(code, transform)
        assert len(caught) == parsed


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(FRAGMENTS, max_size=25).map("".join), st.text(max_size=60)))
def test_any_text_parses_or_is_a_syntax_fault_on_one_of_its_lines(code: str) -> None:
    fault = fault_of(code)
    if fault is not None:
        assert fault.line is None or 1 <= fault.line <= max(1, len(lines_of(code)))
        assert str(fault).startswith("code: ")


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_parentheses_around_an_expression_do_not_change_it(code: str) -> None:
    try:
        tree = parse_expression(code)
    except UNREADABLE:
        return
    assert ast.dump(parse_expression(f"({code}\n)")) == ast.dump(tree)
    # Only Python's rules may refuse the tree; invalid positions would raise ValueError.
    with suppress(SyntaxError):
        compile(ast.Expression(tree), "x", "eval")


def test_finalizers_that_parse_do_not_disturb_the_parser() -> None:
    class Parses:
        """Object in a cycle whose finalizer parses, and leaves `more` others to later collections."""

        def __init__(self, more: int) -> None:
            self.more = more
            self.cycle = self

        def __del__(self) -> None:
            self.parse(5)
            if self.more:
                Parses(self.more - 1)

        def parse(self, depth: int) -> None:
            if depth:
                self.parse(depth - 1)
            else:
                ast.parse("f(1 + 2)")

    code = "def run(): return [1, 2, 3, {4: 5}]\n" * 3
    thresholds = gc.get_threshold()
    gc.set_threshold(7)
    try:
        for _ in range(100):
            Parses(10)
            assert parse_text(code, str)[0] == code
            assert gc.isenabled()
    finally:
        gc.set_threshold(*thresholds)
