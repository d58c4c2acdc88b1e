"""Steps that import functions by name."""

from __future__ import annotations

import functools
import json
import sys
import textwrap
import types

import pytest

from owt.summat import Flow, Step, pipe


@pytest.fixture
def module():
    """Return a function that loads code into a module of its own, as adaptors are."""

    def load(code):
        loaded = types.ModuleType("adaptor")
        exec(textwrap.dedent(code), loaded.__dict__)
        loaded.pipe = pipe
        return loaded

    return load


def test_later_functions_can_use_the_names(module):
    adaptor = module("root = lambda x: math.sqrt(x)")
    assert pipe().importing("math").kwarg("x").f(adaptor.root)(x=9) == 3


def test_dotted_name_makes_its_first_part_usable(module):
    adaptor = module("def text(x): return xml.dom.minidom.parseString(x).documentElement.tagName")
    assert pipe().importing("xml.dom.minidom").f(adaptor.text)("<a/>") == "a"


def test_value_and_kwargs_stay_unchanged():
    assert pipe().importing("math")(x=1) == {"x": 1}
    assert pipe().importing("math")(5) == 5


def test_names_reach_functions_in_every_step(module):
    adaptor = module(
        """
        def one(x): return operator.add(x, 1)
        def two(a, b): return operator.add(a, b)
        def even(x): return not operator.mod(x, 2)
        def many(x): yield operator.neg(x)
        """
    )
    names = pipe().importing("operator")
    assert names.map(adaptor.one).filter(adaptor.even).foldl1(adaptor.two)([1, 2, 3]) == 6
    fresh = module("def one(x): return operator.add(x, 1)\ndef many(x): yield operator.neg(x)")
    assert names.cond(fresh.one, fresh.one)(1) == 2
    assert list(names.stream(fresh.many)(1)) == [-1]


def test_names_reach_nested_pipes_partials_methods_and_inner_functions(module):
    def fresh():
        return module(
            """
            class Adder:
                def add(self, x): return operator.add(x, 1)
                def __call__(self, x): return operator.add(x, 2)
            def add(y, x): return operator.add(x, y)
            def outer(x): return [(lambda: operator.add(x, each))() for each in (1, 2)]
            """
        )

    names = pipe().importing("operator")
    assert names.f(pipe().f(fresh().Adder().add))(1) == 2
    assert names.map(pipe().identity().f(fresh().Adder()))([1]) == [3]
    assert names.fork(pipe().fork(functools.partial(fresh().add, 5)))(1) == ((6,),)
    assert names.f(fresh().outer)(1) == [2, 3]


def test_decorated_function_gets_the_names_too(module):
    adaptor = module("def plain(x): return operator.neg(x)")

    @functools.wraps(adaptor.plain)
    def decorated(x):
        return adaptor.plain(x)

    assert pipe().importing("operator").f(decorated)(1) == -1


def test_earlier_functions_do_not_get_the_names(module):
    adaptor = module("root = lambda x: math.sqrt(x)")
    with pytest.raises(NameError, match="math"):
        pipe().f(adaptor.root).importing("math")(9)


def test_name_that_the_module_has_keeps_its_meaning(module):
    adaptor = module("math = 'mine'\ndef f(x): return math")
    assert pipe().importing("math").f(adaptor.f)(1) == "mine"


def test_modules_whose_functions_do_not_use_the_name_stay_unchanged(module):
    adaptor = module("def f(x): return x.math\nother = 1")
    before = dict(vars(adaptor))
    pipe().importing("math", "os.path").f(lambda x: types.SimpleNamespace(math=x)).f(adaptor.f)(1)
    assert vars(adaptor) == before
    assert "math" not in vars(json)
    pipe().importing("math").f(json.dumps)(1)
    assert "math" not in vars(json)


def test_names_pass_through_a_custom_step(module):
    class Pass(Step):
        def run(self, flow: Flow) -> Flow:
            return flow.ending(flow.value)

    adaptor = module("root = lambda x: math.sqrt(x)")
    assert pipe().importing("math").to(Pass()).f(adaptor.root)(4) == 2


def test_module_that_does_not_exist_is_an_import_error_with_the_steps_place():
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as caught:
        pipe().importing("no_such_module")()
    assert ">>>.importing('no_such_module')<<<" in caught.value.__notes__[0]


def test_modules_are_imported_when_the_pipe_runs_and_not_before(tmp_path, monkeypatch):
    (tmp_path / "summat_imported_late.py").write_text("x = 5")
    monkeypatch.syspath_prepend(tmp_path)
    late = pipe().importing("summat_imported_late")
    assert "summat_imported_late" not in sys.modules
    late()
    assert sys.modules.pop("summat_imported_late").x == 5
