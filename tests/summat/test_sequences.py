"""Steps that work on sequences."""

from __future__ import annotations

import asyncio
import operator
from collections import deque

import numpy as np
import pytest

from owt.summat import NoItem, NoValue, WrongValue, pipe


async def ticks(n):
    for i in range(n):
        yield i


async def collected(items):
    return [item async for item in items]


@pytest.mark.parametrize("items", [[1, 2], (1, 2), range(1, 3), deque([1, 2]), {1, 2}, np.array([1, 2])])
def test_map_and_filter_give_a_list(items):
    assert pipe().map(lambda x: x * 2)(items) == [2, 4]
    assert pipe().filter(lambda x: x > 1)(items) == [2]


def test_text_is_the_sequence_of_its_characters():
    assert pipe().map(str.upper)("ab") == ["A", "B"]
    assert pipe().last()("ab") == "b"


def test_mapping_keeps_its_keys():
    prices = {"a": 1, "b": 2}
    assert pipe().map(lambda x: x * 2)(prices) == {"a": 2, "b": 4}
    assert pipe().filter(lambda x: x > 1)(prices) == {"b": 2}
    assert pipe().foldl(operator.add, 10)(prices) == 13
    assert pipe().ix(0)(prices) == 1
    assert pipe().last()(prices) == 2


def test_empty_input_gives_an_empty_list():
    assert pipe().map(str)([]) == []
    assert pipe().filter(bool)({}) == {}
    assert pipe().foldl(operator.add, 3)([]) == 3


def test_iterator_stays_lazy():
    items_made = []

    def numbers():
        for i in range(10):
            items_made.append(i)
            yield i

    items = pipe().stream(numbers).filter(lambda x: x % 2).map(lambda x: x * 10)()
    assert items_made == []
    assert next(items) == 10
    assert items_made == [0, 1]


def test_closing_a_lazy_stream_closes_its_source():
    ended = []

    def numbers():
        try:
            yield from range(10)
        finally:
            ended.append(True)

    items = pipe().stream(numbers).map(str).filter(bool)()
    next(items)
    items.close()
    assert ended == [True]


def test_async_iterator_stays_lazy_and_async():
    async def double(x):
        return x * 2

    items = pipe().stream(ticks).filter(lambda x: x > 1).map(double)(5)
    assert asyncio.run(collected(items)) == [4, 6, 8]


def test_async_function_makes_a_plain_stream_async():
    async def double(x):
        return x * 2

    assert asyncio.run(collected(pipe().stream(range).map(double)(3))) == [0, 2, 4]


def test_closing_an_async_stream_closes_its_source():
    ended = []

    async def numbers():
        try:
            for i in range(10):
                yield i
        finally:
            ended.append(True)

    async def leave():
        items = pipe().stream(numbers).map(str)()
        await anext(items)
        await items.aclose()

    asyncio.run(leave())
    assert ended == [True]


def test_awaitable_in_a_plain_stream_is_an_error_with_a_hint():
    async def double(x):
        return x * 2

    items = pipe().stream(range).map(lambda x: double(x))(3)
    with pytest.raises(WrongValue, match="async def"):
        next(items)


def test_async_function_on_a_list_gives_a_list():
    async def odd(x):
        return x % 2

    assert asyncio.run(pipe().map(odd)([1, 2])) == [1, 0]
    assert asyncio.run(pipe().filter(odd)({"a": 1, "b": 2})) == {"a": 1}


def test_folding_goes_from_the_left():
    assert pipe().foldl(lambda acc, x: f"({acc}{x})", "0")([1, 2]) == "((01)2)"
    assert pipe().foldl1(lambda acc, x: f"({acc}{x})")("abc") == "((ab)c)"


def test_folding_reads_a_stream_to_its_end():
    assert pipe().stream(range).foldl(operator.add, 0)(5) == 10
    assert asyncio.run(pipe().stream(ticks).foldl1(operator.add)(5)) == 10
    assert asyncio.run(pipe().stream(ticks).foldl(operator.add, 5)(0)) == 5


def test_foldl1_of_empty_input_is_an_error():
    with pytest.raises(NoItem, match=r"foldl1\(<function add>\) needs at least one item; \[\] has none"):
        pipe().foldl1(operator.add)([])


def test_foldl1_of_one_item_is_the_item():
    assert pipe().foldl1(operator.add)([7]) == 7


def test_ix_counts_from_either_end():
    assert pipe().ix(1)([1, 2, 3]) == 2
    assert pipe().ix(-1)((1, 2, 3)) == 3
    assert pipe().ix(1)(np.array([1, 5])) == 5


@pytest.mark.parametrize("index", [2, -3])
def test_ix_out_of_range_is_an_error(index):
    with pytest.raises(NoItem, match=rf"ix\({index}\): the list has 2 items: \[1, 2\]"):
        pipe().ix(index)([1, 2])


def test_last_of_empty_input_is_an_error():
    with pytest.raises(NoItem, match=r"last\(\): the list has 0 items"):
        pipe().last()([])


def test_get_returns_a_default_for_a_missing_key():
    assert pipe().get("a")({"a": 1}) == 1
    assert pipe().get("b")({"a": 1}) is None
    assert pipe().get("b", 5)({"a": 1}) == 5
    assert pipe().get("a", 5)({"a": None}) is None
    assert pipe().get(1, "-")(["x"]) == "-"
    assert pipe().get(-1, "-")(["x"]) == "x"


def test_key_that_is_no_index_is_an_error_on_a_sequence():
    with pytest.raises(WrongValue, match=r"get\('a'\) of a sequence needs an index, not str; it got list"):
        pipe().get("a")([1])


@pytest.mark.parametrize(
    "step",
    [
        pipe().map(str),
        pipe().filter(bool),
        pipe().foldl(operator.add, 0),
        pipe().foldl1(operator.add),
        pipe().ix(0),
        pipe().get("a"),
        pipe().last(),
    ],
)
@pytest.mark.parametrize("wrong", [5, None, 1.5, object()])
def test_wrong_kind_of_value_names_the_step_and_the_value(step, wrong):
    name = repr(step).removeprefix("pipe().")
    with pytest.raises(WrongValue) as caught:
        pipe().const(wrong).to(step)()
    assert str(caught.value).startswith(f"{name} needs a sequence")
    assert f"it got {type(wrong).__name__}: " in str(caught.value)
    assert f">>>.{name}<<<" in caught.value.__notes__[0]


def test_kwargs_alone_are_no_sequence():
    with pytest.raises(NoValue, match="there is no value yet"):
        pipe().map(str)(a=1)


def test_iterator_has_no_index():
    with pytest.raises(WrongValue, match=r"cast\(list\)"):
        pipe().stream(range).last()(3)


def test_kwargs_stay():
    items = pipe().kwarg("x").map(str).filter(bool).foldl1(operator.add).name("y")
    assert items(x=[1, 2]) == {"x": [1, 2], "y": "12"}
