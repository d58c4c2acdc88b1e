"""Steps that set the value."""

from __future__ import annotations

import pytest

from owt.summat import MissingKwarg, NoValue, pipe


def test_const_gives_its_value_and_ends_the_kwargs():
    assert pipe().const([1])() == [1]
    with pytest.raises(MissingKwarg):
        pipe().const(1).kwarg("a")(a=1)


def test_constant_may_be_none_or_a_function():
    assert pipe().const(None)() is None
    assert pipe().const(len)() is len


def test_identity_changes_nothing():
    assert pipe().identity()(5) == 5
    assert pipe().identity()(a=1) == {"a": 1}
    assert pipe().kwarg("a").identity().kwarg("b")(a=1, b=2) == 2


def test_clear_gives_none_and_ends_the_kwargs():
    assert pipe().clear()(a=1) is None
    assert pipe().clear().f(lambda x: x)(a=1) is None
    with pytest.raises(MissingKwarg):
        pipe().clear().kwarg("a")(a=1)


def test_cast_converts_and_keeps_the_kwargs():
    assert pipe().kwarg("n").cast(int)(n="12") == 12
    assert pipe().kwarg("n").cast(int).kwarg("m")(n="12", m=1) == 1
    assert pipe().cast(list)(x for x in "ab") == ["a", "b"]


def test_failed_cast_keeps_its_type_and_names_the_step():
    with pytest.raises(ValueError, match="invalid literal") as caught:
        pipe().kwarg("n").cast(int)(n="x")
    assert "pipe().kwarg('n')>>>.cast(int)<<<" in caught.value.__notes__[0]


def test_cast_needs_a_value():
    with pytest.raises(NoValue, match=r"cast\(int\) needs a value"):
        pipe().cast(int)(a=1)
