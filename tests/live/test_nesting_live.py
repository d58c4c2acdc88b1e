"""Code and kwargs that are nested a hundred thousand deep: status 400, and the kernel keeps running."""

from __future__ import annotations

import pytest

from owt.testing import LiveServer

DEEP = 100_000
WITHOUT_BRACKETS = {
    "not": "not " * DEEP + "1",
    "minus": "-" * DEEP + "1",
    "lambda": "lambda: " * DEEP + "1",
    "sum": "+".join(["1"] * DEEP),
    "power": "**".join(["1"] * DEEP),
    "condition": "1 if 1 else " * DEEP + "1",
    "attributes": "a" + ".b" * DEEP,
    "f-string": "f'{" + "[" * DEEP + "1" + "]" * DEEP + "}'",
    "format": "f'" + "{x:" * DEEP + "1" + "}" * DEEP + "'",
}
CODE = {
    **WITHOUT_BRACKETS,
    "brackets": "(" * DEEP + ")" * DEEP,
    "function": "def run(): return " + "-" * DEEP + "1",
    "elif": "if 0: pass\n" + "elif 0: pass\n" * DEEP,
}


@pytest.mark.parametrize("kwargs", WITHOUT_BRACKETS.values(), ids=WITHOUT_BRACKETS)
def test_kwargs_nested_deeply_without_brackets_get_400(server: LiveServer, session: str, kwargs: str) -> None:
    pid = server.call("import os; os.getpid()", session=session).text
    answer = server.call("def run(*args, **kwargs): pass", session=session, kwargs=kwargs)
    assert answer.status_code == 400
    assert "nested" in answer.text
    assert len(answer.text) < 1000
    assert server.call("os.getpid()", session=session).text == pid


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_deeply_nested_code_gets_400(server: LiveServer, session: str, code: str) -> None:
    pid = server.call("import os; os.getpid()", session=session).text
    answer = server.call(code, session=session)
    assert answer.status_code == 400
    assert "nest" in answer.text or "too many" in answer.text
    assert server.call("os.getpid()", session=session).text == pid


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"code": "1", "kwargs": %b}', "JSON is nested too deeply"),
        (b'{"code": "1", "other": %b}', "JSON is nested too deeply"),
        (b"%b", "JSON is nested too deeply"),
    ],
)
@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_deeply_nested_json_body_gets_400(
    server: LiveServer, body: bytes, problem: str, begin: bytes, end: bytes
) -> None:
    deep = body % (begin * DEEP + b"1" + end * DEEP)
    answer = server.ask("POST", "/", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert problem in answer.text


@pytest.mark.parametrize(("depth", "status"), [(100, 200), (101, 400)])
def test_kwargs_may_nest_up_to_the_limit_only(
    server: LiveServer, session: str, depth: int, status: int
) -> None:
    inner = "[" * (depth - 1) + "]" * (depth - 1)
    kwargs = '{"a": ' + inner + "}"
    answer = server.call("def run(a): return len(str(a))", session=session, kwargs=kwargs)
    assert answer.status_code == status
    assert answer.text == str(len(inner)) or "more than 100 brackets are open at once" in answer.text
