"""A gate that an adaptor waits at until a test opens it, so that no test needs a clock."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Gate:
    """A named pipe: whoever evaluates `wait` reads a byte of it, whoever opens the gate writes one.

    A test knows that something arrived *before* the gate was opened, because it opens it only then.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "gate"
        os.mkfifo(path)
        # For both, so that neither opening it here nor there waits for the other side.
        self._fd = os.open(path, os.O_RDWR)
        self.wait = f"open({str(path)!r}, 'rb', 0).read(1)"
        self.opening = f"open({str(path)!r}, 'wb', 0).write(b'o')"

    def open(self) -> None:
        """Let one pass."""
        os.write(self._fd, b"o")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
