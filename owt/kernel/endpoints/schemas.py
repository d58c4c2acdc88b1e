"""JSON Schemas of types, as msgspec and pydantic make them (draft 2020-12), with defaults that they allow.

Functions and classes may have defaults that their types do not allow: `n: int = None` in a dataclass, or
infinity, which JSON lacks. A validator of documents refuses these, so they are left out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from owt.errors import shortened
from owt.kernel.endpoints.conversions import convert, pydantic_schema, schema_of
from owt.wire.endpoint import REFERENCE

Schema = dict[str, Any]
NoneType = type(None)

MAX_DEFAULT = 1000
"""Maximum number of bytes of a default value in a description."""

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


def schemas_of(types: Sequence[Any], sent: Sequence[Any] = ()) -> tuple[list[Schema], Schema]:
    """Return a schema for each type, and the definitions that they refer to.

    `sent` are types of values that are sent, the others are received: pydantic distinguishes them. The schema
    of a type without one allows anything.
    """
    modes = ["validation"] * len(types) + ["serialization"] * len(sent)
    types = [NoneType if kind is None else kind for kind in (*types, *sent)]
    of_pydantic = [_of_pydantic(kind, mode) for kind, mode in zip(types, modes)]
    types = [kind if own is None else Any for kind, own in zip(types, of_pydantic)]
    try:
        schemas, definitions = _components(types)
    except Exception:
        schemas, definitions = _components([kind if _has_schema(kind) else Any for kind in types])
    for name, definition in list(definitions.items()):
        definitions[name] = _hoisted(definition, definitions)
    return [
        _hoisted(schema if own is None else own, definitions)
        for schema, own in zip(schemas, of_pydantic)
    ], definitions


def _of_pydantic(kind: Any, mode: str) -> Schema | None:
    try:
        return pydantic_schema(kind, mode)
    except Exception:
        return {}


def _hoisted(schema: Any, definitions: Schema) -> Any:
    """Return a schema whose own definitions are among `definitions`, under names that are free there."""
    if isinstance(schema, list):
        return [_hoisted(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = schema.get("$defs")
    if isinstance(inner, dict):
        schema = {key: part for key, part in schema.items() if key != "$defs"}
        names = {name: _free_name(name, inner[name], definitions) for name in inner}
        text = json.dumps([schema, inner])
        for name, chosen in names.items():
            if name != chosen:
                text = text.replace(json.dumps(REFERENCE + name), json.dumps(REFERENCE + chosen))
        schema, inner = json.loads(text)
        for name, chosen in names.items():
            definitions[chosen] = inner[name]
    return {key: _hoisted(part, definitions) for key, part in schema.items()}


def _free_name(name: str, definition: Any, definitions: Schema) -> str:
    candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(name for name in candidates if definitions.get(name, definition) == definition)


def default_json(value: Any, kind: Any) -> str | None:
    """Return a default as JSON text; None if JSON lacks it, its type does not allow it, or it is too long."""
    try:
        builtins = msgspec.to_builtins(value, str_keys=True, enc_hook=_refuse)
        text = json.dumps(builtins, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
        msgspec.json.decode(text, type=kind, dec_hook=convert)
    except Exception:
        return None
    return text if len(text.encode()) <= MAX_DEFAULT else None


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
    if (schema := schema_of(kind)) is not None:
        return schema
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
