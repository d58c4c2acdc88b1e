"""owt.kernel.endpoints.decorator: `@endpoint`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pydantic
import pytest

import owt
from owt.errors import EndpointError
from owt.kernel.endpoints.decorator import Decorator, RegisteredFunction, make_endpoint
from owt.wire.endpoint import MAX_DESCRIPTION

endpoint = Decorator()


def test_a_decorated_function_is_unchanged():
    def f(text): ...

    assert endpoint("/speak")(f) is f
    assert endpoint("/say", methods=["get"])(f) is f
    assert vars(f) == {}


def test_a_bound_method_of_a_builtin_is_registered():
    new: list[RegisteredFunction] = []
    assert Decorator(new.append)("/a")([].append) is not None
    assert [registered.endpoint.path for registered in new] == ["/a"]


@dataclasses.dataclass
class Snippet:
    code: str
    lang: str = "js"
    timeout: int = 1


class Call(pydantic.BaseModel):
    session: str


class Plain(pydantic.BaseModel):
    title: str


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Snippet, "code, timeout"),
        (Snippet | None, "code, timeout"),
        (Call, "session"),
        (Plain, None),
        (str, None),
    ],
)
def test_fields_of_a_model_that_requests_have_too_are_named_on_stderr(
    capsys: pytest.CaptureFixture[str], kind: Any, fields: str | None
) -> None:
    def f(x: Any, limit: int = 1): ...

    f.__annotations__["x"] = kind
    endpoint("/f")(f)
    problem = f"/f: the type of 'x' has fields that owt itself reads in every request ({fields}); "
    expected = "" if fields is None else problem + 'send {"x": {...}}, not the object alone\n'
    assert capsys.readouterr().err == expected


def test_models_that_are_sent_by_name_anyway_are_not_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    def two(x: Snippet, y: Snippet): ...

    def more(x: Snippet, **others: Any): ...

    endpoint("/two")(two)
    endpoint("/more")(more)
    assert capsys.readouterr().err == ""


def test_the_description_has_name_docstring_and_methods():
    def f():
        """Say it.

        Out loud:
            now.
        """

    endpoint = make_endpoint(f, "/f", ("GET",)).endpoint
    assert (endpoint.path, endpoint.methods, endpoint.name) == ("/f", ("GET",), "f")
    assert endpoint.description == "Say it.\n\nOut loud:\n    now."


def test_a_long_docstring_is_cut():
    def f(): ...

    f.__doc__ = "x" * 10_000
    assert len(make_endpoint(f, "/f", ("GET",)).endpoint.description) == MAX_DESCRIPTION


def test_methods_are_in_one_order_and_once():
    def f(): ...

    new: list[RegisteredFunction] = []
    Decorator(new.append)("/f", methods=["post", "GET", "POST"])(f)
    assert new[0].endpoint.methods == ("GET", "POST")


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((len,), {}, r'@endpoint needs a path: write @endpoint\("/len"\)'),
        (("speak",), {}, "begins with a slash"),
        (("/_owt/x",), {}, "the server's own"),
        (("/f",), {"methods": ["BREW"]}, "'BREW' is no method of an endpoint; there are GET, POST"),
        (("/f",), {"methods": [1]}, "1 is no method"),
        (("/f",), {"methods": []}, "at least one method"),
    ],
)
def test_invalid_decorators_are_refused_with_the_remedy(arguments, options, why):
    with pytest.raises(EndpointError, match=why):
        endpoint(*arguments, **options)


def test_an_object_that_is_not_callable_is_refused():
    with pytest.raises(EndpointError, match="only a function can be an endpoint; got 3"):
        endpoint("/f")(3)  # type: ignore[type-var]


def test_types_with_too_large_schemas_are_refused():
    def f(x): ...

    f.__annotations__["x"] = "__import__('typing').Literal[tuple(f'{n:090}' for n in range(1000))]"
    with pytest.raises(EndpointError, match="its description and its types take"):
        endpoint("/f")(f)


def test_a_refusal_has_no_frames_of_owt_in_its_traceback():
    with pytest.raises(EndpointError) as error:
        endpoint("/f")(lambda timeout: 1)
    assert [entry.name for entry in error.traceback] == [
        "test_a_refusal_has_no_frames_of_owt_in_its_traceback", "decorate",
    ]  # fmt: skip


def test_a_file_with_endpoints_can_be_imported_outside_of_kernels():
    program = (
        "from owt import endpoint\n"
        "@endpoint('/speak')\n"
        "def speak(text: str): return text\n"
        "endpoint.remove('/other')\n"
        "import sys\n"
        "assert speak('x') == 'x'\n"
        "print(sorted({'IPython', 'tornado', 'ipykernel', 'werkzeug'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_endpoint_is_a_name_of_the_package():
    assert "endpoint" in owt.__all__
    assert "@endpoint(" in repr(owt.endpoint)
