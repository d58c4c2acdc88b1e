"""A notebook as a plain adaptor file: Python without magics and without endpoints, which defines `run`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from owt.errors import NotebookError
from owt.notebook.annotations import is_marked, split
from owt.notebook.document import Cell, read
from owt.notebook.magics import UNREADABLE, Plain, plain
from owt.notebook.names import origin, statements

DECORATOR = "endpoint"
Function = ast.FunctionDef | ast.AsyncFunctionDef
_BLOCKS = (
    *(ast.Expr, ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith),
    *(ast.Try, ast.TryStar, ast.ExceptHandler, ast.Match, ast.match_case),
)
"""What runs with the cell: statements, and what has statements within."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A cell as Python, with the names that it binds, those of which it calls methods, and those that it
    uses."""

    cell: Cell
    python: Plain
    binds: frozenset[str]
    calls: frozenset[str]
    uses: frozenset[str]


def export(path: Path, endpoint: str | None = None) -> str:
    """The text of an adaptor file that does what the notebook's `endpoint` does, with the cells which that
    needs; without `endpoint`, all cells, where `run` is the notebook's own or its only endpoint.

    Raises `NotebookError`, naming the cell, for what a plain file cannot have.
    """
    cells = read(path)
    try:
        return _exported(cells, endpoint, path.name)
    except NotebookError as error:
        raise NotebookError(f"{path}: {error}") from None


def _exported(cells: Sequence[Cell], endpoint: str | None, name: str) -> str:
    parts = [_part(cell) for cell in cells if not is_marked(cell)]
    names = _decorators(parts)
    # By its path, or else by its name.
    found = {
        where or function.name: (function.name, part)
        for part in parts
        for function in _functions(part)
        for decorator in function.decorator_list
        if (where := _path(decorator, names)) is not None
    }
    if endpoint is not None:
        if endpoint not in found:
            raise NotebookError(_unknown(endpoint, cells, found))
        run, start = found[endpoint]
        parts = _needed(parts, start)
    elif any("run" in part.binds for part in parts):
        run = "run"
    elif len(found) == 1:
        run, _ = next(iter(found.values()))
    else:
        raise NotebookError(f"there is no function run in it{_choice(found)}")
    if run != "run" and (other := next((part for part in parts if "run" in part.binds), None)):
        raise NotebookError(
            f"{other.cell.label}: it binds the name run, which the function {run} is to have in the file; "
            "give it another name"
        )
    return _file(parts, names, run, name)


def _part(cell: Cell) -> _Part:
    found = plain(cell.text)
    if found is None:
        raise NotebookError(f"{cell.label}: its text is neither Python nor a magic")
    known = statements(cell.text)
    binds = frozenset[str]().union(*(each.binds for each in known))
    uses = frozenset[str]().union(*(each.eager | each.late for each in known))
    return _Part(cell, found, binds, frozenset(_called(found.tree)), uses)


def _called(tree: ast.Module) -> Iterator[str]:
    """The names of what may be another thing after a method was called whose value nobody takes: `x` in
    `x.eval()`, `x[0].y.append(1)` and `x.to(y).eval()`."""
    pending: list[ast.AST] = [tree]
    while pending:
        each = pending.pop()
        pending += [child for child in ast.iter_child_nodes(each) if isinstance(child, _BLOCKS)]
        base = each.value if isinstance(each, ast.Expr) else None
        base = base.value if isinstance(base, ast.Await) else base
        if not isinstance(base, ast.Call):
            continue
        while isinstance(base, ast.Call | ast.Attribute | ast.Subscript):
            called, base = base, base.func if isinstance(base, ast.Call) else base.value
        if isinstance(base, ast.Name) and not isinstance(called, ast.Call):
            yield base.id


def _functions(part: _Part) -> Iterable[Function]:
    return (node for node in part.python.tree.body if isinstance(node, Function))


def _decorators(parts: Sequence[_Part]) -> set[str]:
    """The names under which the notebook has `endpoint`."""
    names = {DECORATOR, f"owt.{DECORATOR}"}
    for part in parts:
        for node in part.python.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "owt":
                names |= {each.asname or each.name for each in node.names if each.name == DECORATOR}
            elif isinstance(node, ast.Import):
                names |= {f"{each.asname}.{DECORATOR}" for each in node.names if each.name == "owt"}
    return names


def _path(decorator: ast.expr, names: set[str]) -> str | None:
    """The path that a decorator gives a function, "" if that is not in the text, None if it gives none."""
    match decorator:
        case ast.Call(func=function, args=args, keywords=keywords) if _is_decorator(function, names):
            given = [*args[:1], *(each.value for each in keywords if each.arg == "path")]
            match given:
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


def _unknown(endpoint: str, cells: Sequence[Cell], found: Iterable[str]) -> str:
    _, marked = split(cells)
    if any(endpoint in (each.shown, each.path) for each in marked):
        return (
            f"{endpoint} is a cell that works with the variable REQUEST, and no function; write one with "
            f"@endpoint to export it"
        )
    there = ", ".join(_paths(found)) or "none"
    return f"there is no function with @endpoint({endpoint!r}) in it; its endpoints are: {there}"


def _choice(found: Iterable[str]) -> str:
    if not found:
        return ", and no endpoint"
    if paths := _paths(found):
        return f"; choose one of its endpoints: --endpoint {' or '.join(paths)}"
    return "; its endpoints cannot be chosen from, as their paths are not in the text: name one function run"


def _paths(found: Iterable[str]) -> list[str]:
    return sorted(each for each in found if each.startswith("/"))


def _needed(parts: Sequence[_Part], start: _Part) -> list[_Part]:
    """The cells that bind what `start` uses, or call its methods, and so on."""
    bound = {name for part in parts for name in part.binds}
    needed = [start]
    for part in needed:
        uses = {origin(name, bound) for name in part.uses}
        needed += [each for each in parts if each not in needed and (each.binds | each.calls) & uses]
    return [part for part in parts if part in needed]


def _file(parts: Sequence[_Part], names: set[str], run: str, name: str) -> str:
    future: list[str] = []
    texts = [_text(part, names, future) for part in parts]
    blocks = [f"# Exported by owt from {name}."]
    if future:
        blocks.append(f"from __future__ import {', '.join(dict.fromkeys(future))}")
    blocks += [text for text in texts if text]
    if run != "run":
        blocks.append(f"run = {run}")
    return "\n\n".join(blocks) + "\n"


def _text(part: _Part, names: set[str], future: list[str]) -> str:
    """A cell's text for the file. Its imports from `__future__` go to `future` instead."""
    label, python = part.cell.label, part.python
    for magic in python.magics:
        if magic.assigns:
            raise NotebookError(
                f"{label}: {magic.text} takes its value from what only IPython does; write it in Python"
            )
    lines: list[str | None] = list(python.source.split("\n"))
    for nodes in _by_line(python.tree.body):
        for each in nodes:
            if isinstance(each, Function):
                for decorator in each.decorator_list:
                    if _path(decorator, names) is not None:
                        _replace(lines, decorator.lineno, decorator.end_lineno or decorator.lineno)
        stay = [_staying(each, future) for each in nodes]
        if stay != nodes:
            first, last = nodes[0].lineno, nodes[-1].end_lineno or nodes[-1].lineno
            rest = [
                ast.get_source_segment(python.source, after) if after is before else ast.unparse(after)
                for before, after in zip(nodes, stay, strict=True)
                if after is not None
            ]
            _replace(lines, first, last, "; ".join(filter(None, rest)) or None)
    text = "\n".join(line for line in lines if line is not None).strip("\n")
    _check(text, label, names)
    return text


def _by_line(body: Sequence[ast.stmt]) -> list[list[ast.stmt]]:
    """The statements, those together that share a line."""
    groups: list[list[ast.stmt]] = []
    for node in body:
        if groups and node.lineno <= (groups[-1][-1].end_lineno or 0):
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def _staying(node: ast.stmt, future: list[str]) -> ast.stmt | None:
    """The statement without an import that is none of the file's own: of `endpoint`, or from `__future__`,
    whose names go to `future`."""
    match node:
        case ast.ImportFrom(module="__future__", names=imported):
            future += [each.name for each in imported]
            return None
        case ast.ImportFrom(module="owt", names=imported):
            others = [each for each in imported if each.name != DECORATOR]
            if len(others) < len(imported):
                return ast.ImportFrom("owt", others, 0) if others else None
    return node


def _replace(lines: list[str | None], first: int, last: int, text: str | None = None) -> None:
    lines[first - 1 : last] = [text, *[None] * (last - first)]


def _check(text: str, label: str, names: set[str]) -> None:
    try:
        tree = ast.parse(text)
        compile(tree, "<cell>", "exec", dont_inherit=True)
    except UNREADABLE as error:
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise NotebookError(f"{label}: it cannot be in a file of its own: {why}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and _is_decorator(node, names):
            raise NotebookError(
                f"{label}: it uses endpoint for something else than to decorate a function at the top level, "
                "which an adaptor file cannot"
            )
