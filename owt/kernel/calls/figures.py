"""Figures of pyplot that a run has opened: they are closed at its end.

pyplot keeps every figure until it is closed, and draws into the newest one: without this, the next call would
draw into the picture of this one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from owt.kernel import context
from owt.kernel.calls.interrupts import InStep, Interrupts

HOOK = f"{__name__}:on_open"
"""Name of `on_open` for matplotlib's parameter `figure.hooks`."""

_of_runs: dict[str, list[Any]] = {}
"""Figures of each active run, by its id, as far as `on_open` has seen them."""


class Figures:
    """Context manager that closes the figures that a run opens in the block.

    A generator of `contextlib` would set attributes of exceptions, which are user code.
    """

    def __init__(self, run: str, count_begun: Callable[[], int], interrupts: Interrupts) -> None:
        """`count_begun()` returns the number of active runs that have begun."""
        self._run = run
        self._count_begun = count_begun
        self._interrupts = interrupts

    def __enter__(self) -> None:
        self._is_only_run = self._count_begun() == 1
        self._before = begin(self._run)

    def __exit__(self, *error: object) -> None:
        if "matplotlib.pyplot" not in sys.modules:
            return
        is_only_run = self._is_only_run and self._count_begun() == 1
        with InStep(self._interrupts, self._run):
            end(self._run, self._before, is_only_run=is_only_run)


def begin(run: str) -> set[int]:
    """Record the figures that this run opens from now on. Returns the numbers of those that exist."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not hasattr(pyplot, "get_fignums"):
        return set()
    hooks = pyplot.rcParams.get("figure.hooks")
    if hooks is not None and HOOK not in hooks:
        pyplot.rcParams["figure.hooks"] = [*hooks, HOOK]
    _of_runs[run] = []
    return set(pyplot.get_fignums())


def end(run: str, before: set[int], *, is_only_run: bool) -> None:
    """Close the figures that this run has opened.

    `before` is the result of `begin`. If it was the only run, all figures since then are its own, also those
    that were opened before matplotlib knew the hook.
    """
    figures = _of_runs.pop(run, ())
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not hasattr(pyplot, "get_fignums"):
        return
    for figure in figures:
        pyplot.close(figure)
    if is_only_run:
        for number in set(pyplot.get_fignums()) - before:
            pyplot.close(number)


def on_open(figure: Any) -> None:
    """Record a figure for the run that opens it. matplotlib calls this."""
    run = context.running()
    if run is not None and run.id in _of_runs:
        _of_runs[run.id].append(figure)
