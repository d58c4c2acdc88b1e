"""In which form a value travels whose JSON Schema is known: in a query, a path, a form, and as an answer.

How a kernel reads what comes is in `owt.kernel.endpoints.binding`, and what it sends in
`owt.kernel.answer.values`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from owt.wire.endpoint import REFERENCE

Json = dict[str, Any]

HTML = "text/html"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
ANY = "*/*"

_QUOTED = ("date", "date-time", "time", "partial-time", "duration", "uuid", "decimal")
"""Formats of what is a string in JSON only."""
_BARE = ("integer", "number", "boolean", "null", "array")
"""Types whose JSON is read as it stands also where text is."""


def in_url(schema: Json, schemas: Json, *, in_path: bool = False) -> Json:
    """What a parameter of a query or a path says of its schema: a field for each item of a list in a query,
    JSON for what has names or lists in it."""
    if is_json(schema, schemas, in_path=in_path):
        return {"content": {JSON: {"schema": schema}}}
    return {"schema": raw(schema, {"type": "string"})}


def is_json(schema: Json, schemas: Json, *, in_path: bool = False) -> bool:
    """Whether JSON is the only text for some of what has this schema, and one for all of it."""
    found = list(_leaves(schema, schemas))
    bracketed = [named or _has_brackets(leaf, schemas, in_path) for leaf, named in found]
    return any(bracketed) and all(
        inside or leaf.get("type") in _BARE for (leaf, _), inside in zip(found, bracketed, strict=True)
    )


def raw(schema: Json, content: Json) -> Json:
    """The schema where bytes are themselves, which `content` is the schema of, and not base64."""
    if schema.get("contentEncoding") == "base64":
        told = ("type", "contentEncoding", "minLength", "maxLength", "default")
        return {**{key: value for key, value in schema.items() if key not in told}, **content}
    found = dict(schema)
    if isinstance(several := schema.get("anyOf"), list):
        found["anyOf"] = [raw(each, content) if isinstance(each, dict) else each for each in several]
    if isinstance(items := schema.get("items"), dict):
        found["items"] = raw(items, content)
    if found != schema and found.get("default"):
        # It is in base64 too.
        del found["default"]
    return found


def of_answer(result: Json, schemas: Json, *, streams: bool) -> Json:
    """What an answer, or a stream of answers, may contain, by its type."""
    kind = _kind(result, schemas)
    if kind == "string" and result.get("format") in _QUOTED:
        kind = "quoted"
    if kind == "string":
        result = raw(result, {})
    described = {"schema": result}
    if streams:
        line = {"string": HTML, None: ANY}.get(kind, JSON_LINES)
        return {line: described, EVENTS: {"schema": {"type": "string"}}}
    match kind:
        case "null":
            return {}
        case "string" | "integer" | "number" | "boolean":
            return {HTML: described}
        case _:
            return {ANY if kind is None else JSON: described}


def _leaves(schema: Any, schemas: Json, seen: frozenset[str] = frozenset()) -> Iterator[tuple[Json, bool]]:
    """The alternatives that a schema has, and whether each is a class that is an object or a list in JSON."""
    if not isinstance(schema, dict):
        return
    if isinstance(reference := schema.get("$ref"), str):
        name = reference.removeprefix(REFERENCE)
        if name not in seen:
            for leaf, _ in _leaves(schemas.get(name), schemas, seen | {name}):
                yield leaf, leaf.get("type") in ("array", "object")
    elif isinstance(several := schema.get("anyOf"), list):
        for each in several:
            yield from _leaves(each, schemas, seen)
    else:
        yield schema, False


def _has_brackets(leaf: Json, schemas: Json, in_path: bool) -> bool:
    """Whether JSON's brackets are needed for it, beside those of a list whose items are fields of a query."""
    if leaf.get("type") != "array":
        return leaf.get("type") == "object"
    items = [leaf.get("items"), *(leaf.get("prefixItems") or ())]
    return in_path or any(
        inner.get("type") in ("array", "object") for each in items for inner, _ in _leaves(each, schemas)
    )


def _kind(schema: Json, schemas: Json) -> str | None:
    """The JSON type that a schema has, None for one with several, or with none."""
    found = [leaf.get("type") for leaf, _ in _leaves(schema, schemas)]
    return found[0] if found and isinstance(found[0], str) and found.count(found[0]) == len(found) else None
