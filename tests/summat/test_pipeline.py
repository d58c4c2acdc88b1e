"""Construction and calls of pipelines."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest

from owt.summat import METHODS, Flow, MissingKwarg, Pipe, Step, pipe


def test_pipe_is_called_with_kwargs():
    shout = pipe().kwarg("text").f(str.upper)
    assert shout(text="owt") == "OWT"


def test_terse_pipe_runs():
    assert pipe().const(1).f(lambda x: x + 1)() == 2


def test_one_positional_argument_is_the_input_value():
    assert pipe().f(str.upper)("owt") == "OWT"


def test_kwarg_last_is_the_input_value_too():
    assert pipe().f(str.upper)(__last__="owt") == "OWT"


def test_input_value_may_be_none():
    assert pipe().f(repr)(None) == "None"


def test_two_input_values_are_refused():
    with pytest.raises(TypeError, match="one input value, not 2"):
        pipe()(1, 2)
    with pytest.raises(TypeError, match="one input value, not 2"):
        pipe()(1, __last__=2)


def test_empty_pipe_gives_its_input():
    assert pipe()(5) == 5
    assert pipe()(a=1) == {"a": 1}
    assert pipe()() == {}


def test_kwarg_may_have_any_name():
    names = {"self": 1, "value": 2, "kwargs": 3, "cls": 4}
    assert pipe()(**names) == names
    assert pipe().kwarg("self")(**names) == 1


def test_kwargs_as_result_are_a_copy():
    kwargs = {"a": 1}
    pipe()(**kwargs)["b"] = 2
    assert kwargs == {"a": 1}


def test_method_gives_a_new_pipe_and_leaves_the_old_one():
    first = pipe().kwarg("x")
    second = first.f(str)
    assert first == pipe().kwarg("x")
    assert second != first


def test_pipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        pipe().steps = ()


def test_equal_steps_make_equal_pipes_with_equal_hashes():
    def build():
        return pipe().kwargs(a=1).kwarg("a").f(str).fork(str.upper, pipe().ix(0)).get("k", 3)

    assert build() == build()
    assert hash(build()) == hash(build())
    assert build() != build().last()
    assert pipe().kwarg("a") != pipe().name("a")


def test_pipe_can_be_pickled_and_copied():
    original = pipe().kwarg("x").cast(int).fork(str, pipe().const(2))
    assert pickle.loads(pickle.dumps(original)) == original
    assert copy.deepcopy(original) == original


@pytest.mark.parametrize(
    ("built", "text"),
    [
        (pipe(), "pipe()"),
        (pipe(dict), "pipe(dict)"),
        (pipe(dict).kwarg("a"), "pipe(dict).kwarg('a')"),
        (pipe().kwarg("a").to(pipe(dict)), "pipe().kwarg('a').to(pipe(dict))"),
        (pipe().kwarg("text").f(str.upper).last(), "pipe().kwarg('text').f(<function upper>).last()"),
        (pipe().kwargs(a=1, b="x"), "pipe().kwargs(a=1, b='x')"),
        (pipe().f(lambda x: x), "pipe().f(<lambda>)"),
        (pipe().cast(int).const(None), "pipe().cast(int).const(None)"),
        (pipe().get("k"), "pipe().get('k')"),
        (pipe().get("k", 0), "pipe().get('k', default=0)"),
        (pipe().shell().shell(timeout=2), "pipe().shell().shell(timeout=2)"),
        (pipe().text().text("utf-8").text("latin-1"), "pipe().text().text().text(encoding='latin-1')"),
        (pipe().importing("os", "json"), "pipe().importing('os', 'json')"),
        (pipe().fork(len, pipe().ix(0)), "pipe().fork(<function len>, pipe().ix(0))"),
        (pipe().cond(pipe(), str.upper), "pipe().cond(pipe(), <function upper>)"),
        (pipe().foldl(max, 0).sse().done(), "pipe().foldl(<function max>, 0).sse()"),
    ],
)
def test_repr_is_the_source_text(built, text):
    assert repr(built) == text


def test_long_constant_is_shortened_in_the_repr():
    assert len(repr(pipe().const("x" * 10_000))) < 100


def test_done_returns_a_callable():
    assert pipe().const(3).done()() == 3


def test_method_to_adds_the_steps_of_a_pipe():
    assert pipe().kwarg("x").to(pipe().f(str).last()) == pipe().kwarg("x").f(str).last()


def test_method_to_adds_a_custom_step():
    @dataclasses.dataclass(frozen=True)
    class Add(Step):
        amount: int

        def run(self, flow: Flow) -> Flow:
            return flow.giving(flow.needed(self) + self.amount)

    adding = pipe().kwarg("x").to(Add(2)).name("y")
    assert adding(x=1) == {"x": 1, "y": 3}
    assert adding == pipe().kwarg("x").to(Add(2)).name("y")
    assert "to(" in repr(adding)


def test_custom_step_may_be_async():
    class Wait(Step):
        async def run(self, flow: Flow) -> Flow:
            await asyncio.sleep(0)
            return flow.ending(flow.value + 1)

    assert asyncio.run(pipe().to(Wait()).f(str)(1)) == "2"


def test_step_that_returns_no_flow_is_an_error_that_names_its_class():
    class Wrong(Step):
        def run(self, flow: Flow) -> Flow:
            return 5

    with pytest.raises(TypeError, match="Wrong returned int"):
        pipe().to(Wrong())()


def test_method_to_refuses_objects_that_are_no_step():
    class Mine(Step):
        def run(self, flow: Flow) -> Flow:
            return flow

    with pytest.raises(TypeError, match=r"\.f\(fn\)"):
        pipe().to(str.upper)
    with pytest.raises(TypeError, match="instance"):
        pipe().to(Mine)


@pytest.mark.parametrize("method", ["f", "exec", "map", "filter", "foldl1", "cast", "stream", "fork"])
def test_object_that_cannot_be_called_is_refused_when_the_pipe_is_built(method):
    with pytest.raises(TypeError, match=f"{method} takes a function or a pipe, not 3"):
        getattr(pipe(), method)(3)


@pytest.mark.parametrize("method", ["kwarg", "name", "header", "importing", "installing"])
def test_name_that_is_no_text_is_refused_when_the_pipe_is_built(method):
    with pytest.raises(TypeError, match=f"{method} takes a name as str, not 3"):
        getattr(pipe(), method)(3)


def test_invalid_index_is_refused_when_the_pipe_is_built():
    with pytest.raises(TypeError, match=r"\.get\(key\)"):
        pipe().ix("a")


def test_methods_are_the_public_ones_that_give_a_pipe():
    table = """input kwargs kwarg name path query json data header files f exec const identity clear
        cast map filter foldl foldl1 ix get last cond fork open bytes text shell importing installing
        stream sse to done"""
    assert frozenset(table.split()) == METHODS


def test_every_public_method_has_a_docstring():
    for name in METHODS:
        assert inspect.getdoc(getattr(Pipe, name))


def test_class_of_a_pipe_gets_the_kwargs_and_its_fields_become_kwargs():
    @dataclasses.dataclass
    class Args:
        text: str
        times: int = 2

    assert pipe(Args).f(lambda args: args.text * args.times)(text="a", other=1) == "aa"
    assert pipe(Args).kwarg("times")(text="a") == 2
    assert pipe(Args).input().kwarg("other")(text="a", other=1) == 1


def test_function_of_a_pipe_may_return_kwargs():
    doubled = pipe(lambda x: {"x": x * 2}).f(lambda x: x + 1)
    assert doubled(x=5) == 11


def test_class_of_a_pipe_may_convert_the_input_value():
    assert pipe(int)("3") == 3


def test_missing_argument_of_the_class_of_a_pipe_is_named():
    def needs(text):
        return {"text": text}

    with pytest.raises(TypeError, match="'text'"):
        pipe(needs)(other=1)


def test_pipe_of_plain_and_async_steps_runs_to_its_end():
    words = (
        pipe()
        .kwargs(text="b a c a", least=1)
        .exec(lambda text: None)
        .kwarg("text")
        .f(str.split)
        .map(str.upper)
        .fork(pipe().map(len).foldl(int.__add__, 0), pipe().last(), sorted)
        .name("parts")
        .f(lambda parts: {"sum": parts[0], "last": parts[1], "sorted": parts[2]})
        .fork(pipe().get("sum"), pipe().get("sorted").ix(0), pipe().get("nothing", "?"))
        .cast(list)
    )
    assert words() == [4, "A", "?"]
    assert words(text="zz y") == [3, "Y", "?"]


def test_pipes_nest_as_functions_and_as_branches():
    inner = pipe().cond(pipe().f(lambda x: x - 1), pipe().const("zero"))
    assert pipe().map(inner).f(lambda items: items)([2, 0, 1]) == [1, "zero", 0]
    assert pipe().f(pipe().kwarg("x"))(x=3) == 3
    assert pipe().fork(pipe().fork(pipe(), pipe()), pipe())(1) == ((1, 1), 1)


def test_input_in_a_nested_pipe_means_the_call():
    nested = pipe().const(1).fork(pipe(), pipe().input().kwarg("x"))
    assert nested(x=7) == (1, 7)
    deeper = pipe().const(True).cond(pipe().cond(pipe().input(), pipe()), pipe())
    assert deeper(x=7) == {"x": 7}


def test_deep_pipe_needs_no_deep_stack():
    long = pipe()
    for _ in range(3000):
        long = long.f(lambda x: x + 1)
    assert long(0) == 3000


def test_pipe_runs_many_times_at_once():
    work = (
        pipe()
        .kwargs(offset=0)
        .kwarg("n")
        .name("m")
        .f(lambda m, offset: [m + offset] * 50)
        .map(lambda x: x * 2)
        .fork(pipe().foldl1(lambda a, b: a + b), pipe().last())
    )
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda n: work(n=n, offset=n), range(400)))
    assert results == [(4 * n * 50, 4 * n) for n in range(400)]


def test_async_runs_of_one_pipe_interleave_without_sharing():
    async def everything():
        turn = asyncio.Event()
        seen = []

        async def meet(x):
            seen.append(x)
            if len(seen) == 20:
                turn.set()
            await turn.wait()
            return x * 2

        work = pipe().kwarg("x").exec(meet).name("y").f(lambda x, y: (x, y))
        return await asyncio.gather(*(work(x=x) for x in range(20)))

    assert asyncio.run(everything()) == [(x, x) for x in range(20)]


def test_plain_functions_need_no_event_loop_and_async_ones_give_a_coroutine():
    async def double(x):
        return x * 2

    plain, waiting = pipe().f(str), pipe().f(double).f(str)
    assert plain(1) == "1"
    pending = waiting(4)
    assert inspect.iscoroutine(pending)
    assert asyncio.run(pending) == "8"


def test_every_function_of_a_pipe_may_be_async():
    async def double(x):
        return x * 2

    async def big(x):
        return x > 2

    async def add(a, b):
        return a + b

    async def nothing(**kwargs):
        return None

    everything = (
        pipe(pipe().f(lambda n: {"n": n}))
        .exec(nothing)
        .kwarg("n")
        .f(double)
        .f(range)
        .map(double)
        .filter(big)
        .fork(pipe().foldl(add, 0), pipe().foldl1(add), pipe().cond(pipe().last(), pipe()))
    )
    assert asyncio.run(everything(n=2)) == (10, 10, 6)


def test_error_in_an_async_step_names_the_step():
    async def fail(x):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        asyncio.run(pipe().const(1).f(fail).f(str)())
    assert caught.value.__notes__ == [
        "in step 2 of 3, f(<function fail>):\n    pipe().const(1)>>>.f(<function fail>)<<<.f(str)"
    ]


def test_cancelled_run_ends_at_its_await():
    ended = []

    async def wait(x):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(x)

    async def everything():
        task = asyncio.ensure_future(pipe().f(wait).f(ended.append)("x"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(everything())
    assert ended == ["x"]


def test_missing_kwarg_of_a_nested_pipe_shows_both_pipes():
    with pytest.raises(MissingKwarg) as caught:
        pipe().fork(pipe().identity().kwarg("b"))(a=1)
    assert caught.value.__notes__ == [
        "in step 2 of 2, kwarg('b'):\n    pipe().identity()>>>.kwarg('b')<<<",
        "in branch 1 of 1: pipe().identity().kwarg('b')",
        "in step 1 of 1, fork(pipe().identity().kwarg('b')):\n"
        "    pipe()>>>.fork(pipe().identity().kwarg('b'))<<<",
    ]


def test_bytes_from_a_file_become_text_become_words(tmp_path):
    (tmp_path / "a.txt").write_text("one two")
    words = pipe().kwarg("path").open(tmp_path).exec(BytesIO.read).text().f(str.split)
    assert words(path="a.txt") == ["one", "two"]
