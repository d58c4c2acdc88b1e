"""owt.kernel.calls.advice: advice for requests that were written in a misleading way."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from owt.errors import BadRequest, SyntaxFault
from owt.kernel.calls.advice import with_advice
from owt.kernel.calls.failure import describe
from owt.kernel.code.arguments import Arguments, MissingArguments, call_arguments
from owt.wire.call import Call, RequestFacts

FORM = "application/x-www-form-urlencoded"
PLUS = "In a form and in a URL, + is a space"
SYNTAX = SyntaxFault("invalid syntax", 1)
KWARGS = BadRequest("kwargs", "is neither JSON nor a Python expression")


def facts(query: str = "", body: str = "", content_type: str = FORM, *, deferred: int = 0) -> RequestFacts:
    headers = (("Content-Type", content_type),)
    return RequestFacts("POST", "/", query, headers, body.encode(), "localhost", input_size=deferred)


def advice(error: BaseException, request: RequestFacts) -> str:
    """Return what is added to the failure's detail."""
    failed = describe(error, None, None)
    return with_advice(failed, error, Call(request), {}).detail.removeprefix(failed.detail)


def missing_name() -> BadRequest:
    def run(name: str) -> None: ...

    with pytest.raises(MissingArguments) as caught:
        call_arguments(run, Arguments())
    return caught.value


@pytest.mark.parametrize(
    ("error", "request_"),
    [
        (SYNTAX, facts("code=1+1")),
        (SYNTAX, facts(body="session=x&code=1+1")),
        (KWARGS, facts(body="code=f&kwargs={'a': 1+1}")),
    ],
)
def test_a_plus_sign_in_unreadable_text_is_explained(error: BadRequest, request_: RequestFacts) -> None:
    assert PLUS in advice(error, request_)


@pytest.mark.parametrize(
    ("error", "request_"),
    [
        (SYNTAX, facts(body="code=1%2B1")),
        (SYNTAX, facts(body="code=1 1&kwargs=1+1")),
        (SYNTAX, facts(body="code=1+1", content_type="text/plain")),
        (SYNTAX, facts(body="code=1+1", deferred=5)),
        (KWARGS, facts(body="code=1+1&kwargs=x y")),
        (BadRequest("timeout", "is wrong"), facts(body="code=1+1")),
        (ZeroDivisionError(), facts(body="code=1+1")),
    ],
)
def test_other_failures_have_no_advice(error: BaseException, request_: RequestFacts) -> None:
    assert advice(error, request_) == ""


@pytest.mark.parametrize(
    "request_",
    [
        facts(f"name={quote('Ada B')}"),
        facts(body="name=Ada+B"),
        facts(body=json.dumps({"name": "Ada B"}), content_type="application/json"),
        facts(
            body='--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nAda B\r\n--b--\r\n',
            content_type="multipart/form-data; boundary=b",
        ),
    ],
)
def test_a_field_that_is_an_argument_of_the_function_is_explained(request_: RequestFacts) -> None:
    assert advice(missing_name(), request_) == (
        '\nFields are not arguments: send \'name\' in kwargs, as in kwargs={"name": "Ada B"}'
    )


def test_a_long_field_is_not_part_of_the_advice() -> None:
    assert advice(missing_name(), facts(body="name=" + "x" * 1000)).endswith('kwargs={"name": "..."}')


@pytest.mark.parametrize("body", ["other=1", "", "{"])
def test_a_missing_argument_without_such_a_field_needs_no_advice(body: str) -> None:
    for content_type in (FORM, "application/json", "multipart/form-data"):
        assert advice(missing_name(), facts(body=body, content_type=content_type)) == ""


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("model", None, "'model' is a variable of the session: a function reads it as state.model"),
        ("t", '{"t": 1}', "'t' is in kwargs, which are the arguments of a function: write lambda t: ..."),
        ("other", '{"t": 1}', ""),
        ("t", "dict(t=1)", ""),
        (None, '{"t": 1}', ""),
    ],
)
def test_a_name_that_is_elsewhere_is_explained(name: str | None, kwargs: str | None, expected: str) -> None:
    error = NameError("not defined", name=name)
    failed = describe(error, None, None)
    failed = with_advice(failed, error, Call(facts(), kwargs=kwargs), {"model": 1})
    assert failed.detail.partition("\n")[2] == expected
    assert failed.traceback.partition("not defined\n")[2].rstrip() == expected
