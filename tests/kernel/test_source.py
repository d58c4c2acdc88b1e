"""owt.kernel.source: what a text is, how it is loaded, and what is said of one that cannot be."""

from __future__ import annotations

import ast
import asyncio
import inspect
import linecache
import pickle
import sys
import threading
import traceback
import typing
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from owt.errors import BadRequest
from owt.kernel import source
from owt.kernel.source import (
    Cell,
    Explicit,
    Expression,
    NoSuchFunction,
    Sources,
    SyntaxFault,
    free_names,
    parse_expression,
)


class Pipe:
    """As much of a pipe as a terse expression needs: it records what it is told."""

    def __init__(self, *steps: object) -> None:
        self.steps = steps

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: Pipe(*self.steps, name, *args)

    def __call__(self, **kwargs: object) -> object:
        return self.steps


METHODS = frozenset({"path", "last", "f", "const", "map", "open"})


class Kernel:
    """A session's namespace and the sources that use it."""

    def __init__(self, **names: Any) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", **names}
        self.sources = Sources(
            self.names,
            {"pipe": Pipe, "request": "the request", "state": object()},
            METHODS,
            TransformerManager().transform_cell,
        )

    def prepare(self, code: str, fn_name: str = "run") -> Explicit | Expression | Cell:
        return self.sources.prepare(code, fn_name)

    def outcome(self, code: str) -> Explicit | Expression | Cell | SyntaxFault:
        try:
            return self.prepare(code)
        except SyntaxFault as fault:
            return fault

    def kind(self, code: str, fn_name: str = "run") -> str:
        return type(self.prepare(code, fn_name)).__name__

    def load(self, code: str, fn_name: str = "run") -> Any:
        prepared = self.prepare(code, fn_name)
        assert not isinstance(prepared, Cell)
        return self.sources.load(prepared)

    def cell(self, code: str) -> Any:
        prepared = self.prepare(code)
        assert isinstance(prepared, Cell)
        return self.sources.run_cell(prepared)

    def program(self, code: str, fn_name: str = "run") -> source.Program:
        prepared = self.prepare(code, fn_name)
        assert not isinstance(prepared, Cell)
        return prepared.program


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    before = set(sys.modules)
    yield Kernel()
    for name in set(sys.modules) - before:
        if name.startswith("owt_adaptor_"):
            del sys.modules[name]


# What a text is


@pytest.mark.parametrize(
    "code",
    [
        "def run(): pass",
        "async def run(): pass",
        "class run: pass",
        "run = 1",
        "a = run = 1",
        "a, (b, *run) = 1, (2, 3)",
        "run: int = 1",
        "import run",
        "import run.sub",
        "import module as run",
        "from module import run",
        "from module import other as run",
        "(run := print)",
        "if (run := print): pass",
        "print([run := 1 for _ in 'a'])",
        "@(run := staticmethod)\ndef f(): pass",
        "def f(x=(run := 1)): pass",
        "lambda x=(run := 1): x",
        "for run in []: pass",
        "with open('x') as run: pass",
        "with a as (b, run): pass",
        "if False:\n    def run(): pass",
        "if x: pass\nelse:\n    run = 1",
        "try: import fast as run\nexcept ImportError: pass",
        "try: pass\nexcept E: run = 1",
        "try: pass\nfinally: run = 1",
        "while x:\n    run = 1",
        "for x in y: pass\nelse: run = 1",
        "match x:\n    case 1:\n        run = 1",
        "match x:\n    case [run]: pass",
        "match x:\n    case [*run]: pass",
        "match x:\n    case {**run}: pass",
        "match x:\n    case int() as run: pass",
        "async def f(): pass\nx = 1; run = f",
        "    def run():\n        return 1\n",
        "\ufeffdef run(): pass",
        "%matplotlib inline\ndef run(): pass",
        "!ls\nrun = 1",
    ],
)
def test_text_that_binds_the_name_at_its_top_level_is_explicit(kernel: Kernel, code: str) -> None:
    assert kernel.kind(code) == "Explicit"


@pytest.mark.parametrize(
    "code",
    [
        "def other():\n    def run(): pass",
        "def other():\n    global run\n    run = 1",
        "class Other:\n    run = 1",
        "x = [run for run in y]",
        "x = lambda: (run := 1)",
        "x = lambda run: run",
        "def f(run): pass",
        "run: int",
        "run += 1",
        "del run",
        "x.run = 1",
        "x['run'] = 1",
        "try: pass\nexcept E as run: pass",
        "import a.run",
        "from run import other",
        "from module import *",
        "run()\nrun()",
        "",
        "# run = 1",
        "%time run",
        "!ls",
        "x = !ls",
        "x?",
        ">>> x = 1",
        "x = 1",
        "a\n(b)",
        "print('a')\n(1, 2)",
        "await f()",
        "[x async for x in y]",
        "pipe()\n  .f(await g())",
    ],
)
def test_other_text_that_is_no_expression_is_a_cell(kernel: Kernel, code: str) -> None:
    assert kernel.kind(code) == "Cell"


@pytest.mark.parametrize(
    "code",
    [
        "x + 1",
        "run",
        "run()",
        "  1 + 1",
        "pipe().f(g)",
        "pipe()\n  .f(g)\n  .done()",
        "pipe()\n.f(g)\n\n  # a comment\n  .done()  # another",
        "\n\n# a comment\n    pipe()\n",
        "\t1,\n\t2",
        "1 +\n  2",
        "x for x in y",
        "x := 5",
        "'text'",
        "(1)",
        "()",
        "[\n]",
        "{\n}",
    ],
)
def test_one_expression_as_if_in_parentheses_is_an_expression(kernel: Kernel, code: str) -> None:
    assert kernel.kind(code) == "Expression"


@pytest.mark.parametrize(
    "code", ["1) + (2", "1), (2", "1)(2", "1)\n#", "1\n)(", "x) for (x) in (y", "1] + [2", ")("]
)
def test_text_that_would_close_the_parentheses_is_a_syntax_fault(kernel: Kernel, code: str) -> None:
    with pytest.raises(SyntaxFault, match=r"line [12]: (unmatched|invalid syntax)"):
        kernel.prepare(code)


def test_the_name_decides_between_explicit_and_not_for_one_text(kernel: Kernel) -> None:
    code = "def run(): return 1"
    assert kernel.kind(code) == "Explicit"
    assert kernel.kind(code, "main") == "Cell"
    assert kernel.kind(code) == "Explicit"
    assert kernel.kind("(run := len)", "main") == "Expression"
    assert kernel.kind("(run := len)") == "Explicit"
    assert kernel.load("(run := len)") is len


def test_preparing_runs_nothing_of_the_text(kernel: Kernel) -> None:
    kernel.names["ran"] = []
    for code in (
        "ran.append(1)\ndef run(): pass",
        "ran.append(1)",
        "ran.append(1); x = 1",
        "%time ran.append(1)",
    ):
        kernel.prepare(code)
    assert kernel.names["ran"] == []


def test_a_prepared_text_is_not_parsed_again(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["def run(): pass", "1 + 1", "x = 1"]
    first = [kernel.prepare(text) for text in texts]
    monkeypatch.setattr(source, "_parse", None)
    assert all(kernel.prepare(text) is prepared for text, prepared in zip(texts, first, strict=True))
    kernel.load(texts[0])
    assert kernel.prepare(texts[0]) is first[0]


# Terse expressions


@pytest.mark.parametrize(
    "code",
    ["path().last()", "path()\n  .last()", "  path().last()", "(path().last())", "path().last() # end"],
)
def test_a_pipe_method_that_is_called_leftmost_stands_after_pipe(kernel: Kernel, code: str) -> None:
    assert kernel.load(code)() == ("path", "last")


def test_subscripts_and_attributes_lead_to_the_leftmost_name(kernel: Kernel) -> None:
    assert kernel.load("path().last().steps[0].upper()") == "PATH"


@pytest.mark.parametrize("code", ["path", "path.last()", "path + path()", "unknown().last()", "map().last()"])
def test_other_expressions_are_not_terse(kernel: Kernel, code: str) -> None:
    with pytest.raises((NameError, TypeError, AttributeError)):
        kernel.load(code)


def test_a_name_that_the_session_knows_is_not_terse_while_it_knows_it(kernel: Kernel) -> None:
    code = "path().upper()"
    assert kernel.load("path().last()")() == ("path", "last")
    kernel.names["path"] = lambda: "mine"
    assert kernel.load(code) == "MINE"
    del kernel.names["path"]
    assert kernel.load(code)() == ("path", "upper")


def test_a_terse_expression_sees_the_sessions_functions(kernel: Kernel) -> None:
    kernel.names["double"] = lambda x: 2 * x
    assert kernel.load("const(double(4))")() == ("const", 8)


def test_a_terse_expression_works_in_a_session_that_was_reset(kernel: Kernel) -> None:
    kernel.names.clear()
    kernel.names["x"] = 4
    assert kernel.load("const(x)")() == ("const", 4)


# Expressions and the session


def test_an_expression_reads_the_sessions_names_at_each_call(kernel: Kernel) -> None:
    kernel.cell("x = 41")
    assert kernel.load("x + 1") == 42
    kernel.cell("x = 50")
    assert kernel.load("x + 1") == 51


def test_an_expression_uses_a_redefined_session_function_at_once(kernel: Kernel) -> None:
    kernel.cell("def double(x): return 2 * x")
    assert kernel.load("lambda x: double(x)")(x=2) == 4
    kernel.cell("def double(x): return 3 * x")
    assert kernel.load("lambda x: double(x)")(x=2) == 6


def test_an_expression_sees_a_name_that_the_session_learns_later(kernel: Kernel) -> None:
    with pytest.raises(NameError):
        kernel.load("later + 1")
    kernel.names["later"] = 1
    assert kernel.load("later + 1") == 2


def test_a_name_that_the_expression_binds_is_not_the_sessions(kernel: Kernel) -> None:
    kernel.names["x"] = "the session's"
    assert "__main__" not in kernel.load("lambda x: __name__")(x=1)
    assert kernel.load("[x for x in (1, 2)]") == [1, 2]
    assert kernel.load("(x := 5) + x") == 10
    assert kernel.names["x"] == "the session's"


def test_a_name_both_bound_inside_and_free_is_the_sessions(kernel: Kernel) -> None:
    kernel.names["x"] = [1, 2]
    assert kernel.load("[x + 1 for x in x]") == [2, 3]
    kernel.names["n"] = 41
    assert kernel.load("(n := n + 1)") == 42
    assert kernel.names["n"] == 42


def test_a_builtin_or_injected_name_that_the_session_redefines_is_the_sessions(kernel: Kernel) -> None:
    assert kernel.load("max(1, 2)") == 2
    kernel.names["max"] = 41
    assert kernel.load("max + 1") == 42
    kernel.names["request"] = "mine"
    assert kernel.load("request.upper()") == "MINE"


def test_what_the_shell_put_into_a_fresh_namespace_counts_as_builtin() -> None:
    kernel = Kernel(open=lambda name: f"opened {name}")
    code = "lambda: (open, __name__)"
    assert kernel.load(code)()[1] != "__main__"
    kernel.cell("def open(name): pass")
    assert kernel.load(code)() == (kernel.names["open"], "__main__")


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x", {"x"}),
        ("x.y[z](w)", {"x", "z", "w"}),
        ("lambda x, y=z: x + y + w", {"z", "w"}),
        ("[x for x in y if z]", {"y", "z"}),
        ("[x for y in x for x in y]", {"x"}),
        ("(lambda: (lambda: deep))()", {"deep"}),
        ("(x := 1) + x", set()),
        ("x + (x := 1)", {"x"}),
        ("[(x := y) for y in z] and x", {"z"}),
        ("lambda: (x := 1) + x", set()),
        ("f'{x!r:{y}}'", {"x", "y"}),
        ("print(x)", {"print", "x"}),
        ("{**a, b: c}", {"a", "b", "c"}),
    ],
)
def test_free_names_are_those_taken_from_outside(code: str, names: set[str]) -> None:
    compiled = compile(ast.Expression(parse_expression(code)), "x", "eval")
    assert free_names(compiled) == names


COUNTER = "__import__('itertools').count()"


def test_a_callable_value_is_made_once_and_kept(kernel: Kernel) -> None:
    code = f"(lambda counter: lambda: next(counter))({COUNTER})"
    assert [kernel.load(code)() for _ in range(3)] == [0, 1, 2]
    assert kernel.load(code) is kernel.load(code)


def test_a_value_that_cannot_be_called_is_made_anew(kernel: Kernel) -> None:
    code = "__import__('time').perf_counter_ns()"
    assert kernel.load(code) < kernel.load(code)


def test_a_callable_value_made_from_this_calls_request_is_made_anew(kernel: Kernel) -> None:
    for code in ("pipe().const(request)", "pipe().const([request for _ in 'a'])", "const(state)"):
        assert kernel.load(code) is not kernel.load(code)
    for code in ("pipe().f(lambda: request)", "f(lambda: [state for _ in 'a'])"):
        assert kernel.load(code) is kernel.load(code)


def test_an_expression_that_raises_is_not_kept(kernel: Kernel) -> None:
    code = "(lambda seen: lambda: seen)(__import__('sys').owt_test_value)"
    with pytest.raises(AttributeError):
        kernel.load(code)
    assert kernel.program(code).name not in sys.modules
    sys.owt_test_value = 7  # type: ignore[attr-defined]
    try:
        assert kernel.load(code)() == 7
    finally:
        del sys.owt_test_value  # type: ignore[attr-defined]


def test_threads_make_one_callable_value_between_them(kernel: Kernel) -> None:
    code = "(lambda event: (event.wait(0.05), lambda: event))(__import__('threading').Event())[1]"
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(kernel.load(code))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(map(id, found))) == 1


def test_old_expressions_make_room_and_leave_the_registries(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._expressions, "_limit", 3)
    codes = [f"lambda: {n}" for n in range(4)]
    kept = [kernel.load(code) for code in codes[:3]]
    programs = [kernel.program(code) for code in codes[:3]]
    assert kernel.load(codes[0]) is kept[0]
    kernel.load(codes[3])
    assert [program.name in sys.modules for program in programs] == [True, False, True]
    assert [program.filename in linecache.cache for program in programs] == [True, False, True]
    assert kernel.load(codes[0]) is kept[0]
    assert kernel.load(codes[1]) is not kept[1]


# Explicit code


def test_the_top_level_runs_once_per_text(kernel: Kernel) -> None:
    code = f"counter = {COUNTER}\nnext(counter)\ndef run(): return next(counter)\ndef again(): return run()"
    assert kernel.load(code)() == 1
    assert kernel.load(code)() == 2
    assert kernel.load(code, "again")() == 3
    assert kernel.load(code + "\n")() == 1


def test_two_functions_of_one_text_share_a_module(kernel: Kernel) -> None:
    code = "def run(): pass\ndef other(): pass"
    assert kernel.load(code).__globals__ is kernel.load(code, "other").__globals__


def test_explicit_code_has_the_injected_names_and_not_the_sessions(kernel: Kernel) -> None:
    kernel.names["mine"] = 1
    assert kernel.load("top = request\ndef run(): return top, pipe")() == ("the request", Pipe)
    with pytest.raises(NameError):
        kernel.load("def run(): return mine")()
    kernel.load("pipe = 3\ndef run(): pass")
    assert kernel.names["pipe"] is Pipe


def test_explicit_code_is_not_main(kernel: Kernel) -> None:
    assert kernel.load("run = int\nif __name__ == '__main__': raise SystemExit") is int


def test_a_module_is_registered_before_its_top_level_runs(kernel: Kernel) -> None:
    run = kernel.load("import sys\nme = sys.modules[__name__]\ndef run(): return me")
    assert run().__dict__ is run.__globals__
    assert run().__name__.startswith("owt_adaptor_")


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


def test_dataclasses_type_hints_and_pickle_work_in_explicit_code(kernel: Kernel) -> None:
    point = kernel.load(DATACLASS)()
    assert typing.get_type_hints(type(point)) == {"x": int, "kind": typing.ClassVar[str]}
    assert pickle.loads(pickle.dumps(point)) == point


def test_getsource_works_and_survives_checkcache(kernel: Kernel) -> None:
    run = kernel.load(DATACLASS)
    expected = "def run():\n    return Point(1)\n"
    assert inspect.getsource(run) == expected
    linecache.checkcache()
    assert inspect.getsource(run) == expected
    assert inspect.getsource(type(run())).startswith("@dataclass\nclass Point:")
    assert inspect.getsource(sys.modules[run.__module__]) == DATACLASS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0c\n", "\n# \u2028 \x1c\n"])
def test_tracebacks_show_the_line_that_raised(kernel: Kernel, end: str) -> None:
    run = kernel.load(f"x = 1{end}def run():{end}    return x / 0  # here{end}")
    linecache.checkcache()
    with pytest.raises(ZeroDivisionError) as caught:
        run()
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == "return x / 0  # here"


def test_tracebacks_of_an_expression_point_at_its_columns(kernel: Kernel) -> None:
    run = kernel.load("lambda: 1 / 0\n")
    chain = kernel.load("  (lambda: 1 / 0\n  )\n  .__call__")
    for function in (run, chain):
        with pytest.raises(ZeroDivisionError) as caught:
            function()
        frame = traceback.extract_tb(caught.value.__traceback__)[-1]
        line = linecache.getline(frame.filename, frame.lineno or 0)
        assert line[frame.colno : frame.end_colno] == "1 / 0"


def test_a_top_level_that_raises_leaves_no_module_and_runs_again(kernel: Kernel) -> None:
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


def test_the_lines_of_code_that_failed_make_room_for_others(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._others, "_limit", 2)
    code = "def run(): pass\n1 / 0"
    filename = kernel.program(code).filename
    with pytest.raises(ZeroDivisionError):
        kernel.load(code)
    assert filename in linecache.cache
    kernel.prepare("x = 1")
    kernel.prepare("x = 2")
    assert filename not in linecache.cache


def test_explicit_code_that_was_loaded_is_never_crowded_out(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._others, "_limit", 2)
    run = kernel.load("def run(): pass")
    for n in range(5):
        kernel.load(f"def run(): return {n}")
        kernel.prepare(f"x = {n}")
    assert kernel.load("def run(): pass") is run


def test_an_interrupted_top_level_leaves_no_module(kernel: Kernel) -> None:
    code = "def run(): pass\nraise KeyboardInterrupt"
    with pytest.raises(KeyboardInterrupt):
        kernel.load(code)
    assert kernel.program(code).name not in sys.modules


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "if False:\n    run = 1\ndef other(): pass",
            "ran without binding it; got 'run'. The code defines: other",
        ),
        ("run = 1\nx = len", r"binds it to 1, which cannot be called; got 'run'. The code defines: x"),
        ("run = 1", "The code defines no functions"),
    ],
)
def test_a_function_that_is_not_there_after_all_is_a_bad_fn_name(
    kernel: Kernel, code: str, message: str
) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        kernel.load(code)
    assert caught.value.field == "fn_name"
    assert caught.value.status == 400


def test_a_session_function_is_found_after_a_global_was_rebound(kernel: Kernel) -> None:
    code = "def run():\n    global run\n    run = len\n    return 'first'"
    assert kernel.load(code)() == "first"
    assert kernel.load(code) is len


def test_forgotten_code_is_loaded_again(kernel: Kernel) -> None:
    for code in (f"counter = {COUNTER}\ndef run(): return next(counter)", f"{COUNTER}.__next__"):
        assert [kernel.load(code)(), kernel.load(code)()] == [0, 1]
        old = kernel.program(code)
        kernel.sources.forget(code)
        assert old.name not in sys.modules
        assert old.filename not in linecache.cache
        assert kernel.load(code)() == 0
    kernel.sources.forget("never seen")


def test_a_module_that_replaced_a_forgotten_one_stays_registered(kernel: Kernel) -> None:
    code = "def run(): pass"
    kernel.load(code)
    old = kernel.program(code)
    kernel.sources.forget(code)
    new = kernel.load(code)
    old.drop()
    assert sys.modules[old.name].__dict__ is new.__globals__


def test_explicit_code_with_magics_has_the_shell() -> None:
    class Shell:
        def getoutput(self, command: str) -> str:
            return f"output of {command}"

    kernel = Kernel(get_ipython=Shell)
    assert kernel.load("files = !ls -l\ndef run(): return files")() == "output of ls -l"


def test_threads_run_one_top_level_between_them(kernel: Kernel) -> None:
    code = "import sys, threading\nthreading.Event().wait(0.05)\nmarker = object()\ndef run(): return marker"
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(kernel.load(code)())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(map(id, found))) == 1


# Cells


def test_a_cell_runs_in_the_session_and_answers_its_last_expression(kernel: Kernel) -> None:
    assert kernel.cell("x = 41") is None
    assert kernel.cell("y = x\ny + 1") == 42
    assert kernel.cell("") is None
    assert kernel.cell("pass") is None
    assert kernel.cell("1;2") == 2
    assert kernel.names["x"] == 41


def test_a_cell_has_the_injected_names_even_after_a_reset(kernel: Kernel) -> None:
    kernel.names.clear()
    assert kernel.cell("x = 1\nrequest") == "the request"


def test_a_cell_with_magics_calls_the_shell() -> None:
    class Shell:
        def system(self, command: str) -> None:
            ran.append(command)

    ran: list[str] = []
    kernel = Kernel(get_ipython=Shell)
    kernel.cell("!ls -l\nx = 1")
    assert ran == ["ls -l"]
    assert kernel.names["x"] == 1


@pytest.mark.parametrize(
    ("code", "awaits"),
    [
        ("import asyncio\nawait asyncio.sleep(0)\nx = 1\nx + 1", True),
        ("import asyncio\nx = 1\n(await asyncio.sleep(0), x + 1)[1]", True),
        ("async def two(): return 2\nawait two()", True),
        ("x = 2\nx", False),
    ],
)
def test_a_cell_may_await_at_its_top_level(kernel: Kernel, code: str, awaits: bool) -> None:
    cell = kernel.prepare(code)
    assert isinstance(cell, Cell)
    assert cell.awaits is awaits
    assert asyncio.run(kernel.sources.run_cell_async(cell)) == 2


def test_a_cell_that_ends_in_a_statement_answers_none_when_awaited(kernel: Kernel) -> None:
    cell = kernel.prepare("import asyncio\nx = await asyncio.sleep(0, 7)")
    assert isinstance(cell, Cell)
    assert asyncio.run(kernel.sources.run_cell_async(cell)) is None
    assert kernel.names["x"] == 7


def test_future_statements_hold_in_a_cell(kernel: Kernel) -> None:
    kernel.cell("from __future__ import annotations\ndef f(x: unknown): pass\nf")
    assert kernel.names["f"].__annotations__ == {"x": "unknown"}
    with pytest.raises(NameError):
        kernel.cell("x = 1\ndef f(x: unknown): pass")


def test_a_module_does_not_inherit_our_future_statements(kernel: Kernel) -> None:
    assert kernel.load("def run(x: int): pass").__annotations__ == {"x": int}


def test_tracebacks_and_getsource_show_a_cells_lines(kernel: Kernel) -> None:
    kernel.cell("x = 0\ndef divide(): return 1 / x\n")
    linecache.checkcache()
    assert inspect.getsource(kernel.names["divide"]) == "def divide(): return 1 / x\n"
    with pytest.raises(ZeroDivisionError) as caught:
        kernel.cell("y = 1\ndivide()")
    lines = [frame.line for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert lines[-2:] == ["divide()", "def divide(): return 1 / x"]


def test_lines_of_a_cell_stay_for_the_functions_that_it_defined(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._others, "_limit", 1)
    plain = kernel.prepare("x = 0")
    assert isinstance(plain, Cell)
    kernel.cell("y = 0\ndef f(): pass")
    kernel.cell("z = 0")
    assert plain.filename not in linecache.cache
    assert inspect.getsource(kernel.names["f"]) == "def f(): pass\n"


# Functions of the session


def test_a_function_of_the_session_is_found_by_name(kernel: Kernel) -> None:
    kernel.cell("x = 1\ndef mine(): return x")
    assert kernel.sources.named("mine")() == 1


def test_a_function_that_the_session_lacks_is_404_and_lists_those_there_are(kernel: Kernel) -> None:
    kernel.cell("x = 1\ndef mine(): pass\ndef also(): pass\ndef _hidden(): pass")
    with pytest.raises(
        NoSuchFunction, match=r"no such function; got 'run'\. The session has: also, mine$"
    ) as caught:
        kernel.sources.named("run")
    assert caught.value.status == 404
    assert caught.value.field == "fn_name"
    with pytest.raises(NoSuchFunction, match="binds it to 1, which cannot be called"):
        kernel.sources.named("x")
    with pytest.raises(NoSuchFunction, match="The session has no functions"):
        Kernel().sources.named("run")
    with pytest.raises(NoSuchFunction, match="and 5 more"):
        Kernel(**{f"f{n}": len for n in range(25)}).sources.named("run")


# Text that cannot be read


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        (
            "x = 1\ny = 2\nz = foo(1,\n",
            3,
            "code: line 3: '(' was never closed\n    z = foo(1,\n           ^",
        ),
        (
            "def run():\n    return 1 +\n",
            2,
            "code: line 2: invalid syntax\n    return 1 +\n              ^",
        ),
        (
            "pipe()\n  .f(lambda x: x +)\n  .last()",
            2,
            "code: line 2: invalid syntax\n    .f(lambda x: x +)\n                    ^",
        ),
        ("pipe()\n  .f(g\n", 2, "code: line 2: '(' was never closed\n    .f(g\n      ^"),
        ("pipe()\n  .f(g)]\n", 2, "code: line 2: unmatched ']'\n    .f(g)]\n         ^"),
        ("pipe(\n  .f(g)\n", 1, "code: line 1: '(' was never closed\n    pipe(\n        ^"),
        ("pipe()\n  .f(g)) + (2", 2, "code: line 2: unmatched ')'\n    .f(g)) + (2\n         ^"),
        ("pipe()\n  .f(g) +", 2, "code: line 2: invalid syntax\n    .f(g) +\n           ^"),
        ("  f(g(x)", 1, "code: line 1: '(' was never closed\n    f(g(x)\n     ^"),
        ("1)\n#", 1, "code: line 1: unmatched ')'\n    1)\n     ^"),
        ("return 5", 1, "code: line 1: 'return' outside function"),
        ("yield 5", 1, "code: line 1: 'yield' outside function"),
        ("x = 1\nbreak", 2, "code: line 2: 'break' outside loop"),
        ("from __future__ import braces", 1, "code: line 1: not a chance"),
        ("x = 1\ndef run(): return await f()", 2, "code: line 2: 'await' outside async function"),
        ("x = await f()\ndef run(): pass", 1, "code: line 1: 'await' outside function"),
        ("x = 1\ny = '\n", 2, "code: line 2: unterminated string literal"),
        ("x = 1\n\n\ndef", 4, "code: line 4: invalid syntax"),
        ("if x:\n", 1, "code: line 1: expected an indented block after 'if' statement on line 1"),
        ("x = 1\n  y = 2", 2, "code: line 2: unexpected indent"),
        ("a b c", 1, "code: line 1: invalid syntax"),
        ("%time\nx = = 1", 2, "code: line 2: invalid syntax\n    x = = 1\n        ^"),
        ("  def run():\n    x = = 1", 2, "code: line 2: invalid syntax\n    x = = 1"),
        ("x = 1\ny = '\0'", 2, "code: line 2: the code holds a NUL character"),
        ("x = 1\ny = '\ud800'", 2, r"code: line 2: the code holds '\ud800', half of a surrogate pair"),
        ("x = " + "9" * 5000, 1, "code: line 1: Exceeds the limit"),
    ],
)
def test_a_syntax_fault_names_its_line_and_shows_it(
    kernel: Kernel, code: str, line: int, message: str
) -> None:
    with pytest.raises(SyntaxFault) as caught:
        kernel.prepare(code)
    assert caught.value.line == line
    assert str(caught.value).startswith(message)
    assert caught.value.status == 400


def test_a_long_line_is_cut_around_its_fault(kernel: Kernel) -> None:
    with pytest.raises(SyntaxFault) as caught:
        kernel.prepare(f"x = [{'1, ' * 200}2 3, {'4, ' * 200}]")
    _, shown, caret = str(caught.value).split("\n")
    assert len(shown) <= 84
    assert shown[caret.index("^")] == "2"


@pytest.mark.parametrize(
    "code",
    [
        "-" * 50_000 + "1",
        "a" + ".a" * 50_000,
        "1+" * 50_000 + "1",
        "lambda:" * 50_000 + "1",
        "(" * 50_000,
        "(" * 50_000 + ")" * 50_000,
        "f" + "()" * 50_000,
        "[" * 1_000 + "]" * 1_000,
        "if 1: pass\n" + "elif 1: pass\n" * 20_000,
        "".join(" " * n + "if 1:\n" for n in range(99)) + " " * 99 + "pass",
        "".join(" " * n + "if 1:\n" for n in range(200)) + " " * 200 + "pass",
    ],
    ids=range(11),
)
def test_deep_nesting_is_a_syntax_fault_or_understood(kernel: Kernel, code: str) -> None:
    prepared = kernel.outcome(code)
    assert isinstance(prepared, Cell) or "nested" in str(prepared) or "too many" in str(prepared)


def test_a_transform_that_fails_leaves_the_syntax_fault_as_it_is() -> None:
    def broken(code: str) -> str:
        raise IndexError("an extension's own transform")

    sources = Sources({}, {}, frozenset(), broken)
    with pytest.raises(SyntaxFault, match="line 1: invalid syntax"):
        sources.prepare("a b", "run")


def test_code_that_cannot_be_read_leaves_no_lines_behind(kernel: Kernel) -> None:
    before = set(linecache.cache)
    for code in ("return 5", "x = 1\nreturn 5", "a b", "def run(): pass\nreturn 5", "(yield)"):
        with pytest.raises(SyntaxFault):
            kernel.prepare(code)
    assert set(linecache.cache) == before


PIECES = (
    "run|path|x|1|0x|_|é|(|)|[|]|{|}|.|,|:|=|:=|;|**|*|@|->|#|\\|'|\"|'''|f'|%|%%|!|?|>>> |\n|\n  |    |\t|\r"
    "|def |class |lambda |if |else |for |in |with |match |case |try:|except |import |from |return |yield "
    "|await |async |\0|\x0c|\u2028|\ufeff|\ud800"
)
FRAGMENTS = st.sampled_from(PIECES.split("|"))


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(FRAGMENTS, max_size=25).map("".join), st.text(max_size=60)))
def test_any_text_is_prepared_or_a_syntax_fault(code: str) -> None:
    kernel = Kernel()
    outcome = kernel.outcome(code)
    if isinstance(outcome, SyntaxFault):
        assert outcome.line is None or 1 <= outcome.line <= max(1, len(source._lines(code)))
        assert str(outcome).startswith("code: ")
    else:
        assert kernel.prepare(code) is outcome
    kernel.sources.forget(code)


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_an_expression_in_parentheses_of_its_own_is_the_same_expression(code: str) -> None:
    try:
        tree = parse_expression(code)
    except source.UNREADABLE:
        return
    assert ast.dump(parse_expression(f"({code}\n)")) == ast.dump(tree)
    # Only Python's own rules may refuse the tree; positions that do not fit would be a ValueError.
    with suppress(SyntaxError):
        compile(ast.Expression(tree), "x", "eval")
