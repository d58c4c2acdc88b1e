"""`.importing(...)`: modules whose names the later steps' functions can use.

A function looks its global names up in the namespace of the module that it was written in. So,
when a later step is about to call a function, each imported name that this function's code loads
as a global, and that its namespace does not have, is put there. Without it the function could
only raise `NameError`; a name that is there already keeps its meaning; a function that does not
load the name, which is every function of a library, finds its module untouched. Putting a name
there again, from another thread or another run, changes nothing.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib import import_module
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from owt.summat.flow import Flow
from owt.summat.step import MethodStep, Step

_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}


@dataclass(frozen=True, slots=True, repr=False)
class Importing(MethodStep):
    """Import modules; as with `import a.b`, the name that becomes usable is `a`."""

    modules: tuple[str, ...] = field(metadata={"star": "*"})

    def run(self, flow: Flow) -> Flow:
        names = dict(flow.names)
        for module in self.modules:
            import_module(module)
            top = module.partition(".")[0]
            names[top] = import_module(top)
        return replace(flow, names=names)


def lend(function: Callable[..., Any], names: Mapping[str, ModuleType]) -> None:
    """Make `names` usable in `function`; also in one that is wrapped, bound, partial or a pipe."""
    if not names:
        return
    for each in _plain_functions(function):
        for name in _globals_of(each.__code__) & names.keys():
            each.__globals__.setdefault(name, names[name])


def _plain_functions(value: object) -> list[FunctionType]:
    found: list[FunctionType] = []
    match value:
        case FunctionType():
            found.append(value)
            found += _plain_functions(getattr(value, "__wrapped__", None))
        case MethodType():
            found += _plain_functions(value.__func__)
        case functools.partial():
            found += _plain_functions(value.func)
        case Step() if is_dataclass(value):
            for part in fields(value):
                found += _plain_functions(getattr(value, part.name))
        case tuple():
            for item in value:
                found += _plain_functions(item)
        case type() | None:
            pass
        case _:
            found += _plain_functions(vars(type(value)).get("__call__"))
    return found


@functools.lru_cache(maxsize=1024)
def _globals_of(code: CodeType) -> frozenset[str]:
    names = {each.argval for each in dis.get_instructions(code) if each.opname in _LOADS}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _globals_of(constant)
    return frozenset(names)
