"""`.importing(...)`: modules whose names the functions of later steps can use.

A function looks up global names in the namespace of the module that defines it. Before a later step
calls a function, each imported name that the function's code loads as a global is therefore set in
that namespace, unless the namespace has it. Without it the function could only raise `NameError`.
An existing name keeps its meaning, and functions that do not load the name, such as those of
libraries, leave their modules unchanged. Setting a name again, in another thread or run, changes
nothing.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from owt.summat.flow import Flow
from owt.summat.step import Step

_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}


def importing(step: Step, flow: Flow, /, *modules: str) -> Flow:
    """Import, and make the names usable in the functions of later steps; as with `import a.b`, the name is
    `a`."""
    names = dict(flow.names)
    for module in modules:
        import_module(module)
        top = module.partition(".")[0]
        names[top] = import_module(top)
    return replace(flow, names=names)


def lend(function: Callable[..., Any], names: Mapping[str, ModuleType]) -> None:
    """Make `names` usable in `function`, also if it is wrapped, bound, partial or a pipe."""
    if not names:
        return
    for plain in _plain_functions(function):
        for name in _globals_of(plain.__code__) & names.keys():
            plain.__globals__.setdefault(name, names[name])


def _plain_functions(value: object) -> list[FunctionType]:
    functions: list[FunctionType] = []
    if isinstance(value, FunctionType):
        functions.append(value)
        functions += _plain_functions(getattr(value, "__wrapped__", None))
    elif isinstance(value, MethodType):
        functions += _plain_functions(value.__func__)
    elif isinstance(value, functools.partial):
        functions += _plain_functions(value.func)
    elif isinstance(value, Step) and is_dataclass(value):
        for part in fields(value):
            functions += _plain_functions(getattr(value, part.name))
    elif isinstance(value, tuple):
        for item in value:
            functions += _plain_functions(item)
    elif value is not None and not isinstance(value, type):
        functions += _plain_functions(vars(type(value)).get("__call__"))
    return functions


@functools.lru_cache(maxsize=1024)
def _globals_of(code: CodeType) -> frozenset[str]:
    names = {item.argval for item in dis.get_instructions(code) if item.opname in _LOADS}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _globals_of(constant)
    return frozenset(names)
