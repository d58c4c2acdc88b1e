"""Cells of notebooks, run in the session's namespace with IPython's events."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_client.jsonutil import json_clean

from owt.kernel.code.compiled import CompiledCell
from owt.kernel.code.source import Sources

if TYPE_CHECKING:
    from owt.wire.call import Call

INLINE = "matplotlib_inline"
"""Package of matplotlib's backend in kernels."""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
"""Colours of a terminal."""


class CellRunner:
    """Compiler and runner of cells for one kernel's shell."""

    def __init__(self, shell: Any, sources: Sources) -> None:
        self.shell = shell
        self._sources = sources

    def compile(self, code: str) -> CompiledCell:
        """Return `code` compiled as a cell. Raises `SyntaxFault`."""
        return self._sources.compile_cell(code)

    def run(self, cell: CompiledCell) -> Any:
        """Run a cell that does not await, and return its value."""
        self.shell.events.trigger("pre_execute")
        try:
            value = self._sources.run_cell(cell)
            self._print_pages()
            return value
        finally:
            # The inline backend of matplotlib shows the figures of the cell at this event.
            self.shell.events.trigger("post_execute")

    async def run_async(self, cell: CompiledCell) -> Any:
        """Run any cell, and return its value."""
        self.shell.events.trigger("pre_execute")
        try:
            value = await self._sources.run_cell_async(cell)
            self._print_pages()
            return value
        finally:
            self.shell.events.trigger("post_execute")

    def _print_pages(self) -> None:
        """Print what the cell has shown in a pager, such as the help of `?str`: calls have none."""
        payloads = self.shell.payload_manager
        for payload in payloads.read_payload():
            if payload.get("source") == "page":
                print(_ESCAPES.sub("", payload["data"].get("text/plain", "")))
        payloads.clear_payload()

    def show_figures(self) -> None:
        """Show the open figures, as the inline backend of matplotlib does after a cell."""
        for function in [*self.shell.events.callbacks["post_execute"]]:
            if function.__module__.startswith(INLINE):
                function()

    def plain_text(self, value: object) -> str:
        """Return a value as text, as IPython shows it."""
        return self.shell.display_formatter.formatters["text/plain"](value) or ""

    def is_displayed(self, code: str, value: object) -> bool:
        """Return True if a notebook displays this value of a cell: not None, and no semicolon ends the
        cell."""
        return value is not None and not self.shell.displayhook.semicolon_at_end_of_expression(code)

    def display(self, value: object) -> None:
        """Display a cell's value."""
        from IPython.display import display

        display(value)

    def mime_bundle(self, value: object) -> Any:
        """Return a value's representations as Jupyter's messages have them: images in base64."""
        data, _ = self.shell.display_formatter.format(value)
        return json_clean(data)


class CallEvents:
    """IPython's events of cells, triggered for calls too, as far as user code has registered functions.

    `%autoreload` and other extensions depend on them. The functions of the kernel itself are for cells only,
    as is that of matplotlib's inline backend, which shows a cell's figures.
    """

    def __init__(self, shell: Any) -> None:
        """Remember the functions that are registered now: those of the kernel."""
        self._registered: dict[str, list[Callable[..., Any]]] = shell.events.callbacks
        self._own = {event: tuple(functions) for event, functions in self._registered.items()}
        self._counts = [*map(len, self._own.values())]

    @property
    def has_functions(self) -> bool:
        """True if more functions are registered than those of the kernel."""
        return [*map(len, self._registered.values())] != self._counts

    def begin(self, call: Call, is_cell: bool) -> None:
        """Trigger what precedes a cell. A cell itself triggers the events of executions."""
        if not is_cell:
            self._trigger("pre_execute")
        self._trigger("pre_run_cell", _info(call))

    def end(self, call: Call, is_cell: bool) -> None:
        """Trigger what follows a cell."""
        from IPython.core.interactiveshell import ExecutionResult

        if not is_cell:
            self._trigger("post_execute")
        self._trigger("post_run_cell", ExecutionResult(_info(call)))

    def _trigger(self, event: str, *arguments: object) -> None:
        for function in [*self._registered[event]]:
            if function in self._own[event] or function.__module__.startswith(INLINE):
                continue
            try:
                function(*arguments)
            except Exception:
                print(f"Error in callback {function} (for {event}):")
                traceback.print_exc()


def _info(call: Call) -> Any:
    from IPython.core.interactiveshell import ExecutionInfo

    return ExecutionInfo(call.code or "", False, True, False, None)
