"""The endpoints as an OpenAPI document.

Source: the OpenAPI Specification 3.1.0. Its schemas are JSON Schema, draft 2020-12, as endpoints bring
them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from owt.frontend.api import media
from owt.frontend.endpoints import Entry
from owt.wire.endpoint import REFERENCE, Endpoint, Parameter, parameters, shape

Json = dict[str, Any]

WITH_BODY = ("POST", "PUT", "PATCH")
"""Methods whose fields come in a body; those of the others are in the query."""

_PROBLEM: Json = {
    "type": "object",
    "description": "A problem document (RFC 9457)",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "exception": {"type": "string"},
        "traceback": {"type": "string"},
        "run": {"type": ["string", "null"]},
        "session": {"type": ["string", "null"]},
    },
}
_FILE: Json = {"contentMediaType": "application/octet-stream"}
PROBLEM = "OwtProblem"
"""The name of that schema."""
_ENDS = {
    "410": "The session's kernel is gone, or has the endpoint no more; the detail says why",
    "422": "The arguments do not fit; the detail names each field that does not",
    "503": "Too many calls wait; the header Retry-After says when to try again",
}
_SCHEMES = {
    "password": {"type": "http", "scheme": "basic"},
    "token": {"type": "http", "scheme": "bearer"},
}


def document(entries: Iterable[Entry], *, url: str, version: str, users: bool, tokens: bool) -> Json:
    """An OpenAPI document of the endpoints that answer.

    `url` is the server's, with its base URL; `users` and `tokens` are whether it lets in who has a
    password or a token.
    """
    names = Names()
    paths: Json = {}
    places: dict[str, str] = {}
    for entry in entries:
        if entry.gone is not None:
            continue
        endpoint = entry.endpoint
        # A document must not have two paths that differ in their parameters' names only.
        path = places.setdefault(shape(endpoint.path), endpoint.path)
        for method in endpoint.methods:
            paths.setdefault(path, {})[method.lower()] = _operation(entry, method, path, names)
    ways = [name for name, there in (("password", users), ("token", tokens)) if there]
    found: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "owt",
            "version": version,
            "description": "The functions that sessions of this server answer with at paths of their own.",
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"schemas": {**names.schemas, PROBLEM: _PROBLEM}},
    }
    if ways:
        found["components"]["securitySchemes"] = {way: _SCHEMES[way] for way in ways}
        found["security"] = [{way: []} for way in ways]
    return found


class Names:
    """Names for the schemas of all endpoints, and for all operations: each means one thing."""

    def __init__(self) -> None:
        self.schemas: Json = {}
        self._operations: set[str] = set()
        self._chosen: dict[str, dict[str, str]] = {}
        self._tried: dict[tuple[str, ...], int] = {}

    def of(self, definitions: str) -> dict[str, str]:
        """What the names of an endpoint's own definitions are here, where these are then defined."""
        if definitions not in self._chosen:
            self._chosen[definitions] = self._choose(msgspec.json.decode(definitions))
        return self._chosen[definitions]

    def _choose(self, definitions: Json) -> dict[str, str]:
        # Thousands of classes may have one name, so no number but the first is tried twice.
        names = tuple(definitions)
        for number in itertools.chain([1], itertools.count(self._tried.get(names, 2))):
            if number > 1:
                self._tried[names] = number + 1
            chosen = {name: name if number == 1 else f"{name}_{number}" for name in definitions}
            schemas = {chosen[name]: _renamed(each, chosen) for name, each in definitions.items()}
            # One meaning: what a name refers to counts as well.
            if all(
                self.schemas.get(name, each) == each and name != PROBLEM for name, each in schemas.items()
            ):
                self.schemas.update(schemas)
                return chosen
        raise AssertionError("there is always one more number")

    def operation(self, method: str, name: str, path: str) -> str:
        """An operation's id."""
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "endpoint"
        along = "_".join(re.findall(r"\w+", path, flags=re.ASCII))
        tried = (plain, f"{method.lower()}_{plain}", f"{method.lower()}_{plain}_{along}")
        numbered = (f"{tried[-1]}_{number}" for number in itertools.count(2))
        found = next(each for each in itertools.chain(tried, numbered) if each not in self._operations)
        self._operations.add(found)
        return found


def _operation(entry: Entry, method: str, path: str, names: Names) -> Json:
    endpoint = entry.endpoint
    chosen = names.of(endpoint.definitions)
    summary, _, rest = endpoint.description.partition("\n")
    operation: Json = {"operationId": names.operation(method, endpoint.name, endpoint.path)}
    if summary:
        operation["summary"] = summary[:200]
    if rest.strip():
        operation["description"] = endpoint.description
    operation["tags"] = [entry.session]
    with_body = method in WITH_BODY
    by_name = {each.name: each for each in endpoint.parameters}
    found = []
    for shown, name in zip(parameters(path), parameters(endpoint.path), strict=True):
        schema = _schema(by_name[name], chosen) if name in by_name else {"type": "string"}
        told = media.in_url(schema, names.schemas, in_path=True)
        found.append({"name": shown, "in": "path", "required": True, **told})
    fields = [each for each in endpoint.parameters if each.where == "field"]
    if not with_body:
        found += [
            {
                "name": each.name,
                "in": "query",
                "required": each.required,
                **media.in_url(_schema(each, chosen), names.schemas),
            }
            for each in fields
        ]
    if found:
        operation["parameters"] = found
    if with_body and (fields or endpoint.more):
        operation["requestBody"] = _body(endpoint, fields, chosen, names.schemas)
    operation["responses"] = _responses(endpoint, chosen, names.schemas)
    return operation


def _schema(parameter: Parameter, chosen: dict[str, str]) -> Json:
    schema: Json = _renamed(msgspec.json.decode(parameter.schema), chosen)
    if parameter.default is not None:
        return {**schema, "default": msgspec.json.decode(parameter.default)}
    return schema


def _body(endpoint: Endpoint, fields: list[Parameter], chosen: dict[str, str], schemas: Json) -> Json:
    schema: Json = {
        "type": "object",
        "properties": {each.name: _schema(each, chosen) for each in fields},
        "additionalProperties": endpoint.more,
    }
    required = [each.name for each in fields if each.required]
    if required:
        schema["required"] = required
    properties: Json = schema["properties"]
    uploaded = {name: media.raw(each, _FILE) for name, each in properties.items()}
    form: Json = {"schema": {**schema, "properties": uploaded}}
    if in_json := [name for name, each in properties.items() if media.is_json(each, schemas)]:
        form["encoding"] = {name: {"contentType": media.JSON} for name in in_json}
    content = {
        media.JSON: {"schema": schema},
        "application/x-www-form-urlencoded": form,
        "multipart/form-data": form,
    }
    return {"required": bool(required), "content": content}


def _responses(endpoint: Endpoint, chosen: dict[str, str], schemas: Json) -> Json:
    result: Json = {} if endpoint.result is None else _renamed(msgspec.json.decode(endpoint.result), chosen)
    content = media.of_answer(result, schemas, streams=endpoint.streams)
    what_comes = "What the function yields, as it comes" if endpoint.streams else "What the function returns"
    problem = {"schema": {"$ref": REFERENCE + PROBLEM}}
    ends = {
        status: {
            "description": text,
            "content": {"application/problem+json": problem, "text/plain": {"schema": {"type": "string"}}},
        }
        for status, text in _ENDS.items()
    }
    answer: Json = {"description": what_comes}
    if content:
        answer["content"] = content
    return {"200": answer, **ends}


def _renamed(schema: Any, chosen: dict[str, str]) -> Any:
    """The schema with its references to definitions under the names that these have here."""
    if isinstance(schema, list):
        return [_renamed(each, chosen) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _renamed(value, chosen) for key, value in schema.items()}
    reference = found.get("$ref")
    if isinstance(reference, str) and reference.startswith(REFERENCE):
        name = reference.removeprefix(REFERENCE)
        found["$ref"] = REFERENCE + chosen.get(name, name)
    discriminator = found.get("discriminator")
    if isinstance(discriminator, dict) and isinstance(mapping := discriminator.get("mapping"), dict):
        found["discriminator"] = {
            **discriminator,
            "mapping": {
                key: REFERENCE + chosen.get(each.removeprefix(REFERENCE), each.removeprefix(REFERENCE))
                for key, each in mapping.items()
                if isinstance(each, str)
            },
        }
    return found
