"""owt.kernel.answer.json_encoding: values to JSON documents."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import json
import os
import pathlib
import subprocess
import sys
import threading
import types
import uuid
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pytest

from owt.kernel.answer.json_encoding import encode, is_document, type_name


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    a: int
    b: int


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int = 1


class Struct(msgspec.Struct):
    x: int = 1


class Whole(int):
    pass


class Moment(datetime.datetime):
    pass


class Span(datetime.timedelta):
    pass


class Tensor:
    """Stand-in for PyTorch's tensor: readable only when detached and on the CPU."""

    def __init__(self, values: list[float], steps: tuple[str, ...] = ()) -> None:
        self._values = values
        self._steps = steps

    def __array__(self) -> Any:
        raise TypeError("can't convert a cuda tensor to numpy")

    def detach(self) -> Tensor:
        return Tensor(self._values, (*self._steps, "detach"))

    def cpu(self) -> Tensor:
        return Tensor(self._values, (*self._steps, "cpu"))

    def tolist(self) -> list[float]:
        assert self._steps == ("detach", "cpu")
        return self._values


UTC = datetime.UTC
IDENTIFIER = uuid.UUID(int=1)


@pytest.mark.parametrize(
    ("value", "document"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, '{"a":[1,2.5,null,true,"ü"]}'),
        ((1, (2, 3)), "[1,[2,3]]"),
        ({7}, "[7]"),
        (frozenset({7}), "[7]"),
        (Pair(1, 2), "[1,2]"),
        (range(3), "[0,1,2]"),
        ({"a": 1}.keys(), '["a"]'),
        ({"a": 1}.values(), "[1]"),
        ({"a": 1}.items(), '[["a",1]]'),
        (collections.deque([1, 2]), "[1,2]"),
        (collections.OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (collections.defaultdict(int, a=1), '{"a":1}'),
        (collections.Counter("aab"), '{"a":2,"b":1}'),
        (collections.ChainMap({"a": 1}), '{"a":1}'),
        (types.MappingProxyType({"a": 1}), '{"a":1}'),
        (collections.UserDict(a=1), '{"a":1}'),
        (array.array("i", [1, 2]), "[1,2]"),
        (Point(1, Point(2)), '{"x":1,"y":{"x":2,"y":null}}'),
        (Struct(), '{"x":1}'),
        (Color.RED, '"red"'),
        ([Color.PAIR, Level.HIGH], "[[1,2],3]"),
        (Whole(7), "7"),
        (2**70, "1180591620717411303424"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), '"2026-01-02T03:04:05"'),
        (datetime.datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00Z"'),
        (Moment(2026, 1, 2), '"2026-01-02T00:00:00"'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (datetime.time(3, 4), '"03:04:00"'),
        (datetime.timedelta(days=1, seconds=3), '"P1DT3S"'),
        (Span(days=1, seconds=3), '"P1DT3S"'),
        (IDENTIFIER, '"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (pathlib.Path("/a/b"), '"/a/b"'),
        (pathlib.PurePosixPath("a"), '"a"'),
        ([float("nan"), float("inf"), float("-inf")], "[null,null,null]"),
        (b"ab", '"YWI="'),
        (np.array([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
        (np.array(5), "5"),
        (np.array([0.5, np.nan]), "[0.5,null]"),
        (np.array([True, False]), "[true,false]"),
        (np.array(["a", "b"]), '["a","b"]'),
        (np.array([], dtype=float), "[]"),
        (np.ma.masked_array([1, 2], mask=[False, True]), "[1,null]"),
        (np.array(["2026-01-02"], "M8[D]"), '["2026-01-02"]'),
        (np.array(["2026-01-02T03:04:05.5"], "M8[ns]"), '["2026-01-02T03:04:05.500000"]'),
        (np.array(["NaT"], "M8[ns]"), "[null]"),
        (np.array([1_500_000_000], "m8[ns]"), '["PT1.5S"]'),
        (
            [np.float64(0.5), np.float32(0.5), np.int8(3), np.bool_(True), np.str_("s")],
            '[0.5,0.5,3,true,"s"]',
        ),
        ([np.float64("nan")], "[null]"),
        ([np.longdouble(0.5)], "[0.5]"),
        ([np.datetime64("2026-01-02T03:04:05.5", "ns")], '["2026-01-02T03:04:05.500000"]'),
        ([np.datetime64("NaT", "s")], "[null]"),
        (Tensor([0.5, 1.5]), "[0.5,1.5]"),
        ([pd.Timestamp("2026-01-02T03:04:05")], '["2026-01-02T03:04:05"]'),
        ([pd.Timestamp("2026-01-02", tz="UTC")], '["2026-01-02T00:00:00+00:00"]'),
        ([pd.NaT, pd.NA], "[null,null]"),
        ([pd.Timedelta(seconds=1.5)], '["P0DT0H0M1.5S"]'),
        ([pd.Period("2026-01", "M"), pd.Interval(0, 1)], '["2026-01","(0, 1]"]'),
        (pd.Index([1, 2]), "[1,2]"),
        (
            {"table": pd.DataFrame({"a": [1, 2], "b": ["x", None]})},
            '{"table":[{"a":1,"b":"x"},{"a":2,"b":null}]}',
        ),
        ([pd.Series([1, 2])], "[[1,2]]"),
    ],
)
def test_encode_returns_json_of_each_type(value: Any, document: str) -> None:
    assert encode(value).decode() == document
    json.loads(document)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        (np.int64(3), "3"),
        (np.float64(1.5), "1.5"),
        (np.str_("s"), "s"),
        (np.bool_(False), "false"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (Color.RED, "red"),
        (Level.HIGH, "3"),
        (IDENTIFIER, "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
        (pathlib.PurePosixPath("/a"), "/a"),
        (decimal.Decimal("1.5"), "1.5"),
    ],
)
def test_encode_converts_keys_to_strings(key: Any, name: str) -> None:
    assert json.loads(encode({"in": [{key: 1}]})) == {"in": [{name: 1}]}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ((1, 2), "tuple"),
        (frozenset({1}), "frozenset"),
        (Frozen(), f"{__name__}.Frozen"),
        (Color.PAIR, "tuple"),
    ],
)
def test_a_key_that_json_cannot_have_is_an_error_that_names_its_type(key: Any, name: str) -> None:
    with pytest.raises(TypeError, match="cannot have a key") as failure:
        encode({"in": {key: 1}})
    assert f"a key of type {name}; make it a str" in str(failure.value)


@pytest.mark.parametrize("value", [object(), iter([]), print, int, np.array([print])])
def test_a_value_that_json_cannot_hold_is_an_error_that_names_its_type(value: Any) -> None:
    inner = print if isinstance(value, np.ndarray) else value
    with pytest.raises(TypeError) as failure:
        encode({"in": [value]})
    assert f"hold a value of type {type_name(inner)};" in str(failure.value)


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _cycles() -> list[Any]:
    itself: list[Any] = []
    itself.append(itself)
    named: dict[str, Any] = {}
    named["me"] = [named]
    point = Point(1)
    point.y = point
    turning: collections.deque[Any] = collections.deque()
    turning.append(turning)
    objects = np.empty(1, dtype=object)
    objects[0] = point
    return [itself, named, point, turning, [objects]]


@pytest.mark.parametrize("value", [*_cycles(), _nested(1_000_000)], ids=lambda value: type(value).__name__)
def test_a_cycle_or_too_deep_a_nesting_is_a_clear_error(value: Any) -> None:
    with pytest.raises(ValueError, match="nested too deeply for JSON, or contains itself"):
        encode(value)


def test_moderately_nested_values_are_encoded() -> None:
    assert encode(_nested(300)) == b"[" * 301 + b"]" * 301


def test_a_cycle_does_not_crash_a_process_whose_recursion_limit_was_raised() -> None:
    program = """
import collections, sys, threading
from owt.kernel.answer.json_encoding import encode
sys.setrecursionlimit(10**7)
itself = []; itself.append(itself)
turning = collections.deque(); turning.append(turning)
def attempt():
    for value in (itself, turning):
        try:
            encode({"in": value})
        except ValueError as error:
            print(error, sys.getrecursionlimit())
attempt()
thread = threading.Thread(target=attempt); thread.start(); thread.join()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    line = "the answer, of type dict, is nested too deeply for JSON, or contains itself 10000000\n"
    assert ran.stdout == line * 4


def test_a_lone_surrogate_is_an_encoding_error() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        encode(["\ud800"])


ROWS = pd.DataFrame({"a": [1, 2, 4], "b": ["x", "y", "x"]})


@pytest.mark.parametrize(
    ("table", "records"),
    [
        (ROWS.groupby("b").sum(), '[{"b":"x","a":5},{"b":"y","a":2}]'),
        (ROWS.groupby(["b", "a"]).size().to_frame("n").tail(1), '[{"b":"y","a":2,"n":1}]'),
        (ROWS[["a"]].agg(["min", "max"]), '[{"index":"min","a":1},{"index":"max","a":4}]'),
        (ROWS.set_index("a", drop=False).head(1), '[{"a":1,"b":"x"}]'),
        (ROWS[ROWS.a > 2], '[{"a":4,"b":"x"}]'),
        (ROWS.head(0), "[]"),
        (pd.DataFrame({"a": []}, index=[]), "[]"),
        (ROWS.loc[1], '{"a":2,"b":"y"}'),
        (ROWS.b.value_counts(), '{"x":2,"y":1}'),
        (ROWS.a, "[1,2,4]"),
        (pd.Series([1, 2], index=["a", "a"]), '[{"index":"a","value":1},{"index":"a","value":2}]'),
        (ROWS.groupby(["b", "a"]).a.sum().tail(1), '[{"b":"y","a":2,"value":2}]'),
        (ROWS.groupby("a").a.sum(), '{"1":1,"2":2,"4":4}'),
        (ROWS.groupby("b").agg({"a": ["min"]}).tail(1), '[{"b":"y","a.min":2}]'),
    ],
    ids=[
        *("group", "groups", "sums", "drop", "filter", "no rows", "empty", "row", "counts", "column"),
        *("twice", "levels", "numbers", "columns"),
    ],
)
def test_labels_of_rows_are_in_the_document_unless_they_only_count(table: object, records: str) -> None:
    assert encode(table) == records.encode()


def test_records_of_two_columns_with_one_name_are_an_error() -> None:
    table = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ValueError, match="more than one column 'a'"):
        encode([table])


def test_records_keep_floats_exactly() -> None:
    table = pd.DataFrame({"a": [0.1 + 0.2, 1e-20]})
    assert json.loads(encode([table])) == [[{"a": 0.1 + 0.2}, {"a": 1e-20}]]


@pytest.mark.parametrize(
    "value",
    [
        *({}, [], (), set(), range(1), {}.keys(), {}.values(), {}.items(), collections.deque()),
        *(Point(1), Struct(), Color.RED, datetime.date.today(), datetime.timedelta(), IDENTIFIER),
        *(decimal.Decimal(1), pathlib.Path("a"), np.array(1), Tensor([]), types.MappingProxyType({})),
    ],
    ids=type_name,
)
def test_is_document_is_true_for_json_values(value: Any) -> None:
    assert is_document(value)


@pytest.mark.parametrize(
    "value", [object(), iter([]), Point, Struct, np.ndarray, threading.Lock(), os], ids=type_name
)
def test_is_document_is_false_for_other_objects_and_classes(value: Any) -> None:
    assert not is_document(value)


def test_a_type_is_named_with_its_module_unless_it_is_builtin() -> None:
    assert type_name(1) == "int"
    assert type_name(pathlib.PurePosixPath()).endswith(".PurePosixPath")


@pytest.mark.parametrize("odd", [object(), print])
def test_a_table_that_json_cannot_hold_names_the_column(odd: object) -> None:
    table = pd.DataFrame({"fine": [1], "odd one": [odd]})
    problem = f"column 'odd one': JSON cannot hold a value of type {type(odd).__name__};"
    for value in (table, {"x": [table]}):
        with pytest.raises(TypeError, match=problem):
            encode(value)
