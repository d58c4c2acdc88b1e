"""JSON Schemas of types, as msgspec makes them (draft 2020-12), with the defaults that they allow.

Functions and classes may have defaults that their types do not allow: `n: int = None` in a dataclass, or
infinity, which JSON lacks. A validator of documents refuses these, so they are left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import PurePath
from types import NoneType
from typing import Annotated, Any, Literal

import msgspec

from owt.errors import shortened
from owt.wire.endpoint import REFERENCE

Schema = dict[str, Any]

MAX_DEFAULT = 1000
"""Maximum number of bytes of a default value in a description."""
FROM_TEXT = (PurePath, complex, Fraction)
"""Classes that msgspec does not know and that are constructed from text."""

_TYPES: dict[str, Any] = {
    "string": str, "integer": int, "number": float, "boolean": bool, "null": NoneType,
    "array": list, "object": dict,
}  # fmt: skip
_BOUNDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "pattern": "pattern",
    "minLength": "min_length",
    "maxLength": "max_length",
}


def schemas_of(types: Sequence[Any]) -> tuple[list[Schema], Schema]:
    """Return a schema for each type, and the definitions that they refer to.

    The schema of a type without one allows anything.
    """
    types = [NoneType if kind is None else kind for kind in types]
    try:
        return _components(types)
    except Exception:
        return _components([kind if _has_schema(kind) else Any for kind in types])


def default_json(value: Any, kind: Any) -> str | None:
    """Return a default as JSON text; None if JSON lacks it, its type does not allow it, or it is too long."""
    try:
        builtins = msgspec.to_builtins(value, str_keys=True, enc_hook=_refuse)
        text = json.dumps(builtins, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
        msgspec.json.decode(text, type=kind, dec_hook=constructed)
    except Exception:
        return None
    return text if len(text.encode()) <= MAX_DEFAULT else None


def constructed(kind: Any, value: Any) -> Any:
    """Return the value of a type that msgspec does not know, made from text if that is possible."""
    if isinstance(kind, type) and issubclass(kind, FROM_TEXT) and isinstance(value, (str, int, float)):
        constructor: Any = kind
        return constructor(value)
    return value


def _has_schema(kind: Any) -> bool:
    try:
        _components([kind])
    except Exception:
        return False
    return True


def _components(types: Sequence[Any]) -> tuple[list[Schema], Schema]:
    schemas, definitions = msgspec.json.schema_components(
        types, schema_hook=_unknown, ref_template=REFERENCE + "{name}"
    )
    for definition in definitions.values():
        for field in (*definition.get("properties", {}).values(), *definition.get("prefixItems", ())):
            if "default" in field and not _allows(field, field["default"]):
                del field["default"]
    # An unknown class is anything; its name alone is of no use.
    return [{} if schema.keys() == {"title"} else schema for schema in schemas], definitions


def _unknown(kind: Any) -> Schema:
    if isinstance(kind, type) and issubclass(kind, FROM_TEXT):
        return {"type": "string"}
    # This allows anything. For an empty schema msgspec would discard the whole type.
    return {"title": getattr(kind, "__name__", str(kind))}


def _refuse(value: Any) -> Any:
    raise TypeError(f"JSON has no {shortened(value)}")


def _allows(field: Schema, value: Any) -> bool:
    """Return False for a class's default that JSON or its field's schema does not allow. The members of a
    list or an object are not compared with the schema."""
    for schema in field.get("anyOf", [field]):
        kind: Any = _TYPES.get(schema.get("type", ""), Any)
        if "enum" in schema:
            kind = Literal[tuple(schema["enum"])]
        bounds = {_BOUNDS[key]: bound for key, bound in schema.items() if key in _BOUNDS}
        if default_json(value, Annotated[kind, msgspec.Meta(**bounds)] if bounds else kind) is not None:
            return True
    return False
