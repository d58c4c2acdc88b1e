"""Statements of a cell, with the names that they bind and use.

Python's own compiler finds them, so that scopes are right: a name is used *eagerly* if the statement reads
it from the session while the statement runs, and *late* if only a function that the statement makes reads
it. No statement runs.
"""

from __future__ import annotations

import ast
import dis
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from owt.errors import UNREADABLE
from owt.notebook.parsed_cell import parse_cell

STAR = "*"
"""The name that `from module import *` binds here."""
_READS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
_BINDS = {"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"}
_AT_ONCE = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
_OPTIMIZED = 1
"""`inspect.CO_OPTIMIZED`: set for the code of functions, not of classes and modules."""
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_STEADY = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_CONSTANT = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.Tuple, ast.unaryop, ast.operator, ast.expr_context)
"""Nodes of an expression that always has the same value, which cannot be changed in place."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement at the top level of a cell. `meaning` is its text without comments and layout; `binds`
    are the names that it binds, or changes by an attribute or an item.

    It is `steady` if running it again changes nothing that others have made with it: an import, a
    function, a class, or a constant.
    """

    meaning: str
    binds: frozenset[str] = frozenset()
    eager: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    steady: bool = False


def statements(text: str) -> tuple[Statement, ...]:
    """Return the statements of a cell. A cell that is not Python is one statement that has only a text; a
    magic is one that uses every name in its line."""
    cell = parse_cell(text)
    whole = (Statement(text.strip()),)
    if cell is None or (not cell.tree.body and text.lstrip().startswith("%%")):
        return whole
    magics = [Statement(magic.text, eager=frozenset(_NAME.findall(magic.text))) for magic in cell.magics]
    try:
        return (*magics, *map(_statement, cell.tree.body))
    except RecursionError:
        return whole


def _statement(node: ast.stmt) -> Statement:
    meaning = ast.dump(node)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        code = compile(ast.Module([node], []), "<cell>", "exec", flags, dont_inherit=True)
    except UNREADABLE:
        return Statement(meaning)
    eager, late, binds = set[str](), set[str](), set(_modified(node))
    bound = set[str]()
    for part, at_once in _parts(code, True):
        for instruction in dis.get_instructions(part):
            name = instruction.argval
            if str(name).startswith("__"):
                # Python's own, as in the body of a class.
                continue
            if instruction.opname in _READS:
                # A loop or a `with` reads the name that it has bound itself.
                if part is not code or name not in bound:
                    (eager if at_once else late).add(name)
            elif instruction.opname in _BINDS and part is code:
                bound.add(name)
    binds |= bound | {STAR for alias in ast.walk(node) if isinstance(alias, ast.alias) and alias.name == STAR}
    return Statement(meaning, frozenset(binds), frozenset(eager), frozenset(late), _is_steady(node))


def _parts(code: CodeType, at_once: bool) -> Iterator[tuple[CodeType, bool]]:
    """Yield the code and all code nested in it, each with True if it runs at once."""
    yield code, at_once
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            soon = not inner.co_flags & _OPTIMIZED or inner.co_name in _AT_ONCE
            yield from _parts(inner, at_once and soon)


def _modified(node: ast.AST) -> Iterator[str]:
    """Yield the names of objects that a statement changes by an attribute or an item: `x` in `x.y[0] = 1`."""
    pending = [node]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            base: ast.expr = node
            while isinstance(base, ast.Attribute | ast.Subscript):
                base = base.value
            if isinstance(base, ast.Name):
                yield base.id
        pending += [child for child in ast.iter_child_nodes(node) if not isinstance(child, _NESTED)]


def _is_steady(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return all(isinstance(part, _CONSTANT) for part in ast.walk(value))
    return isinstance(node, _STEADY)
