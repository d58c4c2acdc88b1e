"""owt.frontend.api.openapi: the OpenAPI document of the endpoints, checked by an independent validator."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_args

import msgspec
import numpy as np
import PIL.Image
import pydantic
import pytest

from owt.frontend.api import media, openapi
from owt.frontend.api.directory import in_slices
from owt.frontend.api.openapi import document
from owt.frontend.endpoints import Endpoints
from owt.kernel.endpoints.decorator import make_endpoint
from owt.wire.messages import RegisterEndpoints

BINARY = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Shape(msgspec.Struct):
    corners: list[Point]
    inner: Shape | None = None


class Options(TypedDict, total=False):
    loud: bool


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


@dataclasses.dataclass
class Odd:
    n: int = None  # type: ignore[assignment]
    far: float = math.inf


def other_point() -> type:
    return msgspec.defstruct("Point", [("lat", float), ("lon", float)], namespace={"__doc__": None})


def described(*functions: tuple[str, tuple[str, ...], Callable[..., Any]], **options: Any) -> dict[str, Any]:
    """Return the valid document of these functions, each with its path and methods."""
    # The import takes seconds, which collection would take in every process.
    from openapi_spec_validator import validate

    table = Endpoints()
    registrations = (make_endpoint(function, path, methods) for path, methods, function in functions)
    endpoints = tuple(registration.endpoint for registration in registrations)
    assert table.register("k1", "dev", RegisterEndpoints(1, endpoints)) is None
    facts = {"url": "http://h:1/base", "version": "1", "users": False, "tokens": False, **options}
    # As a client receives it.
    steps = document(table.all(), **facts)
    result = msgspec.json.decode(msgspec.json.encode(asyncio.run(in_slices(steps))))
    validate(result)
    return result


def one(function: Callable[..., Any], method: str = "GET", path: str = "/f") -> dict[str, Any]:
    operation: dict[str, Any] = described((path, (method,), function))["paths"][path][method.lower()]
    return operation


def test_a_server_without_endpoints_has_a_valid_document():
    assert described()["paths"] == {}


def test_fields_of_a_get_are_query_parameters_with_types_and_defaults():
    def f(text: str, n: int = 1, how: Literal["a", "b"] = "a", when: datetime.date | None = None): ...

    assert one(f)["parameters"] == [
        {"name": "text", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "n", "in": "query", "required": False, "schema": {"type": "integer", "default": 1}},
        {"name": "how", "in": "query", "required": False, "schema": {"enum": ["a", "b"], "default": "a"}},
        {
            "name": "when",
            "in": "query",
            "required": False,
            "schema": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
        },
    ]


def test_fields_of_a_post_are_a_body_of_json_or_a_form():
    def f(text: str, n: int = 1): ...

    body = one(f, "POST")["requestBody"]
    assert body["required"]
    schema = body["content"]["application/json"]["schema"]
    assert schema == {
        "type": "object",
        "properties": {"text": {"type": "string"}, "n": {"type": "integer", "default": 1}},
        "additionalProperties": False,
        "required": ["text"],
    }
    assert body["content"]["application/x-www-form-urlencoded"]["schema"] == schema


def test_a_file_is_bytes_in_a_form_and_base64_in_json():
    def f(data: bytes): ...

    content = one(f, "POST")["requestBody"]["content"]
    in_json = content["application/json"]["schema"]["properties"]["data"]
    in_form = content["multipart/form-data"]["schema"]["properties"]["data"]
    assert in_json == {"type": "string", "contentEncoding": "base64", "pattern": media.BASE64}
    assert in_form == BINARY


def test_parameters_in_the_path_are_described_as_such():
    def f(name: str, n: int): ...

    operation = one(f, "POST", "/greet/{name}")
    assert operation["parameters"] == [
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    assert set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {"n"}


def test_a_function_with_variable_keywords_allows_additional_properties():
    def f(**more: int): ...

    schema = one(f, "POST")["requestBody"]["content"]["application/json"]["schema"]
    assert schema["additionalProperties"] is True


STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("result", "content"),
    [
        (str, {"text/html": {"schema": STRING}, "application/json": {"schema": STRING}}),
        (int, {"application/json": {"schema": {"type": "integer"}}, "text/html": {"schema": STRING}}),
        (Point, {"application/json": {"schema": {"$ref": "#/components/schemas/Point"}}}),
        (list[int], {"application/json": {"schema": {"type": "array", "items": {"type": "integer"}}}}),
        (bytes, {"*/*": {"schema": {}}}),
        (datetime.date, {"application/json": {"schema": {"type": "string", "format": "date"}}}),
        (tuple[str, int], {"*/*": {"schema": {}}}),
        (object, {"*/*": {"schema": {}}}),
    ],
)
def test_the_response_has_the_type_of_the_return_value(result, content):
    def f(): ...

    f.__annotations__["return"] = result
    assert one(f)["responses"]["200"]["content"] == content


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (Iterator[str], "text/html"),
        (AsyncIterator[str], "text/html"),
        (Iterator[Point], "application/x-ndjson"),
        (Iterator[bytes], "*/*"),
        (Iterator, "*/*"),
    ],
)
def test_a_stream_is_lines_or_events(result, lines):
    def f(): ...

    f.__annotations__["return"] = result
    empty = {"text/html"} if lines == "application/x-ndjson" else set()
    assert set(one(f)["responses"]["200"]["content"]) == {lines, "text/event-stream"} | empty


def test_every_operation_describes_its_failures():
    def f(): ...

    statuses = {"400", "410", "413", "415", "422", "500", "502", "503", "504"}
    assert statuses | {"200"} == set(one(f)["responses"])


def test_the_docstring_is_the_summary_and_the_description():
    def f():
        """Say it.

        Out loud.
        """

    operation = one(f)
    assert operation["summary"] == "Say it."
    assert operation["description"] == "Say it.\n\nOut loud."


def test_ids_of_operations_are_unique():
    def f(): ...

    paths = described(
        ("/a", ("GET", "POST"), f),
        ("/b", ("GET",), f),
        ("/c/{x}", ("GET",), lambda x: x),
        ("/d", ("GET",), f),
    )["paths"]
    ids = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(ids) == 5 == len(set(ids))


def test_every_type_of_msgspec_makes_a_valid_document():
    def f(a: Shape, b: list[Point], c: Colour, d: Options, e: set[int] | None = None,
          g: Annotated[int, msgspec.Meta(ge=1, description="how many")] = 1,
          h: dict[str, Point] | None = None, i: datetime.datetime | None = None,
          j: tuple[int, str] = (1, "a"), k: complex = 1j, m: object = None) -> Shape: ...  # fmt: skip

    result = described(("/f", ("GET", "POST"), f))
    assert {"Shape", "Point", "Colour", "Options"} < set(result["components"]["schemas"])


def test_a_structured_field_of_a_query_is_json():
    def f(at: Point): ...

    [parameter] = one(f)["parameters"]
    assert parameter["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Point"}}}


def test_a_field_of_a_form_that_must_be_json_has_the_content_type():
    def f(at: Point | None, n: int, data: list[bytes]): ...

    form = one(f, "POST")["requestBody"]["content"]["multipart/form-data"]
    assert form["encoding"] == {"at": {"contentType": "application/json"}}
    items = form["schema"]["properties"]["data"]["items"]
    assert items == BINARY


def test_a_form_of_texts_alone_is_described_without_fields_of_json():
    def f(at: Point): ...

    assert set(one(f, "POST")["requestBody"]["content"]) == {"application/json", "multipart/form-data"}


def test_a_required_list_of_a_query_or_a_form_has_an_item():
    """A list without items is no field at all; JSON has one."""

    def f(n: list[int], m: list[int] = ()): ...

    [n, m] = one(f)["parameters"]
    assert (n["schema"]["minItems"], "minItems" in m["schema"]) == (1, False)
    content = one(f, "POST")["requestBody"]["content"]
    in_form = content["multipart/form-data"]["schema"]["properties"]
    in_json = content["application/json"]["schema"]["properties"]
    assert [field.get("minItems") for field in (in_form["n"], in_form["m"], in_json["n"])] == [1, None, None]


def test_a_decimal_has_the_pattern_of_its_texts():
    def f(n: decimal.Decimal | None = None, m: dict[str, decimal.Decimal] = {}): ...  # noqa: B006

    text = json.dumps(one(f)["parameters"])
    assert text.count('"format": "decimal"') == text.count('"pattern": ') == 2


def test_variable_keywords_in_a_form_have_names():
    def f(**more: str): ...

    content = one(f, "POST")["requestBody"]["content"]
    pattern = content["multipart/form-data"]["schema"]["propertyNames"]["pattern"]
    assert [bool(re.search(pattern, name)) for name in ("a b", "", "a\x19")] == [True, False, False]
    assert "propertyNames" not in content["application/x-www-form-urlencoded"]["schema"]


def test_a_list_in_a_path_is_json():
    def f(numbers: list[int]): ...

    [parameter] = one(f, path="/{numbers}")["parameters"]
    assert list(parameter["content"]) == ["application/json"]


def test_a_function_that_returns_none_has_no_content():
    def f() -> None: ...

    assert "content" not in one(f)["responses"]["200"]


def test_names_of_parameters_may_have_marks_of_any_script():
    def f(**more): ...

    [parameter] = one(f, path="/{नाम}")["parameters"]
    assert (parameter["name"], parameter["in"]) == ("नाम", "path")


def test_defaults_outside_of_their_types_are_left_out():
    def f(a: int = "x", b: float = math.inf, c: Literal["a"] = "b", d: Odd = None): ...

    parameters = {parameter["name"]: parameter.get("schema", {}) for parameter in one(f)["parameters"]}
    assert [name for name, schema in parameters.items() if "default" in schema] == []


def test_different_types_with_one_name_get_different_names():
    Other = other_point()

    def f(at: Point): ...

    def g(at): ...

    g.__annotations__["at"] = Other
    result = described(("/f", ("POST",), f), ("/g", ("POST",), g), ("/h", ("POST",), f))
    schemas = result["components"]["schemas"]
    assert {"Point", "Point_2"} < set(schemas)

    def body(path: str) -> dict[str, Any]:
        content: dict[str, Any] = result["paths"][path]["post"]["requestBody"]["content"]
        properties: dict[str, Any] = content["application/json"]["schema"]["properties"]
        return properties["at"]

    assert body("/f") == body("/h") == {"$ref": "#/components/schemas/Point"}
    assert body("/g") == {"$ref": "#/components/schemas/Point_2"}
    assert set(schemas["Point_2"]["properties"]) == {"lat", "lon"}


def test_many_types_with_one_name_are_renamed_in_linear_time(monkeypatch):
    decode_schema = openapi.decode_schema
    calls = []
    monkeypatch.setattr(openapi, "decode_schema", lambda *args: calls.append(0) or decode_schema(*args))
    names = openapi.UniqueNames()
    many = [json.dumps({"Args": {"title": f"{number}"}}) for number in range(100)]
    chosen = [names.define(definitions)["Args"] for definitions in (*many, *many)]
    assert chosen == ["Args", *(f"Args_{number}" for number in range(2, 101))] * 2
    # Each definition is renamed at most twice.
    assert len(calls) <= 2 * len(many)


def test_paths_that_differ_in_parameter_names_are_one_path():
    def f(a): ...

    def g(b): ...

    paths = described(("/{a}", ("GET",), f), ("/{b}", ("POST",), g))["paths"]
    assert set(paths) == {"/{a}"}
    assert set(paths["/{a}"]) == {"get", "post"}


def test_the_document_has_the_url_of_the_server():
    assert described()["servers"] == [{"url": "http://h:1/base"}]


def test_the_document_has_the_accepted_kinds_of_credentials():
    result = described(users=True, tokens=True)
    assert result["security"] == [{"password": []}, {"token": []}]
    schemes = result["components"]["securitySchemes"]
    assert {name: scheme["scheme"] for name, scheme in schemes.items()} == {
        "password": "basic", "token": "bearer",
    }  # fmt: skip
    assert "security" not in described()


@pytest.mark.parametrize(
    ("kinds", "media_types"),
    [
        ((bytes,), {"application/octet-stream"}),
        ((Path,), {"application/octet-stream"}),
        ((PIL.Image.Image, int | None), {"image/*"}),
        ((np.ndarray,), {"application/x-npy"}),
        ((PIL.Image.Image, bytes | None), {"image/*"}),
        ((PIL.Image.Image, int), set()),
        ((bytes, bytes), set()),
        ((str,), set()),
    ],
)
def test_a_body_that_is_one_field_is_described_by_its_media_type(
    kinds: tuple[Any, ...], media_types: set[str]
) -> None:
    def f(a, b=None): ...

    def g(a, b): ...

    function: Any = f if len(kinds) == 1 or get_args(kinds[1]) else g
    function.__annotations__ = dict(zip("ab", kinds, strict=False))
    content = one(function, "POST")["requestBody"]["content"]
    forms = {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"}
    assert content.keys() - forms == media_types
    for media_type in media_types:
        assert content[media_type]["schema"] == {**BINARY, "contentMediaType": media_type}


@pytest.mark.parametrize(
    ("kind", "media_type", "schema"),
    [
        (Iterator[bytes], "application/octet-stream", BINARY),
        (AsyncIterator[str], "text/plain", {"type": "string"}),
        (Iterator[Point], "application/x-ndjson", {"$ref": "#/components/schemas/Point"}),
    ],
)
def test_a_field_that_is_fed_from_the_body_is_described_by_its_item(
    kind: Any, media_type: str, schema: dict[str, Any]
) -> None:
    def f(items, loud=False): ...

    f.__annotations__ = {"items": kind, "loud": bool}
    content = one(f, "POST")["requestBody"]["content"]
    assert content[media_type]["schema"] == schema
    assert content["application/json"]["schema"]["properties"]["items"]["type"] == "array"


def test_a_file_in_a_form_keeps_its_media_type_and_may_stand_for_a_path() -> None:
    def f(image: PIL.Image.Image, path: Path): ...

    content = one(f, "POST")["requestBody"]["content"]
    in_form = content["multipart/form-data"]["schema"]["properties"]
    assert in_form["image"] == {**BINARY, "contentMediaType": "image/*"}
    path = content["application/json"]["schema"]["properties"]["path"]
    assert in_form["path"] == {"anyOf": [path, BINARY]}


def test_a_union_that_pydantic_discriminates_is_json_in_a_form() -> None:
    def f(pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]): ...

    form = one(f, "POST")["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["properties"]["pet"].keys() == {"oneOf", "discriminator"}
    assert form["encoding"] == {"pet": {"contentType": "application/json"}}
