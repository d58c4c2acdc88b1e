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

from owt.kernel.code.syntax import bound_name


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
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Global):
            bound.update(node.names)
        elif (name := bound_name(node)) is not None:
            bound.add(name)
    return read - bound
