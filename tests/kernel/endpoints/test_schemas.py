"""owt.kernel.endpoints.schemas: JSON Schemas of types, and the defaults that they allow."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from owt.kernel.endpoints.schemas import default_json, schemas_of
from owt.wire.endpoint import REFERENCE

POSITIVE = Annotated[int, msgspec.Meta(ge=1)]


class Mine:
    """Class that msgspec does not know."""


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


def described_default(kind: Any, value: Any) -> Any:
    """Return the described default of a parameter of this type, `...` if it is omitted."""
    text = default_json(value, kind)
    return ... if text is None else json.loads(text)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 1, 1),
        (float, 1, 1),
        (int | None, None, None),
        (list[int], (1, 2), [1, 2]),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (Literal["a", "b"], "a", "a"),
        (bytes, b"ab", "YWI="),
        (datetime.date, datetime.date(2026, 1, 2), "2026-01-02"),
        (Point, Point(1), {"x": 1, "y": 0}),
        (dict[str, Point], {"a": Point(1)}, {"a": {"x": 1, "y": 0}}),
        (Any, {"a": [1]}, {"a": [1]}),
    ],
)
def test_default_json_returns_a_default_as_json(kind, value, expected):
    assert described_default(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, None),
        (int, True),
        (bool, 1),
        (float, math.inf),
        (Any, math.nan),
        (list[float], [math.inf]),
        (list[int], [1, "a"]),
        (Literal["a"], "b"),
        (POSITIVE, 0),
        (Annotated[str, msgspec.Meta(pattern="^a")], "b"),
        (datetime.date, "someday"),
        (Point, {"y": 1}),
        (dict[str, int], {"a": "b"}),
        (tuple[int, str], (1,)),
        (Any, Mine),
        (Any, "x" * 2000),
    ],
)
def test_default_json_omits_defaults_that_the_type_or_json_does_not_allow(kind, value):
    assert described_default(kind, value) is ...


def test_schemas_of_classes_omit_defaults_that_their_types_do_not_allow():
    @dataclasses.dataclass
    class Options:
        a: int = None  # type: ignore[assignment]
        b: float = math.inf
        c: POSITIVE = 0
        d: int = 4
        default: str = "x"

    _, definitions = schemas_of([Options])
    fields = definitions["Options"]["properties"]
    assert {name: field.get("default", ...) for name, field in fields.items()} == {
        "a": ..., "b": ..., "c": ..., "d": 4, "default": "x",
    }  # fmt: skip


def test_an_unknown_class_is_anything_inside_of_a_described_type():
    @dataclasses.dataclass
    class Job:
        what: Mine
        where: Path
        times: int = 1

    schemas, definitions = schemas_of([Mine, Job])
    assert schemas == [{}, {"$ref": f"{REFERENCE}Job"}]
    assert definitions["Job"]["properties"]["what"] == {"title": "Mine"}
    assert definitions["Job"]["properties"]["times"] == {"type": "integer", "default": 1}


def test_a_type_without_a_schema_does_not_affect_the_others():
    assert schemas_of([msgspec.msgpack.Ext, int, None])[0] == [{}, {"type": "integer"}, {"type": "null"}]


def test_classes_of_one_name_have_two_definitions():
    def named(name: str, field: str) -> Callable[..., Any]:
        return msgspec.defstruct(name, [(field, int)], namespace={"__doc__": None})

    schemas, definitions = schemas_of([named("点", "x"), named("线", "y")])
    names = [schema["$ref"].removeprefix(REFERENCE) for schema in schemas]
    assert [list(definitions[name]["properties"]) for name in names] == [["x"], ["y"]]
