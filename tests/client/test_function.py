"""owt.client.function: the source of a function."""

from __future__ import annotations

import asyncio
import functools
import linecache
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from owt.client.function import Source, source_of
from owt.errors import CannotSend

LIMIT = 3
NO_SOURCE = (
    "the source of {} cannot be found: Python keeps none of a function made by exec or, before 3.13, by "
    "python -c, by standard input or at the >>> prompt; put it into a file, a notebook or IPython, or send "
    "code as text"
)


def double(x: int) -> int:
    # A comment stays.
    return 2 * x


async def slow(x):
    yield x


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def imports_inside(x):
    import math

    return math.sqrt(len([x]))


def of_the_server():
    return request.path, state, pipe, Server, __name__  # noqa: F821


def uses_module(x):
    return np.sum(x) + LIMIT


def annotated(x: np.ndarray) -> Any:
    return x


def with_default(x=LIMIT):
    return x


def kept(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


@kept
def decorated(x):
    return x


@functools.cache
def cached(x):
    return x


def run(source: Source, **kwargs: object) -> Any:
    """Return the value of a call of the source in an empty namespace."""
    if source.fn_name is None:
        return eval(source.code, {})(**kwargs)
    names: dict[str, Any] = {}
    exec(source.code, names)
    return names[source.fn_name](**kwargs)


def test_the_source_of_a_function_is_its_own_text():
    source = source_of(double)
    assert source.fn_name == "double"
    assert source.code.endswith("def double(x: int) -> int:\n    # A comment stays.\n    return 2 * x\n")
    assert run(source, x=21) == 42


def test_annotations_stay_unevaluated_with_the_future_import():
    source = source_of(annotated)
    assert source.code.startswith("from __future__ import annotations\n")
    assert run(source, x=1) == 1


def loaded(text: str, **names: object) -> Callable[..., Any]:
    """Return the function `f` of a module with this text and these names."""
    file = f"<module {hash(text)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec", dont_inherit=True), names)
    return names["f"]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("def f(x: int, *y: str) -> list[int]: return x\n", None),
        ("def f(x: np.ndarray, n: int) -> Seq[int]: return x\n",
         "def f(x: 'np.ndarray', n: int) -> 'Seq[int]': return x\n"),
        ("def f(x: np.int8, /, y: 'ö', *z: Seq, u: np.float16 = 2, **v: Seq): return x\n",
         "def f(x: 'np.int8', /, y: 'ö', *z: 'Seq', u: 'np.float16' = 2, **v: 'Seq'): return x\n"),
        ("def f(ö: Seq['ö'], x: Seq = 1): return x\n",
         "def f(ö: \"Seq['ö']\", x: 'Seq' = 1): return x\n"),
        ("def f(x: list[\n    np.int8], y: Seq[  # why\n  int] = 1) -> Seq[\n  int\n  ]:\n    return x\n",
         "def f(x: ('list[np.int8]'\n), y: ('Seq[int]'\n) = 1) -> ('Seq[int]'\n\n):\n    return x\n"),
        ("async def f(x: Seq): yield x\n", "async def f(x: 'Seq'): yield x\n"),
        ("if True:\n    def f(x: Seq): return x\n", "if True:\n    def f(x: 'Seq'): return x\n"),
    ],
)  # fmt: skip
def test_annotations_that_use_names_of_the_module_are_sent_as_strings(text, sent):
    function = loaded(text, np=np, Seq=list)
    assert source_of(function) == Source(text if sent is None else sent, "f")
    assert sent is None or sent.count("\n") == text.count("\n")
    exec(source_of(function).code, {})


def test_annotations_of_an_endpoint_are_sent_as_they_are():
    endpoint = functools.partial(lambda path, function: function, "/x")
    text = "@endpoint\ndef f(x: Seq) -> int: return x\n"
    assert "f() uses Seq of the text around it" in refusal(loaded(text, endpoint=endpoint, Seq=list))


def test_the_source_of_every_kind_of_function_runs():
    async def first():
        async for value in run(source_of(slow), x=5):
            return value

    assert asyncio.run(first()) == 5
    assert run(source_of(factorial), n=5) == 120
    assert run(source_of(imports_inside), x=1) == 1.0
    assert source_of(of_the_server).fn_name == "of_the_server"


def test_a_nested_function_keeps_its_text_and_strings():
    def inner():
        return """one
    two
          three"""

    source = source_of(inner)
    assert source.code.startswith("from __future__ import annotations\nif True:\n    def inner():\n")
    assert run(source) == "one\n    two\n          three"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 1,
        (
            lambda x: (
                x  # with a comment
                - -1
            )
        ),
        [lambda x: x + 1, lambda x: x + 2][0],
        [lambda x: x + 2, lambda x: x + 1][1],
    ],
)
def test_a_lambda_is_sent_as_an_expression(function):
    source = source_of(function)
    assert source.fn_name is None
    assert run(source, x=1) == 2


def refusal(function: Callable[..., Any]) -> str:
    with pytest.raises(CannotSend) as caught:
        source_of(function)
    return str(caught.value)


def test_a_function_that_uses_names_of_its_module_is_refused():
    assert refusal(uses_module) == (
        "uses_module() uses np, LIMIT of the text around it, and only its own text is sent; "
        "import np inside it, or send code as text"
    )
    assert "with_default() uses LIMIT" in refusal(with_default)
    assert "the lambda uses LIMIT" in refusal(lambda: LIMIT)
    assert "decorated() uses kept" in refusal(decorated)
    assert "cached() uses functools" in refusal(cached)


def test_a_closure_is_refused_with_the_remedy():
    factor, other = 2, 3

    def scaled(x):
        return x * factor + other

    assert refusal(scaled) == (
        "scaled() uses factor, other of the function around it, and only its own text is sent; "
        "make it an argument: def scaled(..., factor), and then call(scaled, ..., factor=factor)"
    )
    assert "lambda ..., factor: ..." in refusal(lambda x: x * factor)


def test_a_default_that_uses_a_local_name_is_refused():
    factor = 2

    def scaled(x, by=factor):
        return x * by

    assert "scaled() uses factor" in refusal(scaled)


def test_a_function_that_uses_a_replaced_builtin_is_refused(monkeypatch):
    assert source_of(imports_inside)
    monkeypatch.setitem(globals(), "len", lambda x: 0)
    assert "uses len" in refusal(imports_inside)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (len, "len() has no Python source to send; send code as text: 'len'"),
        (math.sqrt, "sqrt() has no Python source"),
        (dict, "dict is a class; send a function that uses it, or code as text"),
        ("x".upper, "upper() has no Python source"),
        (pytest.MonkeyPatch().setattr, "setattr() is a method"),
        (functools.partial(double, 1), "code is text or a function; got functools.partial"),
        (3, "code is text or a function; got 3"),
        (None, "code is text or a function; got None"),
    ],
)
def test_objects_other_than_python_functions_are_refused(function, words):
    assert words in refusal(function)


@pytest.mark.parametrize("text", ["def f(): pass", "f = lambda: 1"])
def test_a_function_without_source_is_refused_with_the_remedy(text):
    names: dict[str, Any] = {}
    exec(compile(text, "<stdin>", "exec"), names)
    assert refusal(names["f"]) == NO_SOURCE.format("f()" if "def" in text else "the lambda")


PROGRAM = """
from owt.client.function import CannotSend, source_of

def f(x: CannotSend): return x

try: print(source_of(f).code)
except CannotSend as error: print(error)

"""


@pytest.mark.parametrize("arguments", [("-c", PROGRAM), ("-q", "-i")])
def test_a_function_of_a_command_or_a_prompt_has_a_source_from_python_3_13_on(arguments):
    done = subprocess.run(
        [sys.executable, *arguments], input=PROGRAM, capture_output=True, text=True, timeout=60
    )
    kept = sys.version_info >= (3, 13)
    assert done.stdout.strip() == ("def f(x: 'CannotSend'): return x" if kept else NO_SOURCE.format("f()")), (
        done.stderr
    )


def test_a_function_whose_file_has_changed_is_refused():
    names: dict[str, Any] = {}
    exec(compile("\n\ndef f(): pass", "<changed>", "exec"), names)
    linecache.cache["<changed>"] = (0, None, ["x = 1\n", "y = 1\n", "z = 1\n"], "<changed>")
    assert refusal(names["f"]) == "the file of f() has changed since it was imported; import it again"


def test_a_function_of_a_notebook_cell_has_a_source():
    text = "y = 1\ndef f(x):\n    return x\n"
    names: dict[str, Any] = {}
    exec(compile(text, "<cell 7>", "exec", dont_inherit=True), names)
    linecache.cache["<cell 7>"] = (len(text), None, text.splitlines(keepends=True), "<cell 7>")
    assert source_of(names["f"]) == Source("def f(x):\n    return x\n", "f")


def test_indistinguishable_lambdas_of_one_line_are_refused(monkeypatch):
    text = "f, g = lambda: 1, lambda: 2\n"
    names: dict[str, Any] = {}
    exec(compile(text, "<two>", "exec"), names)
    shifted = "f, g =  lambda: 1, lambda: 2\n"
    linecache.cache["<two>"] = (len(shifted), None, [shifted], "<two>")
    assert "cannot be distinguished from the others in its line" in refusal(names["f"])
