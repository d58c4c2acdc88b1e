"""JSON Schemas of types, as msgspec makes them (draft 2020-12), with the defaults that they allow.

Functions and classes have defaults that their types do not: `n: int = None` in a dataclass, infinity, which
JSON lacks. Who checks a document refuses it for one of these, so they are not told.
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

Json = dict[str, Any]

LONGEST_DEFAULT = 1000
"""Bytes of a default value that is shown in a description."""
FROM_TEXT = (PurePath, complex, Fraction)
"""Classes that msgspec does not know and that are made of a text."""

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


def schemas_of(asked: Sequence[Any]) -> tuple[list[Json], Json]:
    """A schema for each type, and the definitions that they refer to; anything goes for one that has
    none."""
    asked = [NoneType if each is None else each for each in asked]
    try:
        return _components(asked)
    except Exception:
        found: list[Json] = []
        definitions: Json = {}
        for number, each in enumerate(asked, 1):
            try:
                [schema], more = _components([each])
                if any(definitions.get(name, told) != told for name, told in more.items()):
                    # Two classes of one name, which msgspec tells apart only when it sees both.
                    [schema], more = _components([each], f"-{number}")
            except Exception:
                schema, more = {}, {}
            found.append(schema)
            definitions.update(more)
        return found, definitions


def default_of(value: Any, schema: Json, definitions: Json) -> str | None:
    """A default as JSON text; None for one that JSON lacks, that the schema does not allow, or a long one."""
    try:
        text = json.dumps(
            msgspec.to_builtins(value, str_keys=True, enc_hook=_refuse),
            allow_nan=False,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        fits = len(text.encode()) <= LONGEST_DEFAULT and _allows(schema, json.loads(text), definitions)
    except Exception:
        return None
    return text if fits else None


def _components(asked: Sequence[Any], suffix: str = "") -> tuple[list[Json], Json]:
    found, components = msgspec.json.schema_components(
        asked, schema_hook=_unknown, ref_template=REFERENCE + "{name}" + suffix
    )
    definitions = {name + suffix: each for name, each in components.items()}
    for each in definitions.values():
        for field in (*each.get("properties", {}).values(), *each.get("prefixItems", ())):
            if "default" in field and default_of(field["default"], field, definitions) is None:
                del field["default"]
    # A class that is not known is anything, and its name alone says nothing.
    return [{} if each.keys() == {"title"} else each for each in found], definitions


def _unknown(kind: Any) -> Json:
    if isinstance(kind, type) and issubclass(kind, FROM_TEXT):
        return {"type": "string"}
    # Anything; for a schema without a word msgspec would give up all of the type.
    return {"title": getattr(kind, "__name__", str(kind))}


def _refuse(value: Any) -> Any:
    raise TypeError(f"JSON has no {shortened(value)}")


def _allows(schema: Json, value: Any, definitions: Json) -> bool:
    """Whether a schema of msgspec's allows a value. Raises whatever it likes where it cannot tell."""
    if "$ref" in schema:
        return _allows(definitions[schema["$ref"].removeprefix(REFERENCE)], value, definitions)
    if "anyOf" in schema:
        return any(_allows_surely(each, value, definitions) for each in schema["anyOf"])
    if "enum" in schema:
        return any(type(each) is type(value) and each == value for each in schema["enum"])
    match schema.get("type"):
        case None:
            return True
        case "array":
            first = schema.get("prefixItems", [])
            rest = [schema.get("items", {})] * (len(value) - len(first))
            return (
                isinstance(value, list)
                and schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
                and all(_allows(*each, definitions) for each in zip([*first, *rest], value, strict=False))
            )
        case "object":
            named, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
            return (
                isinstance(value, dict)
                and value.keys() >= set(schema.get("required", ()))
                and all(_allows(named.get(key, rest), each, definitions) for key, each in value.items())
            )
        case kind:
            bounds = {_BOUNDS[key]: bound for key, bound in schema.items() if key in _BOUNDS}
            taken = _FORMATS.get(schema.get("format", ""), _SCALARS[kind])
            msgspec.convert(value, Annotated[taken, msgspec.Meta(**bounds)])
            return True


def _allows_surely(schema: Json, value: Any, definitions: Json) -> bool:
    try:
        return _allows(schema, value, definitions)
    except Exception:
        return False
