"""owt.errors: the tree of exceptions and their messages."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt import errors
from owt.errors import (
    BadRequest,
    Busy,
    MethodNotAllowed,
    MissingExtra,
    NoSuchFunction,
    NoSuchSession,
    OwtError,
    RemoteError,
    SyntaxFault,
    Unprocessable,
    shortened,
)

DEFINED = {
    name: cls
    for name, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, BaseException) and cls.__module__ == errors.__name__
}


def tree_of_docstring() -> dict[str, tuple[str, int | None]]:
    """Return the name of each exception in the docstring's tree, with its base's name and its status."""
    tree: dict[str, tuple[str, int | None]] = {}
    ancestors: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    (?P<lines>[│├└─ ]*)(?P<name>[A-Z]\w+)\b", line):
            depth = len(match["lines"]) // 4
            ancestors[depth] = match["name"]
            if depth:
                status = re.search(r"\((\d{3})\)$", line)
                tree[match["name"]] = (ancestors[depth - 1], int(status[1]) if status else None)
    return tree


def test_the_docstrings_tree_has_every_exception_below_its_base() -> None:
    tree = tree_of_docstring()
    assert {name: base for name, (base, _) in tree.items()} == {
        name: cls.__bases__[0].__name__ for name, cls in DEFINED.items() if cls is not OwtError
    }


def test_the_docstrings_tree_has_the_status_of_each_exception() -> None:
    for name, (_, status) in tree_of_docstring().items():
        if status is not None:
            assert DEFINED[name].status == status, name


def test_every_exception_is_an_owt_error_with_a_title_and_a_status() -> None:
    for cls in DEFINED.values():
        assert issubclass(cls, OwtError)
        assert cls.title
        assert 400 <= cls.status < 600


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BadRequest("kwargs", "is odd"), "kwargs: is odd"),
        (BadRequest("kwargs", "is odd", 5), "kwargs: is odd; got 5"),
        (BadRequest("kwargs", "is odd", ""), "kwargs: is odd; got ''"),
        (BadRequest("kwargs", "is odd", 5, hint="Send 4"), "kwargs: is odd; got 5. Send 4"),
        (BadRequest("kwargs", "is odd", hint="Send 4"), "kwargs: is odd. Send 4"),
        (BadRequest("kwargs", "Odd?", 5, hint="send 4"), "kwargs: Odd? got 5. send 4"),
        (BadRequest("kwargs", "is cut ...", 5), "kwargs: is cut ...; got 5"),
        (BadRequest("kwargs", "is odd", hint="Odd? No."), "kwargs: is odd. Odd? No."),
        (Unprocessable([("a", "is odd?"), ("b", "is missing")], "f takes a, b"),
         "a: is odd? b: is missing. f takes a, b"),
        (NoSuchSession("session", "is not there", "a"), "session: is not there; got 'a'"),
        (NoSuchFunction("fn_name", "is not there", "f"), "fn_name: is not there; got 'f'"),
        (SyntaxFault("invalid syntax"), "code: invalid syntax"),
        (SyntaxFault("invalid syntax", 3), "code: line 3: invalid syntax"),
        (SyntaxFault("invalid syntax", 3, "    x ="), "code: line 3: invalid syntax\n    x ="),
    ],
)
def test_the_message_of_a_bad_request_has_field_problem_value_and_hint(
    error: BadRequest, message: str
) -> None:
    assert str(error) == message
    assert message.startswith(error.field)


def test_a_long_value_is_shortened_in_the_message() -> None:
    message = str(BadRequest("code", "is odd", "a" * 1000 + "z" * 1000))
    assert message.startswith("code: is odd; got 'aaaa")
    assert message.endswith("zzzz'")
    assert len(message) < 90


@given(st.text() | st.binary() | st.lists(st.integers()), st.integers(20, 200))
def test_shortened_returns_the_representation_or_its_two_ends(value: object, limit: int) -> None:
    text, short = repr(value), shortened(value, limit)
    if len(text) <= limit:
        assert short == text
    else:
        start, end = short.split(" ... ", 1) if text.count(" ... ") == 0 else ("", "")
        assert text.startswith(start)
        assert text.endswith(end)
        assert len(short) <= limit


def test_busy_has_the_seconds_until_a_retry() -> None:
    assert Busy("full").retry_after == 1
    assert Busy("full", retry_after=5).retry_after == 5


def test_a_missing_extra_is_an_import_error_that_names_the_pip_command() -> None:
    error = MissingExtra("torch", "bark")
    assert str(error) == "torch is not installed; run: pip install 'owt-server[bark]'"
    assert isinstance(error, ImportError)


def test_a_remote_error_has_the_members_of_the_problem_document() -> None:
    error = RemoteError(
        {
            "type": "urn:owt:exception",
            "title": "the adaptor raised ValueError",
            "status": 500,
            "detail": "no",
            "exception": "ValueError",
            "traceback": "Traceback\n",
            "run": "r1",
        }
    )
    assert str(error) == "ValueError: no"
    assert (error.status, error.run, error.session) == (500, "r1", None)
    assert error.__notes__ == ["The remote traceback:\nTraceback"]
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.run) == (str(error), "r1")


def test_an_unprocessable_request_names_its_first_field_and_at_most_ten_problems() -> None:
    problems = [(f"a:{number}", "is missing") for number in range(11)]
    error = Unprocessable(problems, "f takes a")
    assert error.field == "a:0"
    assert str(error).startswith("a:0: is missing. a:1: is missing. ")
    assert str(error).endswith("a:9: is missing. 1 more. f takes a")


def test_a_method_that_is_not_allowed_names_those_that_are() -> None:
    error = MethodNotAllowed("PUT", "/a", ["GET", "POST"])
    assert str(error) == "PUT is not supported at '/a'; use GET, POST"
    assert error.allow == "GET, POST, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ({}, "the call failed"),
        ({"title": "busy", "status": 503}, "busy"),
        ({"title": "busy", "detail": "64 calls wait"}, "64 calls wait"),
        ({"exception": "KeyError"}, "KeyError"),
        ({"status": "odd", "detail": None, "type": None}, "the call failed"),
    ],
)
def test_a_remote_error_accepts_missing_and_odd_members(problem: dict[str, object], text: str) -> None:
    error = RemoteError(problem)
    assert str(error) == text
    assert isinstance(error.status, int)
