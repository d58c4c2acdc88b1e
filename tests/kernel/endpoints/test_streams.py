"""owt.kernel.endpoints.streams: parameters that are fed from a body as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from owt.errors import EndpointError, Unprocessable
from owt.kernel.body import WholeBody
from owt.kernel.code.arguments import Arguments
from owt.kernel.endpoints.binding import bind
from owt.kernel.endpoints.decorator import Decorator, RegisteredFunction
from owt.kernel.endpoints.signature import describe, read_signature


class Point(msgspec.Struct):
    x: int


LINES = b'{"x": 1}\r\n\n{"x": 2}'


def function(kind: Any, default: bool = False) -> Any:
    def required(items, loud: bool = False): ...

    def optional(items=None, loud: bool = False): ...

    chosen = optional if default else required
    chosen.__annotations__ = {"items": kind, "loud": bool}
    return chosen


def bound(kind: Any, body: bytes, content_type: str = "", *, default: bool = False, query: str = "") -> Any:
    """Return the value of the parameter `items` for a request with this body."""
    environ = EnvironBuilder("/", method="POST", data=body, content_type=content_type).get_environ()
    environ["wsgi.input"], environ["wsgi.input_terminated"] = WholeBody(body), True
    environ["QUERY_STRING"] = query
    signature = read_signature(function(kind, default), "/", [])
    _, named = bind(signature, {}, Request(environ), Arguments({}), "POST /")
    return named.get("items")


def all_of(items: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [item async for item in items]

    return asyncio.run(collect()) if hasattr(items, "__aiter__") else list(items)


@pytest.mark.parametrize("of", [Iterator, AsyncIterator])
@pytest.mark.parametrize(
    ("item", "body", "content_type", "items"),
    [
        (bytes, b"a\nb", "audio/raw", [b"a\nb"]),
        (bytes, b"", "", []),
        (str, "é\r\n\nb".encode(), "text/plain", ["é", "", "b"]),
        (str, b"b\n", "application/octet-stream", ["b"]),
        (int, b"1\n2\n", "application/x-ndjson", [1, 2]),
        (Point, LINES, "", [Point(1), Point(2)]),
        (Any, b'[1]\n"a"', "", [[1], "a"]),
        (int, b'{"items": [1, 2]}', "application/json", [1, 2]),
        (int, b"[1, 2]", "application/json", [1, 2]),
        (int, b"items=1&items=2", "application/x-www-form-urlencoded", [1, 2]),
    ],
)
def test_a_body_is_the_items_of_a_parameter(of, item, body, content_type, items):
    value = bound(of[item], body, content_type)
    assert hasattr(value, "__anext__") is (of is AsyncIterator)
    assert all_of(value) == items


def test_lines_of_several_parts_are_joined():
    class Parts:
        def __init__(self) -> None:
            self.parts = iter([b"o", b"ne\ntw", b"o\n", b"three"])

        def __aiter__(self) -> Parts:
            return self

        async def __anext__(self) -> bytes:
            for part in self.parts:
                return part
            raise StopAsyncIteration

    from owt.kernel.endpoints.streams import items_of_body, stream_type

    kind = stream_type(AsyncIterator[str])
    assert kind is not None
    assert all_of(items_of_body(kind, Parts(), str, "x")) == ["one", "two", "three"]


@pytest.mark.parametrize("of", [Iterator, AsyncIterator])
@pytest.mark.parametrize(
    ("item", "body", "problem"),
    [
        (int, b"1\n\nx\n", "items: line 3: JSON is malformed"),
        (Point, b'{"x": "a"}', "items: line 1: Expected `int`"),
        (str, b"a\n\xff", "items: line 2: 'utf-8' codec"),
    ],
)
def test_a_line_that_is_no_item_is_refused(of, item, body, problem):
    with pytest.raises(Unprocessable, match=problem):
        all_of(bound(of[item], body))


def test_a_default_counts_without_a_body():
    assert bound(Iterator[int], b"", default=True) is None
    assert list(bound(Iterator[int], b"1", default=True)) == [1]


def test_two_parameters_cannot_be_fed_from_the_body():
    def f(a: Iterator[bytes], b: Iterator[str]): ...

    with pytest.raises(EndpointError, match="'a' and 'b', which are both fed from the body"):
        read_signature(f, "/f", [])


@pytest.mark.parametrize(
    ("kind", "media_type", "items"),
    [
        (Iterator, "application/octet-stream", {"type": "string", "contentEncoding": "base64"}),
        (AsyncIterator[bytes], "application/octet-stream", {"type": "string", "contentEncoding": "base64"}),
        (Iterator[str], "text/plain", {"type": "string"}),
        (Iterator[int], "application/x-ndjson", {"type": "integer"}),
    ],
)
def test_the_description_has_the_media_type_and_a_list_of_items(kind, media_type, items):
    chosen = function(kind)
    endpoint = describe(chosen, read_signature(chosen, "/", []), "/", ("POST",))
    [parameter, _] = endpoint.parameters
    schema = json.loads(parameter.schema)
    assert (parameter.stream, parameter.required, schema["type"]) == (media_type, True, "array")
    assert items.items() <= schema["items"].items()
    assert endpoint.bodies == ()


@pytest.mark.parametrize(
    ("kind", "methods", "expected"),
    [
        (Iterator[bytes], {}, ("GET", "POST", "PUT")),
        (Iterator[bytes], {"methods": ["POST"]}, ("POST",)),
        (int, {}, ("GET", "POST")),
    ],
)
def test_an_endpoint_that_is_fed_from_the_body_answers_put(kind, methods, expected):
    registered: list[RegisteredFunction] = []
    Decorator(registered.append)("/upload", **methods)(function(kind))
    assert registered[0].endpoint.methods == expected
