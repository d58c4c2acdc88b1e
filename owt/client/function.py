"""Source of a function, as the code of a call.

Only the function's own text is sent. Other names that it needs (variables of a function around it, names of
its module) raise an error before the call, with the remedy.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

from owt.errors import CannotSend, shortened
from owt.wire.names import INJECTED_NAMES

_FUTURE = "from __future__ import annotations\n"
_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


@dataclass(frozen=True)
class Source:
    """Code that defines `fn_name`; with None, an expression whose value is the function."""

    code: str
    fn_name: str | None


def source_of(function: Callable[..., Any]) -> Source:
    """Return the source of a function or a lambda, with its decorators.

    Annotations that use names of the module are sent as strings, unless a decorator (`endpoint`) may read
    them. Raises `CannotSend` for an object that is not a Python function, and for a function that has no
    source (built in, or typed at the >>> prompt before Python 3.13) or uses variables of a function around it
    or names of its module.
    """
    label = _name(function)
    plain: object = inspect.unwrap(function)
    if isinstance(function, MethodType):
        raise CannotSend(f"{label} is a method, and its object is not there; send a function")
    if isinstance(plain, type):
        raise CannotSend(f"{plain.__name__} is a class; send a function that uses it, or code as text")
    if inspect.isbuiltin(plain):
        raise CannotSend(f"{label} has no Python source to send; send code as text: {plain.__name__!r}")
    if not isinstance(plain, FunctionType):
        raise CannotSend(f"code is text or a function; got {shortened(function)}")
    if plain.__code__.co_freevars:
        names = _listed(plain.__code__.co_freevars)
        raise CannotSend(
            f"{label} uses {names} of the function around it, and only its own text is sent; "
            f"make it an argument: {_as_argument(plain, plain.__code__.co_freevars[0])}"
        )
    source = _find(plain, label)
    _check_names(source, plain, label)
    return source


def _find(function: FunctionType, label: str) -> Source:
    code = function.__code__
    try:
        lines, _ = inspect.findsource(function)
        text = "".join(lines)
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        raise CannotSend(
            f"the source of {label} cannot be found: Python keeps none of a function made by exec or, before "
            "3.13, by python -c, by standard input or at the >>> prompt; put it into a file, a notebook or "
            "IPython, or send code as text"
        ) from None
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name == code.co_name:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if first == code.co_firstlineno:
                    future = code.co_flags & __future__.annotations.compiler_flag
                    own_lines = lines[first - 1 : node.end_lineno]
                    if not future and not node.decorator_list:
                        own_lines = _with_quoted_annotations(own_lines, node, function.__globals__)
                    own = "".join(own_lines).rstrip() + "\n"
                    # Dedenting would change the lines of its strings.
                    own = f"if True:\n{own}" if own[0].isspace() else own
                    return Source(_FUTURE + own if future else own, name)
    if code.co_name == "<lambda>":
        return Source(_lambda(code, text, tree, label), None)
    raise CannotSend(f"the file of {label} has changed since it was imported; import it again")


def _with_quoted_annotations(
    lines: list[str], node: ast.FunctionDef | ast.AsyncFunctionDef, module: Mapping[str, object]
) -> list[str]:
    """Return the lines of a function, with those annotations as strings that use more than builtins."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += filter(None, [node.args.vararg, node.args.kwarg])
    annotations = [argument.annotation for argument in arguments]
    # AST columns count bytes.
    encoded = [line.encode() for line in lines]
    # The last one first, so that the places of the others stay.
    for annotation in sorted(filter(None, [*annotations, node.returns]), key=_place, reverse=True):
        names = {part.id for part in ast.walk(annotation) if isinstance(part, ast.Name)}
        if any(name in module or not hasattr(builtins, name) for name in names):
            first, last = annotation.lineno - node.lineno, (annotation.end_lineno or 0) - node.lineno
            quoted = repr(ast.unparse(annotation))
            if last > first:
                # The lines below keep their numbers.
                quoted = "(" + quoted + "\n" * (last - first) + ")"
            before = encoded[first][: annotation.col_offset]
            after = encoded[last][annotation.end_col_offset :]
            encoded[first : last + 1] = [before + quoted.encode() + after]
    return [line.decode() for line in encoded]


def _place(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _lambda(code: CodeType, text: str, tree: ast.Module, label: str) -> str:
    """Return the text of a lambda, in parentheses because it may have several lines."""
    lambdas = [
        node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno
    ]
    if len(lambdas) > 1:
        places = list(code.co_positions())
        lambdas = [node for node in lambdas if _places(node) == places]
    source = ast.get_source_segment(text, lambdas[0]) if len(lambdas) == 1 else None
    if source is None:
        raise CannotSend(
            f"{label} cannot be distinguished from the others in its line; use def, or send code as text"
        )
    return f"({source})"


def _places(node: ast.Lambda) -> list[Any]:
    """Return the positions of a lambda's instructions, in the form of `co_positions`."""
    compiled = compile(ast.Expression(node), "<source>", "eval", dont_inherit=True)
    [inner] = [const for const in compiled.co_consts if isinstance(const, CodeType)]
    return list(inner.co_positions())


def _check_names(source: Source, function: FunctionType, label: str) -> None:
    compiled = compile(source.code, "<source>", "exec", dont_inherit=True)
    own = {source.fn_name, *INJECTED_NAMES}
    lost = []
    for name, at_once in _globals_of(compiled):
        # A builtin counts as such unless the function's module has made something else of the name.
        there = name in function.__globals__
        unknown = there if hasattr(builtins, name) else there or at_once
        if unknown and name not in own and not (name.startswith("__") and name.endswith("__")):
            lost.append(name)
    if lost:
        modules = [name for name in lost if inspect.ismodule(function.__globals__.get(name))]
        advice = f"import {modules[0]} inside it" if modules else "define or import them inside it"
        raise CannotSend(
            f"{label} uses {_listed(lost)} of the text around it, and only its own text is sent; "
            f"{advice}, or send code as text"
        )


def _globals_of(code: CodeType, outer: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield the global names that code uses, each with True if it is used when the code is loaded."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL:
            yield instruction.argval, outer
    for const in code.co_consts:
        if isinstance(const, CodeType):
            # A function that evaluates annotations, which Python before 3.14 does at once.
            yield from _globals_of(const, outer and const.co_name == "__annotate__")


def _name(function: object) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        return shortened(function)
    return "the lambda" if name == "<lambda>" else f"{name}()"


def _as_argument(function: FunctionType, name: str) -> str:
    if function.__name__ == "<lambda>":
        return f"lambda ..., {name}: ..., and then call(..., {name}={name})"
    return f"def {function.__name__}(..., {name}), and then call({function.__name__}, ..., {name}={name})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
