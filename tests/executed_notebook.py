"""Notebooks that are executed, and what each cell of them shows."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from jupyter_kernel import Manager, environment
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60


class ExecutedNotebook:
    """What the code cells of an executed notebook have shown."""

    def __init__(self, notebook: Any) -> None:
        self.outputs: list[list[Any]] = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]

    def text(self, cell: int, stream: str = "stdout") -> str:
        """What a cell has printed."""
        found = [each.text for each in self.outputs[cell] if each.get("name") == stream]
        return "".join(found)

    def shown(self, cell: int) -> list[dict[str, Any]]:
        """The MIME bundles that a cell has shown, its own value last."""
        return [each.data for each in self.outputs[cell] if "data" in each]

    def value(self, cell: int) -> str:
        """A cell's own value, as text."""
        [found] = [each for each in self.outputs[cell] if each.output_type == "execute_result"]
        return str(found.data["text/plain"])

    def traceback(self, cell: int) -> str:
        """A cell's failure as it is shown, without colours."""
        [found] = [each for each in self.outputs[cell] if each.output_type == "error"]
        return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(found.traceback))

    def failed(self) -> list[tuple[int, str]]:
        """Which cells have failed, and the names of what they raised."""
        return [
            (cell, each.ename)
            for cell, outputs in enumerate(self.outputs)
            for each in outputs
            if each.output_type == "error"
        ]


def execute(notebook: Any, folder: Path, kernel: str = "python3", **options: Any) -> ExecutedNotebook:
    """Execute a notebook in a kernel of its own whose directory is `folder`."""
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
