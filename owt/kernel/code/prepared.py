"""What a text was found to be, compiled: explicit code, an expression, or a cell."""

from __future__ import annotations
import __future__

import ast
import inspect
from dataclasses import dataclass
from types import CodeType

from owt.kernel.code.program import Program, filename_of, show

_FUTURES = [getattr(__future__, name).compiler_flag for name in __future__.all_feature_names]


@dataclass(frozen=True, slots=True, eq=False)
class Explicit:
    """Text that binds `fn_name`, among the names `binds`, at its top level."""

    fn_name: str
    binds: frozenset[str]
    program: Program


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """Text that is one expression.

    `plain` is its code as written. `head` is the name that makes it terse while the session does not
    know it, and `program` then stands for the text with `pipe()` before it. `free` are the names that
    it takes from outside, and `usual` those of them that are builtins or given to all code.
    """

    program: Program
    plain: CodeType
    head: str | None
    free: frozenset[str]
    usual: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """Text that runs in the session's namespace: `body`, then `last`, whose value is the answer.

    Either may be missing. With `awaits`, the text awaits at its top level.
    """

    filename: str
    body: CodeType | None
    last: CodeType | None
    awaits: bool


Prepared = Explicit | Expression | Cell


def compiled_cell(code: str, source: str, tree: ast.Module, future: int = 0) -> Cell:
    """The cell that `code` is, which stands for the Python text `source` with this tree. `future` is what it
    is to have from `__future__` without an import, as compiler flags."""
    filename = filename_of("cell", code)
    allow = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | future
    body, last = None, None
    statements = tree.body
    match statements:
        case [*before, ast.Expr(value=expression)]:
            statements = before
            last = compile(ast.Expression(expression), filename, "eval", allow, dont_inherit=True)
    if statements:
        body = compile(ast.Module(statements, []), filename, "exec", allow, dont_inherit=True)
    show(filename, source)
    return Cell(filename, body, last, awaits(body) or awaits(last))


def futures(code: CodeType | None) -> int:
    """What this code has from `__future__`, as compiler flags."""
    return 0 if code is None else sum(flag for flag in _FUTURES if code.co_flags & flag)


def awaits(code: CodeType | None) -> bool:
    """Whether running this code gives something to await."""
    return code is not None and bool(code.co_flags & inspect.CO_COROUTINE)


def defines(code: CodeType | None) -> bool:
    """Whether running this code may leave functions or classes behind."""
    return code is not None and any(isinstance(const, CodeType) for const in code.co_consts)
