"""owt.kernel.code.compiled: cells, compiled."""

from __future__ import annotations

import ast
import linecache

import pytest

from owt.kernel.code.compiled import CompiledCell, awaits, compile_cell, defines


def cell(code: str) -> CompiledCell:
    compiled = compile_cell(code, code, ast.parse(code))
    del linecache.cache[compiled.filename]
    return compiled


@pytest.mark.parametrize(
    ("code", "has_body", "has_last"),
    [
        ("", False, False),
        ("x = 1", True, False),
        ("x", False, True),
        ("x = 1\nx", True, True),
        ("1; 2", True, True),
    ],
)
def test_a_cell_is_its_statements_and_then_its_last_expression(
    code: str, has_body: bool, has_last: bool
) -> None:
    compiled = cell(code)
    assert (compiled.body is not None, compiled.last is not None) == (has_body, has_last)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("await f()", True),
        ("x = await f()\n1", True),
        ("async for x in y: pass", True),
        ("[x async for x in y]", True),
        ("async def f(): await g()", False),
        ("x = 1", False),
    ],
)
def test_a_cell_awaits_what_it_awaits_at_its_top_level(code: str, expected: bool) -> None:
    compiled = cell(code)
    assert compiled.awaits is expected
    assert (awaits(compiled.body) or awaits(compiled.last)) is expected


def test_nothing_awaits_and_defines_nothing() -> None:
    assert not awaits(None)
    assert not defines(None)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(): pass", True),
        ("class A: pass", True),
        ("f = lambda: 1", True),
        ("x = 1", False),
        ("print('x')", False),
    ],
)
def test_a_cell_that_may_leave_functions_behind_is_known(code: str, expected: bool) -> None:
    compiled = cell(code)
    assert (defines(compiled.body) or defines(compiled.last)) is expected


def test_a_cells_lines_are_shown_as_python_text() -> None:
    compiled = compile_cell("!ls", "get_ipython().system('ls')\n", ast.parse("get_ipython().system('ls')"))
    assert linecache.getline(compiled.filename, 1) == "get_ipython().system('ls')\n"
    del linecache.cache[compiled.filename]
