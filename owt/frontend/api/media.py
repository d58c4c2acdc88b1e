"""OpenAPI descriptions of values in a query, a path, a form and a response, from their JSON Schema.

`owt.kernel.endpoints.binding` parses such values in a kernel, and `owt.kernel.answer.values` makes responses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from owt.wire.endpoint import REFERENCE

JsonSchema = dict[str, Any]

HTML = "text/html"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
ANY = "*/*"
DECIMAL = r"^[+-]?[0-9]+(\.[0-9]+)?$"
"""Pattern of decimals, a format that JSON Schema does not define."""
BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
"""Pattern of base64 (RFC 4648, section 4), which tools do not check by its name."""

_QUOTED = ("date", "date-time", "time", "partial-time", "duration", "uuid", "decimal")
"""Formats of values that are strings only in JSON."""
_BARE = ("integer", "number", "boolean", "null", "array")
"""Types whose JSON is also accepted where text is."""


def in_url(schema: JsonSchema, schemas: JsonSchema, *, in_path: bool = False) -> JsonSchema:
    """Return the description of a parameter in a query or a path.

    Objects and nested lists are JSON; a list in a query is one field per item.
    """
    if is_json(schema, schemas, in_path=in_path):
        return {"content": {JSON: {"schema": schema}}}
    return {"schema": raw(schema, {"type": "string"})}


def is_json(schema: JsonSchema, schemas: JsonSchema, *, in_path: bool = False) -> bool:
    """Return whether some values of this schema have no other text than JSON, and all values can be JSON."""
    leaves = list(_leaves(schema, schemas))
    bracketed = [named or _has_brackets(leaf, schemas, in_path) for leaf, named in leaves]
    return any(bracketed) and all(
        inside or leaf.get("type") in _BARE for (leaf, _), inside in zip(leaves, bracketed, strict=True)
    )


def raw(schema: JsonSchema, content: JsonSchema) -> JsonSchema:
    """Return the schema with `content` in place of each base64 string: bytes are sent unencoded.

    A file is sent in place of a path, and the media type of a file stays.
    """
    if schema.get("contentEncoding") == "base64":
        replaced = ("type", "contentEncoding", "pattern", "minLength", "maxLength", "default")
        return {**content, **{key: value for key, value in schema.items() if key not in replaced}}
    if schema.get("format") == "path" and "contentMediaType" in content:
        return {"anyOf": [schema, content]}
    result = dict(schema)
    if isinstance(options := schema.get("anyOf"), list):
        result["anyOf"] = [raw(option, content) if isinstance(option, dict) else option for option in options]
    if isinstance(items := schema.get("items"), dict):
        result["items"] = raw(items, content)
    if result != schema and result.get("default"):
        # The default is base64 too.
        del result["default"]
    return result


def media_types(schema: JsonSchema) -> Iterator[str]:
    """Yield the media types of the files that values of a schema can be sent as."""
    for option in schema.get("anyOf", [schema]):
        if option.get("contentEncoding") == "base64":
            yield option.get("contentMediaType", "application/octet-stream")
        elif option.get("format") == "path":
            yield "application/octet-stream"


def response_content(
    result: JsonSchema, schemas: JsonSchema, *, streams: bool, scalar: str | None = None
) -> JsonSchema:
    """Return the media types of a response, or of a stream of items, with their schemas.

    `scalar` is the endpoint's. Its type comes first, as generated clients use the first one.
    """
    kind = _kind(result, schemas)
    if kind == "string" and result.get("format") in _QUOTED:
        kind = "quoted"
    if kind == "string" and raw(result, {}) != result:
        # The first bytes show their type.
        kind, result = None, raw(result, {})
    described = {"schema": result}
    if streams:
        line = {"string": HTML, None: ANY}.get(kind, JSON_LINES)
        content = {line: described, EVENTS: {"schema": {"type": "string"}}}
        # A stream without items is an empty text.
        return content if line != JSON_LINES else {**content, HTML: {"schema": {"const": ""}}}
    if scalar == "json":
        return {JSON: described, HTML: {"schema": {"type": "string"}}}
    if scalar == "text":
        return {HTML: described, JSON: described}
    match kind:
        case "null":
            return {}
        case "string":
            return {HTML: described}
        case _:
            return {ANY if kind is None else JSON: described}


def _leaves(
    schema: Any, schemas: JsonSchema, seen: frozenset[str] = frozenset()
) -> Iterator[tuple[JsonSchema, bool]]:
    """Yield the alternatives of a schema, each with whether it is a named object or list."""
    if not isinstance(schema, dict):
        return
    if isinstance(reference := schema.get("$ref"), str):
        name = reference.removeprefix(REFERENCE)
        if name not in seen:
            for leaf, _ in _leaves(schemas.get(name), schemas, seen | {name}):
                yield leaf, leaf.get("type") in ("array", "object")
    elif isinstance(options := schema.get("anyOf", schema.get("oneOf")), list):
        for option in options:
            yield from _leaves(option, schemas, seen)
    else:
        yield schema, False


def _has_brackets(leaf: JsonSchema, schemas: JsonSchema, in_path: bool) -> bool:
    """Return whether a value needs JSON's brackets. A list whose items are fields of a query needs none."""
    if leaf.get("type") != "array":
        return leaf.get("type") == "object"
    items = [leaf.get("items"), *(leaf.get("prefixItems") or ())]
    return in_path or any(
        inner.get("type") in ("array", "object") for item in items for inner, _ in _leaves(item, schemas)
    )


def _kind(schema: JsonSchema, schemas: JsonSchema) -> str | None:
    """Return the one JSON type of a schema, or None if it has several or none."""
    types = [leaf.get("type") for leaf, _ in _leaves(schema, schemas)]
    return types[0] if types and isinstance(types[0], str) and types.count(types[0]) == len(types) else None
