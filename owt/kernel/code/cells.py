"""Cells of notebooks, run in the session's namespace with IPython's events."""

from __future__ import annotations

import re
from typing import Any

from jupyter_client.jsonutil import json_clean

from owt.kernel.code.compiled import CompiledCell
from owt.kernel.code.source import Sources

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
