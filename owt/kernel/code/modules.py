"""Modules by names that are not defined: `f(sota.hard_task)` works without an import of `sota`.

Names are found by reading the code before it runs, so that nothing runs twice.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from types import ModuleType


def import_modules(names: Iterable[str]) -> dict[str, ModuleType]:
    """Return the top-level modules of these names, imported, without those that do not exist.

    Raises whatever the import of a module raises.
    """
    return {name: importlib.import_module(name) for name in names if _exists(name)}


def _exists(name: str) -> bool:
    # `_` and `__file__` are names of the interpreter, and IPython adds builtins.
    if name.startswith("_") or hasattr(builtins, name):
        return False
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def unbound_names(tree: ast.Module) -> set[str]:
    """Return the names that a module reads and never binds, in any scope; builtins among them."""
    read: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=alias):
                bound.add(alias or name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)) | ast.MatchMapping(rest=str(name)):
                bound.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.add(name)
            case ast.Global(names=names):
                bound.update(names)
    return read - bound
