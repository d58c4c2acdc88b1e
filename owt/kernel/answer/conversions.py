"""Conversions that users register for types of their own: `owt.register(type, function)`."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

functions: dict[type, Callable[[Any], object]] = {}
"""Registered functions by their types. Empty in most kernels, which are spared any look-up then."""


def register(kind: type[T], function: Callable[[T], object]) -> None:
    """Answer values of a type, and of the types that inherit from it, with what `function(value)` returns.

    That may be anything that an adaptor can return. It holds for values in lists and dicts too, which become
    JSON. The last function that was registered for a type counts, and the nearest type.
    """
    if not all((isinstance(kind, type), callable(function))):
        raise TypeError(f"register(type, function) takes a class and a function; got {kind!r}, {function!r}")
    functions[kind] = function


def converted(value: Any) -> Any:
    """Return what the registered functions make of `value`, or of the values in it, in a copy. Without any
    such value, `value` itself."""
    return _converted(value, frozenset()) if functions else value


def _converted(value: Any, before: frozenset[type]) -> Any:
    kind = type(value)
    for base in kind.__mro__:
        if base in functions and base not in before:
            # The result may be of the same type.
            return _converted(functions[base](value), before | {base})
    if kind in (list, tuple, set, frozenset):
        items = [_converted(item, before) for item in value]
        if all(map(operator.is_, items, value)):
            return value
        return tuple(items) if kind is tuple else items
    if kind is dict:
        fields = value
    elif dataclasses.is_dataclass(kind):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        return value
    new = {key: _converted(item, before) for key, item in fields.items()}
    return value if all(new[key] is item for key, item in fields.items()) else new
