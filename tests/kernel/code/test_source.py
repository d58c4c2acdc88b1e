"""owt.kernel.code.source: kinds of code, their loading, and the adaptors that owt ships."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import linecache
import pkgutil
import sys
import traceback
import weakref
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_sources import COUNTER, FRAGMENTS, Pipe, SessionSources

from owt import lib
from owt.errors import BadRequest, NoSuchFunction, SyntaxFault
from owt.kernel.code import source
from owt.kernel.code.compiled import CompiledCell, ExplicitCode
from owt.kernel.code.source import library_function
from owt.lib import sentences, speak

# Kinds of text


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
def test_text_that_binds_the_name_at_its_top_level_is_explicit(kernel: SessionSources, code: str) -> None:
    assert kernel.kind(code) == "ExplicitCode"


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
def test_text_that_is_neither_explicit_nor_an_expression_is_a_cell(kernel: SessionSources, code: str) -> None:
    assert kernel.kind(code) == "CompiledCell"


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
def test_text_that_is_one_expression_in_parentheses_is_an_expression(
    kernel: SessionSources, code: str
) -> None:
    assert kernel.kind(code) == "CompiledExpression"


def test_fn_name_decides_whether_a_text_is_explicit(kernel: SessionSources) -> None:
    code = "def run(): return 1"
    assert kernel.kind(code) == "ExplicitCode"
    assert kernel.kind(code, "run") == "ExplicitCode"
    assert kernel.kind("def main(): return 1", "main") == "ExplicitCode"
    assert kernel.kind("def main(): return 1") == "CompiledCell"
    assert kernel.kind("(main := len)") == "CompiledExpression"
    assert kernel.kind("(main := len)", "main") == "ExplicitCode"
    assert kernel.load("(main := len)", "main") is len


@pytest.mark.parametrize(
    ("code", "fn_name", "hint"),
    [
        ("def run(): pass", "main", "The code defines: run"),
        ("def other(): pass\nclass Greeter: pass\nasync def greet(): x", "great", "greet, Greeter, other"),
        ("def run():\n    def main(): pass", "main", "The code defines: run"),
        ("if True:\n    def inner(): pass", "main", "The code defines: inner"),
        ("def main(): pass", "run", "The code defines: main"),
        ("1 + 1", "run", "The code defines no functions; leave fn_name out"),
        ("lambda: 1", "main", "The code defines no functions; leave fn_name out"),
        ("%time x = 1", "main", "The code defines no functions; leave fn_name out"),
    ],
)
def test_code_that_does_not_define_the_given_fn_name_is_refused(
    kernel: SessionSources, code: str, fn_name: str, hint: str
) -> None:
    for _ in range(2):
        message = f"fn_name: the code does not define it; got '{fn_name}'.*{hint}"
        with pytest.raises(BadRequest, match=message):
            kernel.prepare(code, fn_name)
        kernel.prepare(code)


def test_compiling_runs_nothing_of_the_text(kernel: SessionSources) -> None:
    kernel.names["ran"] = []
    for code in (
        "ran.append(1)\ndef run(): pass",
        "ran.append(1)",
        "ran.append(1); x = 1",
        "%time ran.append(1)",
    ):
        kernel.prepare(code)
    assert kernel.names["ran"] == []


def test_a_compiled_text_is_not_parsed_again(kernel: SessionSources, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["def run(): pass", "1 + 1", "x = 1"]
    first = [kernel.prepare(text) for text in texts]
    monkeypatch.setattr(source, "parse_text", None)
    assert all(kernel.prepare(text) == prepared for text, prepared in zip(texts, first, strict=True))
    kernel.load(texts[0])
    assert kernel.prepare(texts[0]) == first[0]


# Terse expressions


@pytest.mark.parametrize(
    "code",
    ["path().last()", "path()\n  .last()", "  path().last()", "(path().last())", "path().last() # end"],
)
def test_a_leftmost_call_of_a_pipe_method_is_read_after_pipe(kernel: SessionSources, code: str) -> None:
    assert kernel.load(code)() == ("path", "last")


def test_a_terse_chain_may_have_subscripts_and_attributes(kernel: SessionSources) -> None:
    assert kernel.load("path().last().steps[0].upper()") == "PATH"


@pytest.mark.parametrize("code", ["path", "path.last()", "path + path()", "unknown().last()", "map().last()"])
def test_other_expressions_are_not_terse(kernel: SessionSources, code: str) -> None:
    with pytest.raises((NameError, TypeError, AttributeError)):
        kernel.load(code)


def test_a_name_of_the_session_is_not_terse_while_the_session_has_it(kernel: SessionSources) -> None:
    code = "path().upper()"
    assert kernel.load("path().last()")() == ("path", "last")
    kernel.names["path"] = lambda: "mine"
    assert kernel.load(code) == "MINE"
    del kernel.names["path"]
    assert kernel.load(code)() == ("path", "upper")


def test_a_terse_expression_sees_the_sessions_functions(kernel: SessionSources) -> None:
    kernel.names["double"] = lambda x: 2 * x
    assert kernel.load("const(double(4))")() == ("const", 8)


def test_a_terse_expression_works_in_a_session_that_was_reset(kernel: SessionSources) -> None:
    kernel.names.clear()
    kernel.names["x"] = 4
    assert kernel.load("const(x)")() == ("const", 4)


# Expressions and the session


def test_an_expression_reads_the_sessions_names_at_each_call(kernel: SessionSources) -> None:
    kernel.cell("x = 41")
    assert kernel.load("x + 1") == 42
    kernel.cell("x = 50")
    assert kernel.load("x + 1") == 51


def test_an_expression_uses_a_redefined_session_function_at_once(kernel: SessionSources) -> None:
    kernel.cell("def double(x): return 2 * x")
    assert kernel.load("lambda x: double(x)")(x=2) == 4
    kernel.cell("def double(x): return 3 * x")
    assert kernel.load("lambda x: double(x)")(x=2) == 6


def test_an_expression_sees_a_name_that_the_session_binds_later(kernel: SessionSources) -> None:
    with pytest.raises(NameError):
        kernel.load("later + 1")
    kernel.names["later"] = 1
    assert kernel.load("later + 1") == 2


def test_a_name_that_the_expression_binds_is_not_the_sessions(kernel: SessionSources) -> None:
    kernel.names["x"] = "the session's"
    assert "__main__" not in kernel.load("lambda x: __name__")(x=1)
    assert kernel.load("[x for x in (1, 2)]") == [1, 2]
    assert kernel.load("(x := 5) + x") == 10
    assert kernel.names["x"] == "the session's"


def test_a_name_both_bound_inside_and_free_is_the_sessions(kernel: SessionSources) -> None:
    kernel.names["x"] = [1, 2]
    assert kernel.load("[x + 1 for x in x]") == [2, 3]
    kernel.names["n"] = 41
    assert kernel.load("(n := n + 1)") == 42
    assert kernel.names["n"] == 42


def test_a_builtin_or_injected_name_that_the_session_redefines_is_the_sessions(
    kernel: SessionSources
) -> None:
    assert kernel.load("max(1, 2)") == 2
    kernel.names["max"] = 41
    assert kernel.load("max + 1") == 42
    kernel.names["request"] = "mine"
    assert kernel.load("request.upper()") == "MINE"


def test_names_of_a_new_ipython_namespace_count_as_builtins() -> None:
    kernel = SessionSources(open=lambda name: f"opened {name}")
    code = "lambda: (open, __name__)"
    assert kernel.load(code)()[1] != "__main__"
    kernel.cell("def open(name): pass")
    assert kernel.load(code)() == (kernel.names["open"], "__main__")


def test_a_callable_value_is_evaluated_once(kernel: SessionSources) -> None:
    code = f"(lambda counter: lambda: next(counter))({COUNTER})"
    assert [kernel.load(code)() for _ in range(3)] == [0, 1, 2]
    assert kernel.load(code) is kernel.load(code)


def test_a_value_that_is_not_callable_is_evaluated_each_time(kernel: SessionSources) -> None:
    code = "__import__('time').perf_counter_ns()"
    assert kernel.load(code) < kernel.load(code)


def test_a_callable_value_that_uses_the_request_is_evaluated_each_time(kernel: SessionSources) -> None:
    for code in ("pipe().const(request)", "pipe().const([request for _ in 'a'])", "const(state)"):
        assert kernel.load(code) is not kernel.load(code)
    for code in ("pipe().f(lambda: request)", "f(lambda: [state for _ in 'a'])"):
        assert kernel.load(code) is kernel.load(code)


# Explicit code


def test_the_top_level_runs_once_per_text(kernel: SessionSources) -> None:
    code = f"counter = {COUNTER}\nnext(counter)\ndef run(): return next(counter)\ndef again(): return run()"
    assert kernel.load(code)() == 1
    assert kernel.load(code)() == 2
    assert kernel.load(code, "again")() == 3
    assert kernel.load(code + "\n")() == 1


def test_two_functions_of_one_text_share_a_module(kernel: SessionSources) -> None:
    code = "def run(): pass\ndef other(): pass"
    assert kernel.load(code).__globals__ is kernel.load(code, "other").__globals__


def test_explicit_code_has_the_injected_names_and_not_the_sessions(kernel: SessionSources) -> None:
    kernel.names["mine"] = 1
    assert kernel.load("top = request\ndef run(): return top, pipe")() == ("the request", Pipe)
    with pytest.raises(NameError):
        kernel.load("def run(): return mine")()
    kernel.load("pipe = 3\ndef run(): pass")
    assert kernel.names["pipe"] is Pipe


def test_explicit_code_is_not_the_main_module(kernel: SessionSources) -> None:
    assert kernel.load("run = int\nif __name__ == '__main__': raise SystemExit") is int


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
def test_a_function_that_explicit_code_did_not_bind_is_a_bad_fn_name(
    kernel: SessionSources, code: str, message: str
) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        kernel.load(code)
    assert caught.value.field == "fn_name"
    assert caught.value.status == 400


def test_a_session_function_is_found_after_a_global_was_rebound(kernel: SessionSources) -> None:
    code = "def run():\n    global run\n    run = len\n    return 'first'"
    assert kernel.load(code)() == "first"
    assert kernel.load(code) is len


def test_forgotten_code_is_loaded_again(kernel: SessionSources) -> None:
    for code in (f"counter = {COUNTER}\ndef run(): return next(counter)", f"{COUNTER}.__next__"):
        assert [kernel.load(code)(), kernel.load(code)()] == [0, 1]
        old = kernel.program(code)
        kernel.sources.forget(code)
        assert old.name not in sys.modules
        assert old.filename not in linecache.cache
        assert kernel.load(code)() == 0
    kernel.sources.forget("never seen")


def test_explicit_code_with_magics_has_the_shell() -> None:
    class Shell:
        def getoutput(self, command: str) -> str:
            return f"output of {command}"

    kernel = SessionSources(get_ipython=Shell)
    assert kernel.load("files = !ls -l\ndef run(): return files")() == "output of ls -l"


# Cells


def test_a_cell_runs_in_the_session_and_answers_its_last_expression(kernel: SessionSources) -> None:
    assert kernel.cell("x = 41") is None
    assert kernel.cell("y = x\ny + 1") == 42
    assert kernel.cell("") is None
    assert kernel.cell("pass") is None
    assert kernel.cell("1;2") == 2
    assert kernel.names["x"] == 41


def test_a_cell_has_the_injected_names_even_after_a_reset(kernel: SessionSources) -> None:
    kernel.names.clear()
    assert kernel.cell("x = 1\nrequest") == "the request"


def test_a_cell_with_magics_calls_the_shell() -> None:
    class Shell:
        def system(self, command: str) -> None:
            ran.append(command)

    ran: list[str] = []
    kernel = SessionSources(get_ipython=Shell)
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
def test_a_cell_may_await_at_its_top_level(kernel: SessionSources, code: str, awaits: bool) -> None:
    cell = kernel.prepare(code)
    assert isinstance(cell, CompiledCell)
    assert cell.awaits is awaits
    assert asyncio.run(kernel.sources.run_cell_async(cell)) == 2


def test_a_cell_that_ends_in_a_statement_answers_none_when_awaited(kernel: SessionSources) -> None:
    cell = kernel.prepare("import asyncio\nx = await asyncio.sleep(0, 7)")
    assert isinstance(cell, CompiledCell)
    assert asyncio.run(kernel.sources.run_cell_async(cell)) is None
    assert kernel.names["x"] == 7


def test_future_statements_apply_to_a_cell(kernel: SessionSources) -> None:
    kernel.cell("from __future__ import annotations\ndef f(x: unknown): pass\nf")
    assert kernel.names["f"].__annotations__ == {"x": "unknown"}
    with pytest.raises(NameError):
        kernel.cell("x = 1\ndef f(x: unknown): pass\nf.__annotations__")


def test_tracebacks_and_getsource_show_a_cells_lines(kernel: SessionSources) -> None:
    kernel.cell("x = 0\ndef divide(): return 1 / x\n")
    linecache.checkcache()
    assert inspect.getsource(kernel.names["divide"]) == "def divide(): return 1 / x\n"
    with pytest.raises(ZeroDivisionError) as caught:
        kernel.cell("y = 1\ndivide()")
    lines = [frame.line for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert lines[-2:] == ["divide()", "def divide(): return 1 / x"]


# Functions of the session


def test_a_function_of_the_session_is_found_by_name(kernel: SessionSources) -> None:
    kernel.cell("x = 1\ndef mine(): return x")
    assert kernel.sources.session_function("mine")() == 1


def test_a_missing_session_function_is_404_and_lists_the_existing_ones(kernel: SessionSources) -> None:
    kernel.cell("x = 1\ndef mine(): pass\ndef also(): pass\ndef _hidden(): pass")
    with pytest.raises(
        NoSuchFunction, match=r"no such function; got 'run'\. The session has: also, mine$"
    ) as caught:
        kernel.sources.session_function("run")
    assert caught.value.status == 404
    assert caught.value.field == "fn_name"
    with pytest.raises(NoSuchFunction, match="binds it to 1, which cannot be called"):
        kernel.sources.session_function("x")
    with pytest.raises(NoSuchFunction, match="The session has no functions"):
        SessionSources().sources.session_function("run")
    with pytest.raises(NoSuchFunction, match="and 5 more"):
        SessionSources(**{f"f{n}": len for n in range(25)}).sources.session_function("run")


# Text that cannot be parsed


def test_unreadable_code_leaves_no_lines_in_linecache(kernel: SessionSources) -> None:
    before = set(linecache.cache)
    for code in ("return 5", "x = 1\nreturn 5", "a b", "def run(): pass\nreturn 5", "(yield)"):
        with pytest.raises(SyntaxFault):
            kernel.prepare(code)
    assert set(linecache.cache) == before


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(FRAGMENTS, max_size=25).map("".join), st.text(max_size=60)))
def test_any_text_is_compiled_once_or_raises_a_syntax_fault(code: str) -> None:
    kernel = SessionSources()
    with suppress(SyntaxFault):
        prepared = kernel.prepare(code)
        assert kernel.prepare(code) == prepared
    kernel.sources.forget(code)


def test_library_function_returns_the_function_of_the_module() -> None:
    assert library_function("speak", "run") is speak.run
    assert library_function("sentences", "split") is sentences.split


def test_an_unknown_adaptor_is_a_bad_request_that_lists_the_known_ones() -> None:
    with pytest.raises(BadRequest, match=r"no such adaptor; got 'os'\. There are: .*speak") as caught:
        library_function("os", "run")
    assert caught.value.field == "adaptor"
    # A module without `run` is no adaptor.
    assert "encoding" not in str(caught.value)


def test_the_list_of_adaptors_is_the_modules_with_a_function_run() -> None:
    names = sorted(module.name for module in pkgutil.iter_modules(lib.__path__))
    with_run = [name for name in names if hasattr(importlib.import_module(f"owt.lib.{name}"), "run")]
    assert tuple(with_run) == lib.ADAPTORS


@pytest.mark.parametrize("name", ["..errors", "speak.run", "__init__", "", "Speak"])
def test_an_adaptor_name_cannot_reach_other_modules(name: str) -> None:
    with pytest.raises(BadRequest, match="no such adaptor"):
        library_function(name, "run")


@pytest.mark.parametrize("fn_name", ["missing", "annotations", "__name__"])
def test_a_function_that_the_adaptor_does_not_have_is_a_bad_fn_name(fn_name: str) -> None:
    with pytest.raises(BadRequest, match="the adaptor speak has no such function") as caught:
        library_function("speak", fn_name)
    assert caught.value.field == "fn_name"


# Loaded adaptors

PLACE = ("/", "run")


class Adaptors:
    """Sources, the texts of their active runs, and references to the modules that were loaded."""

    def __init__(self, names: SessionSources) -> None:
        self.names = names
        self.active: set[str] = set()
        names.sources._is_active = self.active.__contains__

    def load(self, text: str, place: tuple[str, str] | None = PLACE) -> weakref.ref[object]:
        """Load an adaptor with this text, and return a reference to its model."""
        compiled = self.names.prepare(self.code(text))
        assert isinstance(compiled, ExplicitCode)
        return weakref.ref(self.names.sources.load(compiled, place).__globals__["model"])

    def is_loaded(self, text: str) -> bool:
        return self.code(text) in self.names.sources._loaded

    @staticmethod
    def code(text: str) -> str:
        return f"class Model: pass\nmodel = Model()\ndef run(): return model, {text!r}"


@pytest.fixture
def adaptors(kernel: SessionSources) -> Adaptors:
    return Adaptors(kernel)


def test_an_edited_adaptor_replaces_the_earlier_one(
    adaptors: Adaptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "COLLECT_AFTER", -(2**60))
    first = adaptors.load("first")
    adaptors.load("second")
    assert not adaptors.is_loaded("first")
    assert first() is None


def test_adaptors_of_other_paths_and_functions_stay(adaptors: Adaptors) -> None:
    adaptors.load("first")
    adaptors.load("path", ("/other", "run"))
    adaptors.load("function", ("/", "other"))
    adaptors.load("none", None)
    assert all(map(adaptors.is_loaded, ("first", "path", "function", "none")))


def test_an_adaptor_that_runs_is_not_replaced(adaptors: Adaptors) -> None:
    adaptors.active.add(adaptors.code("first"))
    adaptors.load("first")
    adaptors.load("second")
    assert adaptors.is_loaded("first")
    adaptors.active.clear()
    adaptors.load("third")
    assert not adaptors.is_loaded("first")
    assert not adaptors.is_loaded("second")


def test_two_adaptors_that_alternate_are_both_kept_from_the_second_round_on(adaptors: Adaptors) -> None:
    for text in ("first", "second", "first", "second"):
        adaptors.load(text)
    models = adaptors.load("first"), adaptors.load("second")
    assert models == (adaptors.load("first"), adaptors.load("second"))


def test_the_adaptors_used_last_are_kept_up_to_a_number(adaptors: Adaptors) -> None:
    adaptors.active.add(adaptors.code("running"))
    adaptors.load("running", None)
    adaptors.load("used", None)
    for number in range(source.MAX_ADAPTORS):
        adaptors.load("used", None)
        adaptors.load(str(number), None)
    assert len(adaptors.names.sources._loaded) == source.MAX_ADAPTORS
    assert all(map(adaptors.is_loaded, ("running", "used", "31")))
    assert not adaptors.is_loaded("0")


def test_adaptors_are_kept_up_to_a_size(adaptors: Adaptors, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = itertools.count(step=60)
    monkeypatch.setattr(source, "resident_size", lambda: next(sizes))
    adaptors.names.sources._max_size = 150
    for text in ("first", "second", "third"):
        adaptors.load(text, None)
    assert [adaptors.is_loaded(text) for text in ("first", "second", "third")] == [False, True, True]


def test_a_dropped_adaptor_is_loaded_again(adaptors: Adaptors) -> None:
    adaptors.load("first")
    adaptors.load("second")
    assert adaptors.load("first")() is not None
