"""What the statements of a cell bind and use.

By Python's own compiler, so that scopes are right: a name is used *eagerly* when the statement takes it
from the session while the statement runs, and *late* when only a function takes it that the statement
makes. Nothing of it runs.
"""

from __future__ import annotations

import ast
import builtins
import dis
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import CodeType

from owt.notebook.magics import UNREADABLE, plain

STAR = "*"
"""What an import of everything binds."""
_GIVEN = frozenset(
    {*dir(builtins), "display", "endpoint", "get_ipython", "pipe", "request", "Server", "state"}
)
_READS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
_BINDS = {"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"}
_AT_ONCE = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
_OPTIMIZED = 1
"""`inspect.CO_OPTIMIZED`: the code of a function; that of a class or a module has it not."""
_INSERTED = re.compile(r"\{([^{}]*)\}|\$([^\W\d]\w*)")
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement at the top level of a cell. `meaning` is its text without comments and layout; `binds`
    are the names that it binds or changes something of.

    It is `steady` if running it again changes nothing that others have made with it: an import, a
    function, a class, or a constant.
    """

    meaning: str
    binds: frozenset[str] = frozenset()
    eager: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    steady: bool = False


def statements(text: str) -> tuple[Statement, ...]:
    """The statements of a cell; one that cannot be read, or is not Python, is a single one that is known
    for nothing but its text."""
    found = plain(text)
    if found is None:
        return (Statement(text.strip()),)
    magics = tuple(Statement(magic.text, eager=_inserted(magic.text)) for magic in found.magics)
    if not found.tree.body and text.lstrip().startswith("%%"):
        # Its magic is all of it.
        return (Statement(text.strip()),)
    try:
        return (*magics, *map(_statement, found.tree.body))
    except RecursionError:
        return (Statement(text.strip()),)


def origin(name: str, bound: Collection[str]) -> str:
    """What has to be bound for this name to be there, where `bound` is all that cells bind: the name, or
    `STAR` for one that is bound nowhere and not given to all code."""
    return name if name in bound or name in _GIVEN else STAR


def _inserted(magic: str) -> frozenset[str]:
    """The names whose values IPython puts into a magic's line: of `{expressions}`, and `$name`."""
    found = (braces or name for braces, name in _INSERTED.findall(magic))
    return frozenset(name for each in found for name in _NAME.findall(each))


def _statement(node: ast.stmt) -> Statement:
    meaning = ast.dump(node)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        code = compile(ast.Module([node], []), "<cell>", "exec", flags, dont_inherit=True)
    except UNREADABLE:
        return Statement(meaning)
    eager, late, binds = set[str](), set[str](), set(_changed(node))
    for part, at_once in _parts(code, True):
        for instruction in dis.get_instructions(part):
            name = instruction.argval
            if str(name).startswith("__"):
                # Python's own, as what a class is made of.
                continue
            if instruction.opname in _READS:
                (eager if at_once else late).add(name)
            elif instruction.opname in _BINDS and part is code:
                binds.add(name)
    eager -= _targets(node)
    binds |= {STAR for each in ast.walk(node) if isinstance(each, ast.alias) and each.name == STAR}
    return Statement(meaning, frozenset(binds), frozenset(eager), frozenset(late), _is_steady(node))


def _parts(code: CodeType, at_once: bool) -> Iterator[tuple[CodeType, bool]]:
    """The code and all that is nested in it, each with whether it runs at once."""
    yield code, at_once
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            soon = not inner.co_flags & _OPTIMIZED or inner.co_name in _AT_ONCE
            yield from _parts(inner, at_once and soon)


def _changed(node: ast.AST) -> Iterator[str]:
    """The names of what a statement changes by an attribute or an item: `x` in `x.y[0] = 1`."""
    pending: list[ast.AST] = [node]
    while pending:
        each = pending.pop()
        if isinstance(each, ast.Attribute | ast.Subscript) and not isinstance(each.ctx, ast.Load):
            base: ast.expr = each
            while isinstance(base, ast.Attribute | ast.Subscript):
                base = base.value
            if isinstance(base, ast.Name):
                yield base.id
        pending += [child for child in ast.iter_child_nodes(each) if not isinstance(child, _NESTED)]


def _targets(node: ast.stmt) -> set[str]:
    """What a loop or a `with` binds before its body, and so does not take from elsewhere."""
    targets: list[ast.AST] = []
    for each in ast.walk(node):
        match each:
            case ast.For(target=target) | ast.AsyncFor(target=target):
                targets.append(target)
            case ast.withitem(optional_vars=ast.expr() as target):
                targets.append(target)
    names = {
        each.id
        for target in targets
        for each in ast.walk(target)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }
    return names if isinstance(node, ast.For | ast.AsyncFor | ast.With | ast.AsyncWith) else set()


def _is_steady(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return _is_constant(value)
    return False


def _is_constant(value: ast.expr) -> bool:
    """Whether it is always the same, and nothing that could have been changed since."""
    match value:
        case ast.Constant():
            return True
        case ast.UnaryOp(operand=operand):
            return _is_constant(operand)
        case ast.BinOp(left=left, right=right):
            return _is_constant(left) and _is_constant(right)
        case ast.Tuple(elts=elements):
            return all(map(_is_constant, elements))
    return False
