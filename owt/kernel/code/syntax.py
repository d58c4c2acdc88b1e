"""Parser of a call's text; nothing of the text runs.

Text that is valid Python keeps Python's meaning. Other text is parsed as if in parentheses, so that the lines
of a chain of methods may begin with dots, and then after IPython's transform.
"""

from __future__ import annotations

import ast
import dis
import gc
import io
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from owt.errors import SyntaxFault

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def parse_text(code: str, transform: Callable[[str], str]) -> tuple[str, ast.Module, ast.expr | None]:
    """Return the Python text that `code` stands for, its tree, and the expression if it is just one.

    `transform` is the IPython shell's `transform_cell`. Raises one of `UNREADABLE`, or `SyntaxFault`.
    """
    _check_characters(code)
    code = code.removeprefix("\ufeff")
    try:
        tree = _parse(code)
    except SyntaxError as error:
        fault = error
    else:
        if len(tree.body) == 1 and isinstance(statement := tree.body[0], ast.Expr):
            return code, tree, statement.value
        return code, tree, None
    try:
        expression = parse_expression(code)
    except SyntaxError as error:
        fault = _farther(fault, _without_parentheses(error, fault, code))
    else:
        statement = ast.copy_location(ast.Expr(expression), expression)
        return code, ast.Module([statement], []), expression
    source = ""
    try:
        source = transform(code)
        return source, _parse(source), None
    except SyntaxError as error:
        raise _farther(fault, _in_lines_of(code, source, error)) from None
    except Exception:
        raise fault from None


def _parse(text: str, mode: str = "exec") -> Any:
    """Return the tree of this text."""
    try:
        return ast.parse(text, mode=mode)
    except SystemError:
        # The garbage collector has run a finalizer that parses, too, such as one that logs a traceback:
        # "AST constructor recursion depth mismatch" in CPython before 3.12. Another one may follow.
        collects = gc.isenabled()
        gc.disable()
        try:
            return ast.parse(text, mode=mode)
        finally:
            if collects:
                gc.enable()


def parse_expression(text: str) -> ast.expr:
    """Return `text` as one expression, parsed as if it stood in parentheses.

    Raises one of `UNREADABLE`. The position of a SyntaxError is that in `text`, or just before it if the text
    leaves a bracket open. Text is parsed once if it is valid, so that Python's warnings about it come once.
    """
    try:
        # Text that closes the parentheses around it, as `1) + (2` and `1), (2` do, makes the argument, or the
        # call, more than what is in them.
        call = _parse(f"f(({text}\n))", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
            raise SyntaxError("invalid syntax")
        if len(call.args) != 1 or not _is_inside(tree := call.args[0]):
            raise SyntaxError("invalid syntax")
    except SyntaxError as error:
        raise _expression_fault(text) or error from None
    if isinstance(tree, ast.Tuple) and not tree.elts and tree.lineno == 1 and tree.col_offset == _ARGUMENT:
        raise SyntaxError("there is no expression", (None, 1, 1, text))
    for node in ast.walk(tree):
        if isinstance(node, (ast.expr, ast.keyword, ast.arg)):
            if node.lineno == 1:
                node.col_offset = max(0, node.col_offset - _ARGUMENT - 1)
            if node.end_lineno == 1 and node.end_col_offset is not None:
                node.end_col_offset = max(node.col_offset, node.end_col_offset - _ARGUMENT - 1)
    return tree


_ARGUMENT = len("f(")
"""Column of the parenthesis before a text parsed as an argument: tuples and generators begin with it."""


def _is_inside(argument: ast.expr) -> bool:
    first = _ARGUMENT if isinstance(argument, (ast.Tuple, ast.GeneratorExp)) else _ARGUMENT + 1
    return argument.lineno > 1 or argument.col_offset >= first


def _expression_fault(text: str) -> SyntaxError | None:
    """Return the error in a text that is not one expression, with its position in the text."""
    # Text that closes the parentheses around it fits one kind of bracket only.
    for before, after in ("()", "[]"):
        try:
            _parse(f"{before}{text}\n{after}", mode="eval")
        except SyntaxError as error:
            fault = error
            if error.lineno is not None and error.lineno > text.count("\n") + 1:
                fault = _open_bracket(text) or error
            if fault.lineno == 1 and fault.offset is not None:
                fault.offset -= 1
            return fault
    return None


def _open_bracket(text: str) -> SyntaxError | None:
    """Return the error of a bracket that the text itself leaves open, or None."""
    try:
        _parse(f"({text}", mode="eval")
    except SyntaxError as error:
        return error if (error.lineno, error.offset) != (1, 1) else None
    return None


def bound_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module's top level binds, in any branch."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        children: list[ast.AST] = list(ast.iter_child_nodes(node))
        if isinstance(node, _DEFINITIONS):
            # Decorators, defaults and bases belong to the top level; the body does not.
            children = [child for child in children if not isinstance(child, ast.stmt)]
        elif isinstance(node, ast.Lambda):
            children = [node.args]
        elif isinstance(node, ast.comprehension):
            children = [node.iter, *node.ifs]
        elif isinstance(node, ast.AnnAssign) and node.value is None and isinstance(node.target, ast.Name):
            children = [node.annotation]
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            children = [node.value]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        # The handler of an exception forgets its name at its end.
        if not isinstance(node, ast.ExceptHandler) and (name := bound_name(node)) is not None:
            yield name
        pending += children


_NAME_FIELDS = {
    "FunctionDef": "name", "AsyncFunctionDef": "name", "ClassDef": "name", "ExceptHandler": "name",
    "MatchAs": "name", "MatchStar": "name", "MatchMapping": "rest",
}  # fmt: skip
"""Fields of syntax nodes with a name that they bind. Python 3.9 has no classes for the last three."""


def bound_name(node: ast.AST) -> str | None:
    """Return the name that a definition, an import, a pattern or a handler of exceptions binds, or None."""
    if isinstance(node, ast.alias):
        return node.asname or node.name.partition(".")[0]
    field = _NAME_FIELDS.get(type(node).__name__)
    return None if field is None else getattr(node, field)


def function_names(tree: ast.Module) -> set[str]:
    """Return the names of the functions and classes that a module's top level defines, in any branch."""
    binds = frozenset(bound_names(tree))
    names = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, _DEFINITIONS)
    }
    return names & binds


def free_names(code: CodeType, *, lambdas: bool = True) -> frozenset[str]:
    """Return the names that an expression's code takes from outside, builtins among them.

    A name that the expression itself assigns (`:=`) is free if it is read before that. Without `lambdas`,
    only names that are read while the expression itself is evaluated count.
    """
    free: set[str] = set()
    assigned: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME":
            assigned.add(instruction.argval)
        elif instruction.opname == "LOAD_NAME" and instruction.argval not in assigned:
            free.add(instruction.argval)
    inner: set[str] = set()
    for nested in _nested(code, lambdas):
        for instruction in dis.get_instructions(nested):
            if instruction.opname == "LOAD_GLOBAL":
                inner.add(instruction.argval)
            elif instruction.opname == "STORE_GLOBAL":
                assigned.add(instruction.argval)
    return frozenset(free | (inner - assigned))


def _nested(code: CodeType, lambdas: bool) -> Iterator[CodeType]:
    pending = [code]
    while pending:
        inner = [const for const in pending.pop().co_consts if isinstance(const, CodeType)]
        inner = [nested for nested in inner if lambdas or nested.co_name != "<lambda>"]
        yield from inner
        pending += inner


def leftmost_call(expression: ast.expr) -> ast.Call | None:
    """Return the call of the leftmost name in a chain of calls, attributes and subscripts, or None."""
    node = expression
    while True:
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                return node
            node = node.func
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        else:
            return None


def _check_characters(code: str) -> None:
    at = code.find("\0")
    if at >= 0:
        raise SyntaxFault("the code contains a NUL character", code.count("\n", 0, at) + 1)
    try:
        code.encode()
    except UnicodeEncodeError as error:
        problem = f"the code contains {code[error.start]!r}, half of a surrogate pair, not a character"
        raise SyntaxFault(problem, code.count("\n", 0, error.start) + 1) from None


def lines_of(source: str) -> list[str]:
    """Return the lines as Python counts them, each with its end; `str.splitlines` splits at more
    characters."""
    return [line if line.endswith("\n") else line + "\n" for line in io.StringIO(source, newline=None)]


def _farther(first: SyntaxError, second: SyntaxError) -> SyntaxError:
    """Return the fault that is farther on; the other way of parsing was wrong from its start."""
    return max(first, second, key=lambda fault: (fault.lineno or 0, fault.offset or 0))


def _without_parentheses(error: SyntaxError, first: SyntaxError, code: str) -> SyntaxError:
    """Return a fault of `code` in parentheses as a fault of `code`, whose fault as a module is `first`."""
    lines = lines_of(code)
    if (error.lineno, error.offset) == (1, 0):
        # The added parenthesis was never closed: its end closed a bracket of the text.
        try:
            _parse(f"({code}")
        except SyntaxError as unclosed:
            error = unclosed
            if error.lineno == 1 and error.offset is not None:
                error.offset -= 1
    if "never closed" in first.msg or ((error.lineno or 0) > len(lines) and "unmatched" in error.msg):
        return first
    if (error.lineno or 0) > len(lines):
        error.lineno, error.offset = len(lines), len(lines[-1])
    if (first.lineno or 0) > 1 and error.msg.startswith("closing") and error.msg.endswith("on line 1"):
        # As a module, line 1 is correct, so that bracket is the added one.
        error.msg = f"unmatched {error.msg.split()[2]}"
    return error


def _in_lines_of(code: str, source: str, error: SyntaxError) -> SyntaxError:
    """Return a fault in `source`, into which `code` was transformed, as one in `code` if the lines agree."""
    before, after = lines_of(code), lines_of(source)
    line = error.lineno or 0
    if len(before) != len(after) or not 0 < line <= len(before):
        return SyntaxError(error.msg)
    column = error.offset if before[line - 1] == after[line - 1] else 0
    return SyntaxError(error.msg, (None, line, column, before[line - 1]))


def syntax_fault(error: BaseException, code: str) -> SyntaxFault:
    """Return the error for the caller, from an `UNREADABLE` that parsing `code` raised."""
    if isinstance(error, SyntaxError):
        line = error.lineno or 0
        if line < 1:
            return SyntaxFault(error.msg)
        lines = lines_of(code.removeprefix("\ufeff"))
        excerpt = _excerpt(lines[line - 1], error.offset or 0) if line <= len(lines) else ""
        return SyntaxFault(error.msg, min(line, len(lines)) or None, excerpt)
    if isinstance(error, (RecursionError, MemoryError)):
        return SyntaxFault("the code is nested too deeply to be read")
    return SyntaxFault(f"the code cannot be read: {error}")


def _excerpt(line: str, offset: int, width: int = 80) -> str:
    """Return a line of code, cut to `width` around `offset` (from 1; 0 if unknown), and a caret below it."""
    line = line.rstrip()
    at = min(max(offset - 1, 0), len(line))
    start = max(len(line) - len(line.lstrip()), at - width // 2)
    excerpt = f"    {line[start : start + width]}"
    if offset < 1 or at < start:
        return excerpt
    return f"{excerpt}\n    {''.join(c if c == chr(9) else ' ' for c in line[start:at])}^"
