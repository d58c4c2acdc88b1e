"""Execution of notebooks, and access to the outputs of their cells."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from jupyter_kernel import Manager, environment

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60


class ExecutedNotebook:
    """The outputs of an executed notebook's code cells."""

    def __init__(self, notebook: Any) -> None:
        self.outputs: list[list[Any]] = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]

    def text(self, cell: int, stream: str = "stdout") -> str:
        """Return the text that a cell printed."""
        return "".join(output.text for output in self.outputs[cell] if output.get("name") == stream)

    def displays(self, cell: int) -> list[dict[str, Any]]:
        """Return the MIME bundles of a cell's displays, its value last."""
        return [output.data for output in self.outputs[cell] if "data" in output]

    def value(self, cell: int) -> str:
        """Return a cell's value as text."""
        [output] = [item for item in self.outputs[cell] if item.output_type == "execute_result"]
        return str(output.data["text/plain"])

    def traceback(self, cell: int) -> str:
        """Return the traceback of a cell's error, without colours."""
        [output] = [item for item in self.outputs[cell] if item.output_type == "error"]
        return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output.traceback))

    def failed(self) -> list[tuple[int, str]]:
        """Return the failed cells, each with the name of its exception."""
        return [
            (cell, output.ename)
            for cell, outputs in enumerate(self.outputs)
            for output in outputs
            if output.output_type == "error"
        ]


def read(path: Path) -> Any:
    """Return a valid notebook from its file."""
    # The import takes seconds, which collection would take in every process.
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(notebook: Any, folder: Path, kernel: str = "python3", **options: Any) -> ExecutedNotebook:
    """Execute a notebook in a new kernel with the working directory `folder`."""
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook,
        timeout=PATIENCE,
        kernel_name=kernel,
        kernel_manager_class=Manager,
        resources={"metadata": {"path": str(folder)}},
        **options,
    )
    asyncio.run(client.async_execute(env=environment()))
    return ExecutedNotebook(notebook)
