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
        self._before: set[int] = set()
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or not hasattr(pyplot, "get_fignums"):
            return
        hooks = pyplot.rcParams.get("figure.hooks")
        if hooks is not None and HOOK not in hooks:
            pyplot.rcParams["figure.hooks"] = [*hooks, HOOK]
        _of_runs[self._run] = []
        self._before.update(pyplot.get_fignums())

    def __exit__(self, *error: object) -> None:
        if "matplotlib.pyplot" in sys.modules:
            with InStep(self._interrupts, self._run):
                self._close()

    def _close(self) -> None:
        figures = _of_runs.pop(self._run, ())
        pyplot: Any = sys.modules["matplotlib.pyplot"]
        if not hasattr(pyplot, "get_fignums"):
            return
        for figure in figures:
            pyplot.close(figure)
        if self._is_only_run and self._count_begun() == 1:
            # All figures since then are its own, also those that were opened before matplotlib knew the hook.
            for number in set(pyplot.get_fignums()) - self._before:
                pyplot.close(number)


def on_open(figure: Any) -> None:
    """Record a figure for the run that opens it. matplotlib calls this."""
    run = context.running()
    if run is not None and run.id in _of_runs:
        _of_runs[run.id].append(figure)
