"""OpenAPI document of the endpoints.

Source: the OpenAPI Specification 3.1.0. Its schemas are JSON Schema, draft 2020-12, like those of endpoints.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Iterable
from typing import Any

import msgspec

from owt.frontend.api import media
from owt.frontend.endpoints import Entry
from owt.frontend.problems import Problem
from owt.wire.endpoint import REFERENCE, Endpoint, Parameter, parameters, shape

JsonObject = dict[str, Any]

WITH_BODY = ("POST", "PUT", "PATCH")
"""Methods whose fields are in a body; fields of other methods are in the query."""

_, _components = msgspec.json.schema_components([Problem])
_PROBLEM: JsonObject = _components["Problem"]
_FILE: JsonObject = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
PROBLEM = "OwtProblem"
"""Name of the schema of a problem document."""
_REFERENCE = re.compile(rf'"{re.escape(REFERENCE)}([^"]+)"')
_PART_NAME = r"^[^\x00-\x08\x0a-\x1f\x7f]+$"
"""Pattern of the name of a part in a form: it is in a header, which has no control characters."""

_PROBLEMS = {
    "400": "The request is malformed, such as a body that is not JSON or is cut off",
    "410": "The endpoint's kernel ended or no longer has the endpoint; the detail has the reason",
    "413": "The body is larger than the server accepts (--max-body)",
    "415": "The body has another Content-Encoding than gzip",
    "422": "The arguments do not fit the parameters; the detail names each field",
    "500": "The function raised an exception, or returned a value that cannot be sent",
    "502": "The endpoint's kernel died during the call",
    "503": "Too many calls are queued; the header Retry-After has the time to wait",
    "504": "The call exceeded its timeout",
}
_SCHEMES = {
    "password": {"type": "http", "scheme": "basic"},
    "token": {"type": "http", "scheme": "bearer"},
}


def document(
    entries: Iterable[Entry], *, url: str, version: str, users: bool, tokens: bool
) -> Generator[None, None, JsonObject]:
    """Make an OpenAPI document of the endpoints that are available, and return it.

    All endpoints of a server may take seconds, so the generator yields after each, and others can run. `url`
    is the server's, with its base URL; `users` and `tokens` are whether it accepts passwords and tokens.
    """
    names = UniqueNames()
    paths: JsonObject = {}
    shared_paths: dict[str, str] = {}
    for entry in entries:
        if entry.gone is not None:
            continue
        endpoint = entry.endpoint
        # A document must not have two paths that differ only in the names of their parameters.
        path = shared_paths.setdefault(shape(endpoint.path), endpoint.path)
        for method in endpoint.methods:
            operation = _operation(entry, method, path, names)
            # As JSON it costs the garbage collector and the encoding of the whole almost nothing.
            paths.setdefault(path, {})[method.lower()] = msgspec.Raw(msgspec.json.encode(operation))
        yield
    schemes = [name for name, accepted in (("password", users), ("token", tokens)) if accepted]
    result: JsonObject = {
        "openapi": "3.1.0",
        "info": {
            "title": "owt",
            "version": version,
            "description": "Endpoints: functions in sessions of this server, at paths of their own.",
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"schemas": {**names.schemas, PROBLEM: _PROBLEM}},
    }
    if schemes:
        result["components"]["securitySchemes"] = {scheme: _SCHEMES[scheme] for scheme in schemes}
        result["security"] = [{scheme: []} for scheme in schemes]
    return result


class UniqueNames:
    """Unique names for the schemas of all endpoints and for all operations."""

    def __init__(self) -> None:
        self.schemas: JsonObject = {}
        self._operations: set[str] = set()
        self._chosen: dict[str, dict[str, str]] = {}
        self._tried: dict[tuple[str, ...], int] = {}

    def define(self, definitions: str) -> dict[str, str]:
        """Define an endpoint's definitions, and return their names in the document by their own names."""
        if definitions not in self._chosen:
            self._chosen[definitions] = self._choose(definitions)
        return self._chosen[definitions]

    def _choose(self, definitions: str) -> dict[str, str]:
        # Thousands of classes may share a name, so each number after the first is tried once.
        names = tuple(msgspec.json.decode(definitions))
        for number in itertools.chain([1], itertools.count(self._tried.get(names, 2))):
            if number > 1:
                self._tried[names] = number + 1
            chosen = {name: name if number == 1 else f"{name}_{number}" for name in names}
            renamed = decode_schema(definitions, chosen)
            schemas = {chosen[name]: schema for name, schema in renamed.items()}
            # Equal names need equal schemas, including the schemas that they refer to.
            if all(
                self.schemas.get(name, schema) == schema and name != PROBLEM
                for name, schema in schemas.items()
            ):
                self.schemas.update(schemas)
                return chosen
        raise AssertionError("there is always one more number")

    def operation(self, method: str, name: str, path: str) -> str:
        """Return a unique id for an operation."""
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "endpoint"
        path_words = "_".join(re.findall(r"\w+", path, flags=re.ASCII))
        candidates = (plain, f"{method.lower()}_{plain}", f"{method.lower()}_{plain}_{path_words}")
        numbered = (f"{candidates[-1]}_{number}" for number in itertools.count(2))
        id = next(name for name in itertools.chain(candidates, numbered) if name not in self._operations)
        self._operations.add(id)
        return id


def _operation(entry: Entry, method: str, path: str, names: UniqueNames) -> JsonObject:
    endpoint = entry.endpoint
    chosen = names.define(endpoint.definitions)
    summary, _, rest = endpoint.description.partition("\n")
    operation: JsonObject = {"operationId": names.operation(method, endpoint.name, endpoint.path)}
    if summary:
        operation["summary"] = summary[:200]
    if rest.strip():
        operation["description"] = endpoint.description
    operation["tags"] = [entry.session]
    with_body = method in WITH_BODY
    by_name = {parameter.name: parameter for parameter in endpoint.parameters}
    described = []
    for name_in_path, name in zip(parameters(path), parameters(endpoint.path), strict=True):
        schema = _schema(by_name[name], chosen) if name in by_name else {"type": "string"}
        description = media.in_url(schema, names.schemas, in_path=True)
        described.append({"name": name_in_path, "in": "path", "required": True, **description})
    fields = [parameter for parameter in endpoint.parameters if parameter.where == "field"]
    if not with_body:
        described += [
            {
                "name": field.name,
                "in": "query",
                "required": field.required,
                **media.in_url(_as_text(_schema(field, chosen), field.required), names.schemas),
            }
            for field in fields
        ]
    if described:
        operation["parameters"] = described
    if with_body and (fields or endpoint.more):
        operation["requestBody"] = _body(endpoint, fields, chosen, names.schemas)
    operation["responses"] = _responses(endpoint, chosen, names.schemas)
    return operation


def _schema(parameter: Parameter, chosen: dict[str, str]) -> JsonObject:
    schema = decode_schema(parameter.schema, chosen)
    if parameter.default is not None:
        return {**schema, "default": msgspec.json.decode(parameter.default)}
    return schema


def _as_text(schema: JsonObject, required: bool) -> JsonObject:
    """Return the schema of a field in a query or a form, where a list without items is no field at all."""
    if required and schema.get("type") == "array":
        return {**schema, "minItems": max(1, schema.get("minItems", 0))}
    return schema


def _body(
    endpoint: Endpoint, fields: list[Parameter], chosen: dict[str, str], schemas: JsonObject
) -> JsonObject:
    schema: JsonObject = {
        "type": "object",
        "properties": {field.name: _schema(field, chosen) for field in fields},
        "additionalProperties": endpoint.more,
    }
    required = [field.name for field in fields if field.required]
    if required:
        schema["required"] = required
    properties: JsonObject = schema["properties"]
    uploaded = {
        name: media.raw(_as_text(field_schema, name in required), _FILE)
        for name, field_schema in properties.items()
    }
    form: JsonObject = {"schema": {**schema, "properties": uploaded}}
    fields_of_urls = {"schema": form["schema"]}
    if endpoint.more:
        form["schema"] = {**form["schema"], "propertyNames": {"pattern": _PART_NAME}}
    content = {media.JSON: {"schema": schema}, "multipart/form-data": form}
    if in_json := [name for name, field_schema in properties.items() if media.is_json(field_schema, schemas)]:
        form["encoding"] = {name: {"contentType": media.JSON} for name in in_json}
    else:
        # JSON in such a form works too, but generators of clients send the members of an object as fields.
        content["application/x-www-form-urlencoded"] = fields_of_urls
    content.update(_bodies(properties, required))
    for field in fields:
        if field.stream and set(required) <= {field.name}:
            content[field.stream] = {"schema": _item(properties[field.name])}
    return {"required": bool(required), "content": content}


def _item(schema: JsonObject) -> JsonObject:
    """Return the schema of one item of a list; of bytes, that of all of them."""
    items: JsonObject = schema.get("items", {})
    return {**_FILE} if items.get("contentEncoding") == "base64" else items


def _bodies(properties: JsonObject, required: list[str]) -> JsonObject:
    """Return the media types of bodies that are one field as a whole, while no other field is required."""
    takers: dict[str, list[str]] = {}
    for name, schema in properties.items():
        for media_type in media.media_types(schema):
            takers.setdefault(media_type, []).append(name)
    return {
        media_type: {"schema": {**_FILE, "contentMediaType": media_type}}
        for media_type, names in takers.items()
        if len(names) == 1 and set(required) <= set(names)
    }


def _responses(endpoint: Endpoint, chosen: dict[str, str], schemas: JsonObject) -> JsonObject:
    result = decode_schema(endpoint.result or "{}", chosen)
    content = media.response_content(result, schemas, streams=endpoint.streams, scalar=endpoint.scalar)
    description = "Items that the function yields" if endpoint.streams else "Value that the function returns"
    problem = {"schema": {"$ref": REFERENCE + PROBLEM}}
    problems = {
        status: {
            "description": text,
            "content": {"application/problem+json": problem, "text/plain": {"schema": {"type": "string"}}},
        }
        for status, text in _PROBLEMS.items()
    }
    answer: JsonObject = {"description": description}
    if content:
        answer["content"] = content
    return {"200": answer, **problems}


def decode_schema(text: str, chosen: dict[str, str]) -> JsonObject:
    """Return a schema from its JSON, with the document's names in its references."""
    renamed = _REFERENCE.sub(lambda match: f'"{REFERENCE}{chosen.get(match[1], match[1])}"', text)
    schema: JsonObject = msgspec.json.decode(renamed)
    _add_patterns(schema)
    return schema


def _add_patterns(schema: Any) -> None:
    """Add the patterns of strings that are no arbitrary text."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            schema.setdefault("pattern", media.DECIMAL)
        elif schema.get("contentEncoding") == "base64":
            schema.setdefault("pattern", media.BASE64)
        for part in schema.values():
            _add_patterns(part)
    elif isinstance(schema, list):
        for part in schema:
            _add_patterns(part)
