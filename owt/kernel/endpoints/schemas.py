"""JSON Schemas of types, as msgspec makes them (draft 2020-12), with the defaults that they allow.

Functions and classes may have defaults that their types do not allow: `n: int = None` in a dataclass, or
infinity, which JSON lacks. A validator of documents refuses these, so they are left out.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Sequence
from fractions import Fraction
from pathlib import PurePath
from types import NoneType
from typing import Annotated, Any

import msgspec

from owt.errors import shortened
from owt.wire.endpoint import REFERENCE

Schema = dict[str, Any]

MAX_DEFAULT = 1000
"""Maximum number of bytes of a default value in a description."""
FROM_TEXT = (PurePath, complex, Fraction)
"""Classes that msgspec does not know and that are constructed from text."""

_SCALARS: dict[str, Any] = {
    "string": str, "integer": int, "number": float, "boolean": bool, "null": NoneType,
}  # fmt: skip
_FORMATS: dict[str, Any] = {
    "date": datetime.date,
    "date-time": datetime.datetime,
    "time": datetime.time,
    "partial-time": datetime.time,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
    "decimal": decimal.Decimal,
}
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
        schemas: list[Schema] = []
        definitions: Schema = {}
        for number, kind in enumerate(types, 1):
            try:
                [schema], more = _components([kind])
                if any(definitions.get(name, definition) != definition for name, definition in more.items()):
                    # Two classes of one name, which msgspec distinguishes only when it sees both.
                    [schema], more = _components([kind], f"-{number}")
            except Exception:
                schema, more = {}, {}
            schemas.append(schema)
            definitions.update(more)
        return schemas, definitions


def default_json(value: Any, schema: Schema, definitions: Schema) -> str | None:
    """Return a default as JSON text; None if JSON lacks it, the schema does not allow it, or it is too
    long."""
    try:
        text = json.dumps(
            msgspec.to_builtins(value, str_keys=True, enc_hook=_refuse),
            allow_nan=False,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        fits = len(text.encode()) <= MAX_DEFAULT and _allows(schema, json.loads(text), definitions)
    except Exception:
        return None
    return text if fits else None


def _components(types: Sequence[Any], suffix: str = "") -> tuple[list[Schema], Schema]:
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_unknown, ref_template=REFERENCE + "{name}" + suffix
    )
    definitions = {name + suffix: definition for name, definition in components.items()}
    for definition in definitions.values():
        for field in (*definition.get("properties", {}).values(), *definition.get("prefixItems", ())):
            if "default" in field and default_json(field["default"], field, definitions) is None:
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


def _allows(schema: Schema, value: Any, definitions: Schema) -> bool:
    """Return True if a schema of msgspec allows a value. May raise any exception if it cannot decide."""
    if "$ref" in schema:
        return _allows(definitions[schema["$ref"].removeprefix(REFERENCE)], value, definitions)
    if "anyOf" in schema:
        return any(_allows_surely(option, value, definitions) for option in schema["anyOf"])
    if "enum" in schema:
        return any(type(choice) is type(value) and choice == value for choice in schema["enum"])
    match schema.get("type"):
        case None:
            return True
        case "array":
            first = schema.get("prefixItems", [])
            rest = [schema.get("items", {})] * (len(value) - len(first))
            pairs = zip([*first, *rest], value, strict=False)
            return (
                isinstance(value, list)
                and schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
                and all(_allows(item_schema, item, definitions) for item_schema, item in pairs)
            )
        case "object":
            named, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
            return (
                isinstance(value, dict)
                and value.keys() >= set(schema.get("required", ()))
                and all(_allows(named.get(key, rest), item, definitions) for key, item in value.items())
            )
        case kind:
            bounds = {_BOUNDS[key]: bound for key, bound in schema.items() if key in _BOUNDS}
            scalar = _FORMATS.get(schema.get("format", ""), _SCALARS[kind])
            msgspec.convert(value, Annotated[scalar, msgspec.Meta(**bounds)])
            return True


def _allows_surely(schema: Schema, value: Any, definitions: Schema) -> bool:
    try:
        return _allows(schema, value, definitions)
    except Exception:
        return False
