"""owt.kernel.code.compiled: cells, programs and the cache of known texts."""

from __future__ import annotations

import ast
import inspect
import linecache
import pickle
import re
import sys
import threading
import traceback
import typing
from typing import Any

import pytest
from session_sources import SessionSources

from owt.kernel.code.compiled import CompiledCell, awaits, compile_cell, defines


def cell(code: str) -> CompiledCell:
    compiled = compile_cell(code, code, ast.parse(code))
    del linecache.cache[compiled.filename]
    return compiled


@pytest.mark.parametrize(
    ("code", "has_body", "has_last"),
    [
        ("", False, False),
        ("x = 1", True, False),
        ("x", False, True),
        ("x = 1\nx", True, True),
        ("1; 2", True, True),
    ],
)
def test_a_cell_is_its_statements_and_then_its_last_expression(
    code: str, has_body: bool, has_last: bool
) -> None:
    compiled = cell(code)
    assert (compiled.body is not None, compiled.last is not None) == (has_body, has_last)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("await f()", True),
        ("x = await f()\n1", True),
        ("async for x in y: pass", True),
        ("[x async for x in y]", True),
        ("async def f(): await g()", False),
        ("x = 1", False),
    ],
)
def test_a_cell_awaits_what_it_awaits_at_its_top_level(code: str, expected: bool) -> None:
    compiled = cell(code)
    assert compiled.awaits is expected
    assert (awaits(compiled.body) or awaits(compiled.last)) is expected


def test_no_code_awaits_and_defines_nothing() -> None:
    assert not awaits(None)
    assert not defines(None)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(): pass", True),
        ("class A: pass", True),
        ("f = lambda: 1", True),
        ("x = 1", False),
        ("print('x')", False),
    ],
)
def test_defines_is_true_for_cells_with_functions_or_classes(code: str, expected: bool) -> None:
    compiled = cell(code)
    assert (defines(compiled.body) or defines(compiled.last)) is expected


def test_linecache_has_the_transformed_lines_of_a_cell() -> None:
    compiled = compile_cell("!ls", "get_ipython().system('ls')\n", ast.parse("get_ipython().system('ls')"))
    assert linecache.getline(compiled.filename, 1) == "get_ipython().system('ls')\n"
    del linecache.cache[compiled.filename]


def test_a_module_is_registered_before_its_top_level_runs(kernel: SessionSources) -> None:
    run = kernel.load("import sys\nme = sys.modules[__name__]\ndef run(): return me")
    assert run().__dict__ is run.__globals__
    assert run().__name__.startswith("owt_adaptor_")


@pytest.mark.parametrize("code", ["def run(): return __file__", "lambda: __file__", "1 + 1; __file__ = 0"])
def test_numba_and_joblib_take_code_for_that_of_a_notebook(kernel: SessionSources, code: str) -> None:
    """They know it by the folder of its file name, and can cache compiled functions and results then."""
    compiled = kernel.prepare(code)
    filename = compiled.filename if isinstance(compiled, CompiledCell) else compiled.program.filename
    assert filename.split("/")[-2].startswith("ipykernel_")


@pytest.mark.parametrize("code", ["def run(): return __file__, __spec__", "lambda: (__file__, __spec__)"])
def test_a_module_has_a_file_without_a_folder_and_a_spec(kernel: SessionSources, code: str) -> None:
    file, spec = kernel.load(code)()
    assert re.fullmatch("<adaptor [0-9a-f]{10}>", file)
    assert sys.modules[spec.name].__spec__ is spec


DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar, get_type_hints

@dataclass
class Point:
    x: int
    kind: ClassVar[str] = "point"

def run():
    return Point(1)
"""


def test_dataclasses_type_hints_and_pickle_work_in_explicit_code(kernel: SessionSources) -> None:
    point = kernel.load(DATACLASS)()
    assert typing.get_type_hints(type(point)) == {"x": int, "kind": typing.ClassVar[str]}
    assert pickle.loads(pickle.dumps(point)) == point


def test_getsource_works_and_survives_checkcache(kernel: SessionSources) -> None:
    run = kernel.load(DATACLASS)
    expected = "def run():\n    return Point(1)\n"
    assert inspect.getsource(run) == expected
    linecache.checkcache()
    assert inspect.getsource(run) == expected
    assert inspect.getsource(type(run())).startswith("@dataclass\nclass Point:")
    assert inspect.getsource(sys.modules[run.__module__]) == DATACLASS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0c\n", "\n# \u2028 \x1c\n"])
def test_tracebacks_show_the_line_that_raised(kernel: SessionSources, end: str) -> None:
    run = kernel.load(f"x = 1{end}def run():{end}    return x / 0  # here{end}")
    linecache.checkcache()
    with pytest.raises(ZeroDivisionError) as caught:
        run()
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == "return x / 0  # here"


def test_tracebacks_of_an_expression_point_at_its_columns(kernel: SessionSources) -> None:
    run = kernel.load("lambda: 1 / 0\n")
    chain = kernel.load("  (lambda: 1 / 0\n  )\n  .__call__")
    for function in (run, chain):
        with pytest.raises(ZeroDivisionError) as caught:
            function()
        frame = traceback.extract_tb(caught.value.__traceback__)[-1]
        line = linecache.getline(frame.filename, frame.lineno or 0)
        assert line[frame.colno : frame.end_colno] == "1 / 0"


def test_a_top_level_that_raises_leaves_no_module_and_runs_again(kernel: SessionSources) -> None:
    code = "import sys\nsys.owt_test_runs.append(1)\n1 / len(sys.owt_test_runs[1:])\ndef run(): return 'ok'"
    sys.owt_test_runs = []  # type: ignore[attr-defined]
    try:
        program = kernel.program(code)
        with pytest.raises(ZeroDivisionError) as caught:
            kernel.load(code)
        assert program.name not in sys.modules
        assert traceback.extract_tb(caught.value.__traceback__)[-1].line == "1 / len(sys.owt_test_runs[1:])"
        assert kernel.load(code)() == "ok"
        assert program.name in sys.modules
    finally:
        del sys.owt_test_runs  # type: ignore[attr-defined]


def test_an_interrupted_top_level_leaves_no_module(kernel: SessionSources) -> None:
    code = "def run(): pass\nraise KeyboardInterrupt"
    with pytest.raises(KeyboardInterrupt):
        kernel.load(code)
    assert kernel.program(code).name not in sys.modules


def test_a_module_that_replaced_a_forgotten_one_stays_registered(kernel: SessionSources) -> None:
    code = "def run(): pass"
    kernel.load(code)
    old = kernel.program(code)
    kernel.sources.forget(code)
    new = kernel.load(code)
    old.drop()
    assert sys.modules[old.name].__dict__ is new.__globals__


def test_threads_run_the_top_level_once(kernel: SessionSources) -> None:
    code = "import sys, threading\nthreading.Event().wait(0.05)\nmarker = object()\ndef run(): return marker"
    values: list[Any] = []
    threads = [threading.Thread(target=lambda: values.append(kernel.load(code)())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values) == 4
    assert len(set(map(id, values))) == 1


def test_threads_evaluate_a_callable_value_once(kernel: SessionSources) -> None:
    code = "(lambda event: (event.wait(0.05), lambda: event))(__import__('threading').Event())[1]"
    values: list[Any] = []
    threads = [threading.Thread(target=lambda: values.append(kernel.load(code))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values) == 4
    assert len(set(map(id, values))) == 1


def test_an_expression_that_raises_is_not_kept(kernel: SessionSources) -> None:
    code = "(lambda seen: lambda: seen)(__import__('sys').owt_test_value)"
    with pytest.raises(AttributeError):
        kernel.load(code)
    assert kernel.program(code).name not in sys.modules
    sys.owt_test_value = 7  # type: ignore[attr-defined]
    try:
        assert kernel.load(code)() == 7
    finally:
        del sys.owt_test_value  # type: ignore[attr-defined]


def test_a_module_does_not_inherit_future_statements_of_owt(kernel: SessionSources) -> None:
    assert kernel.load("def run(x: int): pass").__annotations__ == {"x": int}


def test_an_expression_dropped_from_the_cache_leaves_the_registries(
    kernel: SessionSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._expressions, "_max_size", 3)
    codes = [f"lambda: {n}" for n in range(4)]
    kept = [kernel.load(code) for code in codes[:3]]
    programs = [kernel.program(code) for code in codes[:3]]
    assert kernel.load(codes[0]) is kept[0]
    kernel.load(codes[3])
    assert [program.name in sys.modules for program in programs] == [True, False, True]
    assert [program.filename in linecache.cache for program in programs] == [True, False, True]
    assert kernel.load(codes[0]) is kept[0]
    assert kernel.load(codes[1]) is not kept[1]


def test_lines_of_code_that_failed_are_dropped_for_later_texts(
    kernel: SessionSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._others, "_max_size", 2)
    code = "def run(): pass\n1 / 0"
    filename = kernel.program(code).filename
    with pytest.raises(ZeroDivisionError):
        kernel.load(code)
    assert filename in linecache.cache
    kernel.prepare("x = 1")
    kernel.prepare("x = 2")
    assert filename not in linecache.cache


def test_loaded_explicit_code_is_never_dropped(
    kernel: SessionSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._others, "_max_size", 2)
    run = kernel.load("def run(): pass")
    for n in range(5):
        kernel.load(f"def run(): return {n}")
        kernel.prepare(f"x = {n}")
    assert kernel.load("def run(): pass") is run


def test_lines_of_a_cell_stay_for_the_functions_that_it_defined(
    kernel: SessionSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._others, "_max_size", 1)
    plain = kernel.prepare("x = 0")
    assert isinstance(plain, CompiledCell)
    kernel.cell("y = 0\ndef f(): pass")
    kernel.cell("z = 0")
    assert plain.filename not in linecache.cache
    assert inspect.getsource(kernel.names["f"]) == "def f(): pass\n"
