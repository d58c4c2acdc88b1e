"""Checks of an adaptor's arguments."""

import pytest

from owt.lib import arguments


def positive(n: float) -> bool:
    return n > 0


@pytest.mark.parametrize("value", ["a", " a\n"])
def test_text_is_returned_unchanged(value):
    assert arguments.text("text", value) == value


@pytest.mark.parametrize("value", ["", " \n", None, b"a", 1])
def test_value_that_is_no_text_is_refused(value):
    with pytest.raises(ValueError, match=r"^text: a string that is not empty; got "):
        arguments.text("text", value)


@pytest.mark.parametrize(("value", "expected"), [(0.5, 0.5), (2, 2.0), ("0.5", 0.5), (" 1e-3 ", 0.001)])
def test_number_may_come_as_text(value, expected):
    assert arguments.number("n", value, "above 0", positive) == expected


@pytest.mark.parametrize("value", [0, -1.5, "-1", "many", "", None, True, [1], "nan", float("inf"), 10**400])
def test_other_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^n: a number above 0; got "):
        arguments.number("n", value, "above 0", positive)


@pytest.mark.parametrize(("value", "expected"), [(3, 3), ("3", 3)])
def test_whole_number_may_come_as_text(value, expected):
    assert arguments.whole("n", value, "above 0", positive) == expected


@pytest.mark.parametrize("value", [0, 1.0, "1.5", "", None, True, [1]])
def test_other_whole_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^n: a whole number above 0; got "):
        arguments.whole("n", value, "above 0", positive)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (False, False), ("true", True), ("False", False)]
)
def test_flag_may_come_as_text(value, expected):
    assert arguments.flag("on", value) is expected


@pytest.mark.parametrize("value", [1, 0, None, "yes", ""])
def test_value_that_is_no_flag_is_refused(value):
    with pytest.raises(ValueError, match=r"^on: true or false; got "):
        arguments.flag("on", value)


def test_choice_is_returned():
    assert arguments.choice("format", "wav", ("sse", "wav")) == "wav"


@pytest.mark.parametrize("value", ["mp3", "", None, ["wav"], 1])
def test_other_choice_is_refused_with_the_list(value):
    with pytest.raises(ValueError, match=r'^format: "sse", "wav" or "raw"; got '):
        arguments.choice("format", value, ("sse", "wav", "raw"))
