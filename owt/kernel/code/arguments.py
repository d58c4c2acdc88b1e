"""Arguments of a call: from the text of `kwargs` to positional and keyword arguments of a function.

The text is JSON or else a Python expression, which sees the session's names and changes none. The value
decides: a mapping becomes keyword arguments; None (`null`) is no arguments; a string that is itself an
expression of known names is evaluated again; anything else is the one value that a pipeline starts from,
which pipes know by the name `__last__`. A mapping with a key `__last__` is a mapping like any other. A name
that an expression finds nowhere is the module of this name, if there is one.

A function whose parameters are exactly `(request, kwargs)` gets the request and all arguments as a
dictionary, unless arguments of these names are sent. Adaptors had this form in the program that owt succeeds.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any, Optional
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct

from owt.errors import UNREADABLE, BadRequest, continued
from owt.kernel import context
from owt.kernel.code.modules import import_modules
from owt.kernel.code.syntax import free_names, parse_expression
from owt.summat import MISSING


class MissingArguments(BadRequest):
    """A function needs arguments of these `names`, which the request does not have."""

    def __init__(self, names: list[str], problem: str, hint: str) -> None:
        super().__init__("kwargs", problem, hint=hint)
        self.names = names


class Arguments(Struct, frozen=True):
    """Arguments of a call: `kwargs` by name, or one `value` that is not a mapping; else that is `MISSING`."""

    kwargs: dict[str, Any] = {}
    value: Any = MISSING


def evaluate(text: str | None, namespace: dict[str, Any]) -> Arguments:
    """Return the arguments that `text` stands for; no arguments if it is None, blank, or stands for None.

    Evaluating an expression runs the caller's code. Raises `BadRequest` for text that cannot be parsed, an
    expression that raises, and a mapping whose keys are not all strings.
    """
    if text is None or not text.strip():
        return Arguments()
    is_json = True
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        is_json = False
    except RecursionError:
        raise BadRequest("kwargs", "is nested too deeply", text) from None
    if not is_json:
        value = _evaluated(_compiled(text), text, namespace)
    elif type(value) is dict:
        return Arguments(value)
    if isinstance(value, str):
        value = _evaluated_again(value, namespace)
    return _arguments(value, text)


def call_arguments(
    function: Callable[..., Any], arguments: Arguments
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and keyword arguments for a call of `function`.

    A value is the one positional argument. Raises `BadRequest` if the function's own signature does not take
    the arguments, so that a TypeError of the call always comes from the function. The signature of a function
    that it wraps does not count. A callable without a signature takes anything.
    """
    kwargs = arguments.kwargs
    args = () if arguments.value is MISSING else (arguments.value,)
    shape = _shape(function)
    if shape is None:
        return args, kwargs
    names = kwargs.keys()
    if not args and names >= shape.required and (shape.var_keyword or names <= shape.named):
        return args, kwargs
    if shape.takes_request and not args and names.isdisjoint(shape.named):
        return (context.current_request(), dict(kwargs)), {}
    by_position = shape.positional[: len(args)]
    bound = [*by_position, *(name for name in names if name not in shape.unnamed)]
    missing = [name for name in shape.needed if name not in bound]
    twice = [name for name in by_position if name in shape.named]
    unexpected = [name for name in names if name in twice or not (shape.var_keyword or name in shape.named)]
    problems = []
    if args and not by_position and not shape.var_positional:
        problems.append("a value that is not a mapping was sent, and no positional argument is accepted")
    if missing:
        problems.append(f"missing {_listed(missing)}")
    if unexpected:
        problems.append(f"unexpected {_listed(unexpected)}")
    if not problems:
        return args, kwargs
    hint = f"The signature is {_signature(function)}"
    unnamed = [name for name in missing if name in shape.unnamed]
    if unnamed:
        hint += f"; {_listed(unnamed)} cannot be passed by name, send a value that is not a mapping"
    if missing:
        raise MissingArguments(missing, ", ".join(problems), hint)
    raise BadRequest("kwargs", ", ".join(problems), hint=hint)


@dataclass(frozen=True)
class _Shape:
    """Parameters of a signature.

    `positional` are those that accept a position, `unnamed` those that accept nothing else, `named` those
    that accept a keyword, and `needed` those without a default. `required` is `needed` with a placeholder,
    which no call can pass, for each unnamed one. `takes_request` is True for `(request, kwargs)`; then
    `required` has a placeholder too.
    """

    positional: tuple[str, ...]
    unnamed: frozenset[str]
    named: frozenset[str]
    needed: tuple[str, ...]
    required: frozenset[object]
    var_positional: bool
    var_keyword: bool
    takes_request: bool


# Code and defaults are part of an entry because reloading tools replace them in place.
_Shapes = WeakKeyDictionary[FunctionType, tuple[CodeType, object, object, Optional[_Shape]]]
_shapes: _Shapes = WeakKeyDictionary()
_method_shapes: _Shapes = WeakKeyDictionary()


def _shape(function: Callable[..., Any]) -> _Shape | None:
    """Return the parameters of a callable, cached for functions and methods written in Python."""
    shapes, plain = _shapes, function
    if not isinstance(function, (FunctionType, MethodType, type)):
        call = type(function).__call__
        if isinstance(call, FunctionType):
            function = MethodType(call, function)
    if isinstance(function, MethodType):
        shapes, plain = _method_shapes, function.__func__
    if not isinstance(plain, FunctionType):
        return _inspected(function)
    entry = shapes.get(plain)
    if entry is not None:
        code, defaults, kwdefaults, shape = entry
        if code is plain.__code__ and defaults is plain.__defaults__ and kwdefaults is plain.__kwdefaults__:
            return shape
    shape = _inspected(function)
    shapes[plain] = (plain.__code__, plain.__defaults__, plain.__kwdefaults__, shape)
    return shape


def _inspected(function: Callable[..., Any]) -> _Shape | None:
    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    except Exception:
        # Most builtins have no signature, and a `__signature__` may be any object.
        return None

    def names(*kinds: object, needed: bool = False) -> tuple[str, ...]:
        return tuple(p.name for p in parameters if p.kind in kinds and (not needed or p.default is p.empty))

    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    unnamed = frozenset(names(inspect.Parameter.POSITIONAL_ONLY))
    needed = names(inspect.Parameter.POSITIONAL_ONLY, either, inspect.Parameter.KEYWORD_ONLY, needed=True)
    takes_request = [parameter.name for parameter in parameters] == ["request", "kwargs"] and all(
        parameter.kind is either for parameter in parameters
    )
    required = {MISSING if name in unnamed or takes_request else name for name in needed}
    return _Shape(
        positional=names(inspect.Parameter.POSITIONAL_ONLY, either),
        unnamed=unnamed,
        named=frozenset(names(either, inspect.Parameter.KEYWORD_ONLY)),
        needed=needed,
        required=frozenset(required),
        var_positional=bool(names(inspect.Parameter.VAR_POSITIONAL)),
        var_keyword=bool(names(inspect.Parameter.VAR_KEYWORD)),
        takes_request=takes_request,
    )


def _compiled(text: str) -> CodeType:
    try:
        return _compile(text)
    except (RecursionError, MemoryError):
        raise BadRequest("kwargs", "is nested too deeply", text) from None
    except UNREADABLE as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        example = 'Send {"name": "value"} or dict(name="value"), for example'
        hint = continued(f"As Python: {reason}", example)
        raise BadRequest("kwargs", "is neither JSON nor a Python expression", text, hint=hint) from None


def _compile(text: str) -> CodeType:
    return compile(ast.Expression(parse_expression(text)), "<kwargs>", "eval", dont_inherit=True)


class _Builtins(dict[str, Any]):
    """Builtins of expressions, in which a name that is nowhere else is the module of this name.

    Python looks here last, so that names that exist cost nothing.
    """

    def __missing__(self, name: str) -> Any:
        # IPython adds builtins after the import of this module.
        return {**vars(builtins), **import_modules([name])}[name]


_builtins = _Builtins(vars(builtins))


def _evaluated(code: CodeType, text: str, namespace: dict[str, Any]) -> Any:
    # A copy, because an expression can assign; not a mapping of both, because lambdas see globals only.
    names = dict(namespace)
    names["__builtins__"] = _builtins
    try:
        return eval(code, names)
    except (Exception, SystemExit) as error:
        hint = 'Put text in quotes, as in {"name": "value"}' if isinstance(error, NameError) else ""
        raise BadRequest("kwargs", f"evaluating it raised {_description(error)}", text, hint=hint) from error


def _evaluated_again(value: str, namespace: dict[str, Any]) -> Any:
    """Return `value` evaluated as an expression; `value` itself if it is none, or uses unknown names."""
    try:
        code = _compile(value)
    except UNREADABLE:
        return value
    if not all(name in namespace or hasattr(builtins, name) for name in free_names(code)):
        return value
    return _evaluated(code, value, namespace)


def _arguments(value: Any, text: str) -> Arguments:
    if value is None:
        return Arguments()
    if not isinstance(value, Mapping):
        return Arguments(value=value)
    try:
        kwargs = dict(value)
    except Exception as error:
        raise BadRequest("kwargs", f"reading the mapping raised {_description(error)}", text) from error
    for key in kwargs:
        if not isinstance(key, str):
            problem = f"keys are names of arguments, and one is of type {type(key).__name__}"
            raise BadRequest("kwargs", problem, key)
    return Arguments(kwargs)


def _description(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "a message that cannot be shown"
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:195] + ' ...'}"


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:10]) + (" ..." if len(names) > 10 else "")


def _signature(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    try:
        parameters = str(inspect.signature(function, follow_wrapped=False))
    except Exception:
        # The representation of a default value is user code.
        parameters = "(...)"
    return f"{name}{parameters}" if len(parameters) <= 200 else f"{name}{parameters[:195]} ...)"
