"""owt.frontend.api.media: in which form what has a schema travels."""

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


def several(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


@pytest.mark.parametrize(
    "schema",
    [
        POINT,
        ROW,
        {"type": "object"},
        either(POINT, NONE),
        either(NUMBER, POINT),
        several(POINT),
        several(several(NUMBER)),
        several(either(POINT, NONE)),
        {"type": "array", "prefixItems": [NUMBER, POINT]},
    ],
)
def test_a_url_has_json_for_what_has_names_or_lists_in_it(schema):
    assert media.in_url(schema, SCHEMAS) == {"content": {"application/json": {"schema": schema}}}


@pytest.mark.parametrize(
    "schema",
    [{}, TEXT, COLOUR, several(TEXT), several(COLOUR), either(several(NUMBER), NONE), either(TEXT, POINT),
     {"$ref": "#/components/schemas/Loop"}, {"$ref": "#/components/schemas/None"}],
)  # fmt: skip
def test_and_text_or_fields_for_all_else(schema):
    assert media.in_url(schema, SCHEMAS) == {"schema": schema}


def test_a_path_has_json_for_any_list():
    assert "content" in media.in_url(several(NUMBER), SCHEMAS, in_path=True)
    assert "content" in media.in_url(either(several(NUMBER), NONE), SCHEMAS, in_path=True)
    assert media.in_url(NUMBER, SCHEMAS, in_path=True) == {"schema": NUMBER}


def test_bytes_are_themselves_wherever_they_stand():
    file = {"contentMediaType": "application/octet-stream"}
    assert media.raw({**BYTES, "maxLength": 4, "default": "YQ=="}, file) == file
    with_none = {**either(BYTES, NONE), "default": None}
    assert media.raw(with_none, file) == {**either(file, NONE), "default": None}
    assert media.raw({**several(BYTES), "default": ["YQ=="]}, file) == several(file)
    assert media.raw(several(NUMBER), file) == several(NUMBER)


@pytest.mark.parametrize(
    ("result", "whole", "line"),
    [
        (TEXT, "text/html", "text/html"),
        (BYTES, "text/html", "text/html"),
        (NUMBER, "text/html", "application/x-ndjson"),
        ({"type": "string", "format": "uuid"}, "application/json", "application/x-ndjson"),
        (POINT, "application/json", "application/x-ndjson"),
        (either(TEXT, NONE), "*/*", "*/*"),
        (COLOUR, "*/*", "*/*"),
        ({}, "*/*", "*/*"),
    ],
)
def test_an_answer_has_the_type_that_values_of_its_schema_are_sent_with(result, whole, line):
    assert list(media.of_answer(result, SCHEMAS, streams=False)) == [whole]
    assert list(media.of_answer(result, SCHEMAS, streams=True)) == [line, "text/event-stream"]


def test_bytes_are_not_base64_in_an_answer():
    assert media.of_answer(BYTES, SCHEMAS, streams=False) == {"text/html": {"schema": {}}}


def test_none_is_an_answer_without_content():
    assert media.of_answer(NONE, SCHEMAS, streams=False) == {}
