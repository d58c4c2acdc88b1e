"""Adaptors that come with owt, by name: the modules of `owt.lib` that have a `run`."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import Any

from owt.errors import BadRequest


def find(name: str, fn_name: str) -> Callable[..., Any]:
    """The function `fn_name` of `owt.lib.NAME`. Raises `BadRequest` when there is none, naming those
    that there are, and whatever importing the module raises."""
    package = importlib.import_module("owt.lib")
    if name not in {module.name for module in pkgutil.iter_modules(package.__path__)}:
        there = f"There are: {_known(package)}"
        raise BadRequest("adaptor", "owt comes with no such adaptor", name, hint=there)
    function = getattr(importlib.import_module(f"owt.lib.{name}"), fn_name, None)
    if not callable(function):
        raise BadRequest("fn_name", f"the adaptor {name} has no such function", fn_name)
    return function  # type: ignore[no-any-return]


def _known(package: Any) -> str:
    """The modules that define `run`, by reading them: importing all would load every library."""
    known = []
    for module in pkgutil.iter_modules(package.__path__):
        spec = importlib.util.find_spec(f"owt.lib.{module.name}")
        if spec is not None and spec.origin is not None:
            with open(spec.origin, encoding="utf-8") as file:
                if any(line.startswith("def run(") for line in file):
                    known.append(module.name)
    return ", ".join(sorted(known)) or "none"
