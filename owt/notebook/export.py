"""Export of a notebook as a plain adaptor file: Python without magics and endpoints, which defines `run`."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from owt.errors import UNREADABLE, NotebookError
from owt.notebook.document import CodeCell, read
from owt.notebook.endpoint_cells import is_annotated, split
from owt.notebook.parsed_cell import ParsedCell, by_line, parse_cell

DECORATOR = "endpoint"
_STAR = "*"
"""The name that `from module import *` binds here."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_DYNAMIC = frozenset(
    ("eval", "exec", "globals", "locals", "vars", "dir", "state", "__main__", "get_ipython", "__builtins__")
)
"""Names by which code uses or binds other names invisibly."""
_DYNAMIC_ATTRIBUTES = frozenset(("__globals__", "f_globals", "f_locals", "user_ns", "user_global_ns"))


@dataclass(frozen=True, slots=True)
class _Part:
    """A cell with its Python, the names that it `binds` or changes, and those that it `uses`. `dynamic` is
    what the cell has by which it may also bind, change and use any other name, or None."""

    cell: CodeCell
    python: ParsedCell
    binds: set[str]
    uses: set[str]
    dynamic: str | None


def export(path: Path, endpoint: str | None = None) -> str:
    """Return the text of an adaptor file that does what the notebook's `endpoint` does, with the cells that
    it needs; without `endpoint`, all cells, where `run` is the notebook's own or its only endpoint.

    Raises `NotebookError`, naming the cell, for code that a plain file cannot have.
    """
    cells = read(path)
    try:
        return _export(cells, endpoint, path.name)
    except NotebookError as error:
        raise NotebookError(f"{path}: {error}") from None


def _export(cells: Sequence[CodeCell], endpoint: str | None, file_name: str) -> str:
    parts = [_part(cell) for cell in cells if not is_annotated(cell)]
    names = _decorator_names(parts)
    # By path, or else by the function's name.
    endpoints = {
        path or function.name: (function.name, part)
        for part in parts
        for function in part.python.tree.body
        if isinstance(function, Function)
        for decorator in function.decorator_list
        if (path := _path(decorator, names)) is not None
    }
    reasons: dict[str, str] = {}
    if endpoint is not None:
        if endpoint not in endpoints:
            raise NotebookError(_unknown(endpoint, cells, endpoints))
        run, start = endpoints[endpoint]
        reasons = _needed(parts, start)
        parts = [part for part in parts if part.cell.label in reasons]
    elif any("run" in part.binds for part in parts):
        run = "run"
    elif len(endpoints) == 1:
        run, _ = next(iter(endpoints.values()))
    else:
        raise NotebookError(f"there is no function run in it{_choice(endpoints)}")
    if run != "run" and (other := next((part for part in parts if "run" in part.binds), None)):
        raise NotebookError(
            f"{other.cell.label}: it binds the name run, which the function {run} gets in the file; "
            f"give it another name{reasons.get(other.cell.label, '')}"
        )
    return _file(parts, names, run, file_name, reasons)


def _part(cell: CodeCell) -> _Part:
    python = parse_cell(cell.text)
    if python is None:
        raise NotebookError(f"{cell.label}: its text is neither Python nor a magic")
    binds, uses, docstrings = set[str](), set[str](), set[ast.expr]()
    for node in ast.walk(python.tree):
        match node:
            case ast.Expr(value=ast.Constant() as constant):
                docstrings.add(constant)
            case ast.Constant(value=str(text)) if node not in docstrings:
                # It may be a query, an expression or a template, which is evaluated with the session's names.
                uses.update(_IDENTIFIER.findall(text))
            case ast.alias(name="*"):
                binds.add(_STAR)
            case (
                ast.Attribute(value=target, ctx=ast.Store() | ast.Del())
                | ast.Subscript(value=target, ctx=ast.Store() | ast.Del())
                | ast.Expr(value=ast.Call(func=ast.Attribute(value=target)))
                | ast.Expr(value=ast.Await(value=ast.Call(func=ast.Attribute(value=target))))
            ):
                # A call whose value is not used may change its object: `x.eval()` changes `x`.
                while isinstance(target, ast.Attribute | ast.Subscript | ast.Call):
                    target = target.func if isinstance(target, ast.Call) else target.value
                if isinstance(target, ast.Name):
                    binds.add(target.id)
    try:
        top = symtable.symtable(python.source, cell.label, "exec")
    except UNREADABLE:
        # The code cannot be in a file either, and the file's check says why.
        return _Part(cell, python, binds, uses, dynamic="code that cannot be read")
    tables = [top]
    for table in tables:
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table is top or symbol.is_global():
                if symbol.is_referenced():
                    uses.add(symbol.get_name())
                if symbol.is_assigned() or symbol.is_imported():
                    binds.add(symbol.get_name())
    dynamic = next(filter(None, map(_dynamic_use, ast.walk(python.tree))), None)
    return _Part(cell, python, binds, uses, dynamic)


def _dynamic_use(node: ast.AST) -> str | None:
    """Return the name by which code may use or bind names that the text does not have, or None."""
    match node:
        case ast.Name(id=name) | ast.alias(name=name) if name in _DYNAMIC:
            return name
        case ast.Attribute(attr=name) if name in _DYNAMIC_ATTRIBUTES:
            return name
        case ast.Subscript(slice=ast.Constant("__main__")) | ast.Call(args=[ast.Constant("__main__"), *_]):
            return "__main__"
        case ast.Call(func=ast.Attribute(attr="eval" | "query" as name), args=[first, *_]):
            # Of pandas and others. The names in a constant text are known.
            return None if isinstance(first, ast.Constant) else f"{name}(...)"
    return None


def _decorator_names(parts: Sequence[_Part]) -> set[str]:
    """Return the names under which the notebook has `endpoint`."""
    names = {DECORATOR, f"owt.{DECORATOR}"}
    for part in parts:
        for node in part.python.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "owt":
                names |= {alias.asname or alias.name for alias in node.names if alias.name == DECORATOR}
            elif isinstance(node, ast.Import):
                names |= {f"{alias.asname}.{DECORATOR}" for alias in node.names if alias.name == "owt"}
    return names


def _path(decorator: ast.expr, names: set[str]) -> str | None:
    """Return the path that a decorator gives a function: "" if it is not a literal, None if there is none."""
    match decorator:
        case ast.Call(func=function, args=args, keywords=keywords) if _is_decorator(function, names):
            paths = [*args[:1], *(keyword.value for keyword in keywords if keyword.arg == "path")]
            match paths:
                case [ast.Constant(value=str(path))]:
                    return path
            return ""
    return None


def _is_decorator(node: ast.expr, names: set[str]) -> bool:
    match node:
        case ast.Name(id=name):
            return name in names
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return f"{module}.{name}" in names
    return False


def _unknown(endpoint: str, cells: Sequence[CodeCell], endpoints: Iterable[str]) -> str:
    _, endpoint_cells = split(cells)
    if any(endpoint in (cell.raw_path, cell.path) for cell in endpoint_cells):
        return (
            f"{endpoint} is a cell that works with the variable REQUEST, and no function; write one with "
            f"@endpoint to export it"
        )
    known = ", ".join(_paths(endpoints)) or "none"
    return f"there is no function with @endpoint({endpoint!r}) in it; its endpoints are: {known}"


def _choice(endpoints: Iterable[str]) -> str:
    if not endpoints:
        return ", and no endpoint"
    if paths := _paths(endpoints):
        return f"; choose one of its endpoints: --endpoint {' or '.join(paths)}"
    return "; its endpoints cannot be chosen from, as their paths are not in the text: name one function run"


def _paths(endpoints: Iterable[str]) -> list[str]:
    return sorted(endpoint for endpoint in endpoints if endpoint.startswith("/"))


def _needed(parts: Sequence[_Part], start: _Part) -> dict[str, str]:
    """Return the labels of the cells that bind or change a name that `start` uses, transitively, each with
    the reason, which follows a message about the cell. A star import may bind any name. If any cell is
    dynamic, all cells are needed."""
    dynamic = next((part for part in parts if part.dynamic), None)
    if dynamic is not None:
        reason = f". All cells are needed: {dynamic.cell.label} has {dynamic.dynamic}, which can use any name"
        return {part.cell.label: "" if part is start else reason for part in parts}
    reasons = {start.cell.label: ""}
    needed = [start]
    for part in needed:
        for other in parts:
            if other.cell.label not in reasons and (shared := other.binds & {*part.uses, _STAR}):
                use = "may use what it imports by *" if shared == {_STAR} else f"uses {min(shared - {_STAR})}"
                reasons[other.cell.label] = f". It is needed: {part.cell.label} {use}"
                needed.append(other)
    return reasons


def _file(
    parts: Sequence[_Part], names: set[str], run: str, file_name: str, reasons: Mapping[str, str]
) -> str:
    future: list[str] = []
    texts = []
    for part in parts:
        try:
            texts.append(_text(part, names, future))
        except NotebookError as error:
            raise NotebookError(f"{error}{reasons.get(part.cell.label, '')}") from None
    blocks = [f"# Exported by owt from {file_name}."]
    if future:
        blocks.append(f"from __future__ import {', '.join(dict.fromkeys(future))}")
    blocks += [text for text in texts if text]
    if run != "run":
        blocks.append(f"run = {run}")
    return "\n\n".join(blocks) + "\n"


def _text(part: _Part, names: set[str], future: list[str]) -> str:
    """Return a cell's text for the file. The names that it imports from `__future__` go to `future`."""
    label, python = part.cell.label, part.python
    for magic in python.magics:
        if magic.assigns:
            raise NotebookError(
                f"{label}: {magic.text} takes its value from what only IPython does; write it in Python"
            )
    lines: list[str | None] = list(python.source.split("\n"))
    for first, last, nodes in by_line(python.tree.body):
        for node in nodes:
            if isinstance(node, Function):
                for decorator in node.decorator_list:
                    if _path(decorator, names) is not None:
                        _replace(lines, decorator.lineno, decorator.end_lineno or decorator.lineno)
        remaining = [_remaining(node, future) for node in nodes]
        if remaining != nodes:
            rest = [
                ast.get_source_segment(python.source, after) if after is before else ast.unparse(after)
                for before, after in zip(nodes, remaining, strict=True)
                if after is not None
            ]
            _replace(lines, first, last, "; ".join(filter(None, rest)) or None)
    text = "\n".join(line for line in lines if line is not None).strip("\n")
    _check(text, label, names)
    return text


def _remaining(node: ast.stmt, future: list[str]) -> ast.stmt | None:
    """Return the statement without imports of `endpoint` and from `__future__`; the latter go to `future`."""
    match node:
        case ast.ImportFrom(module="__future__", names=aliases):
            future += [alias.name for alias in aliases]
            return None
        case ast.ImportFrom(module="owt", names=aliases):
            others = [alias for alias in aliases if alias.name != DECORATOR]
            if len(others) < len(aliases):
                return ast.ImportFrom("owt", others, 0) if others else None
    return node


def _replace(lines: list[str | None], first: int, last: int, text: str | None = None) -> None:
    lines[first - 1 : last] = [text, *[None] * (last - first)]


def _check(text: str, label: str, names: set[str]) -> None:
    try:
        tree = ast.parse(text)
        compile(tree, "<cell>", "exec", dont_inherit=True)
    except UNREADABLE as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise NotebookError(f"{label}: it cannot be in a file of its own: {reason}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and _is_decorator(node, names):
            raise NotebookError(
                f"{label}: it uses endpoint for something other than decorating a function at the top level, "
                "which an adaptor file cannot"
            )
