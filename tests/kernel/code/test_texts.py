"""owt.kernel.code.compiled: what is remembered, and what goes when there is too much of it."""

from __future__ import annotations

import inspect
import linecache
import sys

import pytest
from sourced import Sourced

from owt.kernel.code.compiled import CompiledCell


def test_old_expressions_make_room_and_leave_the_registries(
    kernel: Sourced, monkeypatch: pytest.MonkeyPatch
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


def test_the_lines_of_code_that_failed_make_room_for_others(
    kernel: Sourced, monkeypatch: pytest.MonkeyPatch
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
    kernel: Sourced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._others, "_limit", 2)
    run = kernel.load("def run(): pass")
    for n in range(5):
        kernel.load(f"def run(): return {n}")
        kernel.prepare(f"x = {n}")
    assert kernel.load("def run(): pass") is run


def test_lines_of_a_cell_stay_for_the_functions_that_it_defined(
    kernel: Sourced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.sources._others, "_limit", 1)
    plain = kernel.prepare("x = 0")
    assert isinstance(plain, CompiledCell)
    kernel.cell("y = 0\ndef f(): pass")
    kernel.cell("z = 0")
    assert plain.filename not in linecache.cache
    assert inspect.getsource(kernel.names["f"]) == "def f(): pass\n"
