"""owt.kernel.code.modules: modules by names that are not defined."""

from __future__ import annotations

import ast
import sys
import tarfile
from pathlib import Path

import pytest
from session_sources import SessionSources

from owt.errors import BadRequest
from owt.kernel.code.arguments import evaluate
from owt.kernel.code.compiled import CompiledCell
from owt.kernel.code.modules import import_modules, unbound_names


@pytest.fixture
def hard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide a module that no other code imports, and one that cannot be imported."""
    (tmp_path / "sota_of_tests.py").write_text("hard_task = 41\n")
    (tmp_path / "broken_of_tests.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sota_of_tests", raising=False)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("f(a.b.c)", {"f", "a"}),
        ("def f(a, *b, c=d, **e): return a, b, c, e, g", {"d", "g"}),
        ("import a.b, c as d\nfrom e import f\na, d, f, c", {"c"}),
        ("try:\n    x\nexcept E as e: e\nelse:\n    x = 1", {"E"}),
        ("[i for i in n if (m := i)]", {"n"}),
        ("match v:\n    case [x, *y]: x, y\n    case {'k': z, **w}: z, w\n    case C() as c: c", {"v", "C"}),
        ("class K(B): k = 1\nglobal_name\ndef f():\n    global g\n    return g", {"B", "global_name"}),
        ("with o() as p, q as (r, s): p, r, s", {"o", "q"}),
        ("async def f(): return await g\nlambda h: h + i", {"g", "i"}),
    ],
)
def test_unbound_names_are_those_that_no_scope_binds(code: str, names: set[str]) -> None:
    assert unbound_names(ast.parse(code)) == names


def test_names_of_modules_that_exist_are_imported() -> None:
    names = ["tarfile", "no_such_module_of_tests", "_thread", "__main__", "print", "é", ""]
    assert import_modules(names) == {"tarfile": tarfile}


@pytest.mark.usefixtures("hard")
@pytest.mark.parametrize(
    "text", ["dict(x=sota_of_tests.hard_task)", "dict(x=(lambda: sota_of_tests.hard_task)())"]
)
def test_a_module_in_kwargs_is_imported(text: str) -> None:
    namespace = {"y": 1}
    assert evaluate(text, namespace).kwargs == {"x": 41}
    assert namespace == {"y": 1}


@pytest.mark.usefixtures("hard")
def test_kwargs_are_evaluated_once_and_names_of_the_session_come_first() -> None:
    seen: list[int] = []
    text = "dict(a=seen.append(1), b=sota_of_tests.hard_task, c=tarfile, d=len)"
    namespace = {"seen": seen, "tarfile": 7, "len": 8}
    assert evaluate(text, namespace).kwargs == {"a": None, "b": 41, "c": 7, "d": 8}
    assert seen == [1]


def test_kwargs_with_a_name_that_is_no_module_are_refused() -> None:
    with pytest.raises(BadRequest, match="NameError: name 'no_such_module_of_tests' is not defined"):
        evaluate("dict(a=no_such_module_of_tests.b)", {})


def test_text_in_kwargs_that_names_a_module_stays_text() -> None:
    assert evaluate('"tarfile"', {}).value == "tarfile"


def answer(kernel: SessionSources, code: str) -> object:
    """Return what the code answers a call with."""
    prepared = kernel.prepare(code)
    if isinstance(prepared, CompiledCell):
        return kernel.sources.run_cell(prepared)
    target = kernel.sources.load(prepared)
    return target() if callable(target) else target


@pytest.mark.usefixtures("hard")
@pytest.mark.parametrize(
    "code",
    [
        "sota_of_tests.hard_task + 1",
        "f(sota_of_tests.hard_task)",
        "def run(): return sota_of_tests.hard_task + 1",
        "x = sota_of_tests.hard_task\nx + 1",
        "lambda: sota_of_tests.hard_task + 1",
    ],
)
def test_a_module_in_code_is_imported(code: str) -> None:
    assert answer(SessionSources(f=lambda n: n + 1), code) == 42


@pytest.mark.usefixtures("hard")
def test_names_of_the_code_and_the_session_are_no_modules() -> None:
    assert answer(SessionSources(sota_of_tests=1), "sota_of_tests + 1") == 2
    assert answer(SessionSources(), "def run():\n    tarfile = 3\n    return tarfile") == 3
    with pytest.raises(NameError):
        answer(SessionSources(), "x = 1\nno_such_module_of_tests")


@pytest.mark.usefixtures("hard")
def test_a_module_that_cannot_be_imported_raises_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError):
        answer(SessionSources(), "broken_of_tests.x")
