"""Steps that choose between pipes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from owt.summat import Flow, MissingKwarg, NoValue, Step, pipe


@dataclass(frozen=True)
class Add(Step):
    amount: int

    def run(self, flow: Flow) -> Flow:
        return flow.giving(flow.needed(self) + self.amount)


def test_cond_follows_the_values_truth():
    sign = pipe().cond(lambda x: f"some {x}", lambda x: f"none {x!r}")
    assert sign("a") == "some a"
    assert sign("") == "none ''"
    assert sign(None) == "none None"


def test_cond_runs_the_chosen_branch_only():
    ran = []
    pipe().const(1).cond(lambda _: ran.append("then"), lambda _: ran.append("else"))()
    assert ran == ["then"]


def test_branch_continues_the_pipe():
    assert pipe().kwarg("a").cond(pipe(), pipe()).kwarg("b")(a=1, b=2) == 2
    with pytest.raises(MissingKwarg, match="ended"):
        pipe().kwarg("a").cond(str, pipe()).kwarg("b")(a=1, b=2)


def test_branch_may_be_a_custom_step():
    assert pipe().cond(Add(1), Add(10))(5) == 6
    assert pipe().fork(Add(1), Add(10))(5) == (6, 15)


def test_cond_needs_a_value():
    with pytest.raises(NoValue):
        pipe().cond(pipe(), pipe())(a=1)


def test_fork_gives_each_branch_the_same_input():
    assert pipe().fork(len, str.upper, pipe().ix(0))("ab") == (2, "AB", "a")
    assert pipe().fork(lambda a: a, pipe().kwarg("b"), pipe())(a=1, b=2) == (1, 2, {"a": 1, "b": 2})


def test_fork_keeps_the_kwargs():
    assert pipe().kwarg("a").fork(str, pipe().name("c")).kwarg("b")(a=1, b=2) == 2


def test_fork_without_branches_gives_an_empty_tuple():
    assert pipe().fork()(1) == ()


def test_branches_run_in_order():
    ran = []

    async def slow(x):
        await asyncio.sleep(0)
        ran.append("slow")

    assert asyncio.run(pipe().fork(slow, lambda x: ran.append("plain"))(1)) == (None, None)
    assert ran == ["slow", "plain"]


def test_error_names_the_branch():
    def fail(x):
        raise KeyError("k")

    with pytest.raises(KeyError) as caught:
        pipe().fork(str, fail)(1)
    assert caught.value.__notes__ == [
        "in branch 2 of 2: <function fail>",
        "in step 1 of 1, fork(str, <function fail>):\n    pipe()>>>.fork(str, <function fail>)<<<",
    ]
    with pytest.raises(KeyError) as caught:
        pipe().cond(str, fail)(0)
    assert caught.value.__notes__[0] == "in the branch `else_`: <function fail>"
