"""owt.frontend.api.media: descriptions of values from their JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest

from owt.frontend.api import media

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
BYTES = {"type": "string", "contentEncoding": "base64"}
NONE = {"type": "null"}
POINT = {"$ref": "#/components/schemas/Point"}
ROW = {"$ref": "#/components/schemas/Row"}
COLOUR = {"$ref": "#/components/schemas/Colour"}
SCHEMAS = {
    "Point": {"type": "object", "properties": {"x": NUMBER}},
    "Row": {"type": "array", "prefixItems": [NUMBER]},
    "Colour": {"enum": ["red"]},
    "Loop": {"$ref": "#/components/schemas/Loop"},
}


def either(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(schemas)}


def list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


@pytest.mark.parametrize(
    "schema",
    [
        POINT,
        ROW,
        {"type": "object"},
        either(POINT, NONE),
        either(NUMBER, POINT),
        list_of(POINT),
        list_of(list_of(NUMBER)),
        list_of(either(POINT, NONE)),
        {"type": "array", "prefixItems": [NUMBER, POINT]},
    ],
)
def test_objects_and_nested_lists_are_json_in_a_query(schema):
    assert media.in_url(schema, SCHEMAS) == {"content": {"application/json": {"schema": schema}}}


@pytest.mark.parametrize(
    "schema",
    [{}, TEXT, COLOUR, list_of(TEXT), list_of(COLOUR), either(list_of(NUMBER), NONE), either(TEXT, POINT),
     {"$ref": "#/components/schemas/Loop"}, {"$ref": "#/components/schemas/None"}],
)  # fmt: skip
def test_other_values_are_text_or_repeated_fields_in_a_query(schema):
    assert media.in_url(schema, SCHEMAS) == {"schema": schema}


def test_every_list_is_json_in_a_path():
    assert "content" in media.in_url(list_of(NUMBER), SCHEMAS, in_path=True)
    assert "content" in media.in_url(either(list_of(NUMBER), NONE), SCHEMAS, in_path=True)
    assert media.in_url(NUMBER, SCHEMAS, in_path=True) == {"schema": NUMBER}


def test_base64_strings_are_replaced_at_any_depth():
    file = {"contentMediaType": "application/octet-stream"}
    assert media.raw({**BYTES, "maxLength": 4, "default": "YQ=="}, file) == file
    with_none = {**either(BYTES, NONE), "default": None}
    assert media.raw(with_none, file) == {**either(file, NONE), "default": None}
    assert media.raw({**list_of(BYTES), "default": ["YQ=="]}, file) == list_of(file)
    assert media.raw(list_of(NUMBER), file) == list_of(NUMBER)


@pytest.mark.parametrize(
    ("result", "whole", "line"),
    [
        (TEXT, "text/html", "text/html"),
        (BYTES, "*/*", "*/*"),
        (NUMBER, "application/json", "application/x-ndjson"),
        ({"type": "string", "format": "uuid"}, "application/json", "application/x-ndjson"),
        (POINT, "application/json", "application/x-ndjson"),
        (either(TEXT, NONE), "*/*", "*/*"),
        (COLOUR, "*/*", "*/*"),
        ({}, "*/*", "*/*"),
    ],
)
def test_a_response_has_the_media_type_of_its_schemas_values(result, whole, line):
    assert list(media.response_content(result, SCHEMAS, streams=False)) == [whole]
    empty = ["text/html"] if line == "application/x-ndjson" else []
    assert list(media.response_content(result, SCHEMAS, streams=True)) == [line, "text/event-stream", *empty]


def test_a_declared_scalar_is_described_in_both_forms_with_its_own_one_first():
    text = media.response_content(either(TEXT, NONE), SCHEMAS, streams=False, scalar="text")
    number = media.response_content(NUMBER, SCHEMAS, streams=False, scalar="json")
    described = {"schema": either(TEXT, NONE)}
    assert list(text.items()) == [("text/html", described), ("application/json", described)]
    as_text = {"schema": {"type": "string"}}
    assert list(number.items()) == [("application/json", {"schema": NUMBER}), ("text/html", as_text)]


def test_bytes_in_a_response_are_not_base64():
    assert media.response_content(BYTES, SCHEMAS, streams=False) == {"*/*": {"schema": {}}}


def test_none_is_a_response_without_content():
    assert media.response_content(NONE, SCHEMAS, streams=False) == {}
