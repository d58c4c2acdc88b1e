"""A gate that holds an adaptor until the test opens it."""

from __future__ import annotations

import os
from pathlib import Path

from owt.testing.waiting import PATIENCE, wait_until


class Gate:
    """Named pipe in `folder` that an adaptor waits at until the test opens it.

    The adaptor evaluates the expression `wait`, or runs `open(path).read()` with `str(gate)` as the path. A
    test knows that whatever arrived before it called `open` was sent by an adaptor that had not gone on.
    An adaptor may wait at a gate several times: each opening releases those that wait at that moment.
    """

    def __init__(self, folder: str | Path, name: str = "gate") -> None:
        self.path = Path(folder) / name
        os.mkfifo(self.path)
        self._writer: int | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def wait(self) -> str:
        """Python expression that waits at the gate, for the code of an adaptor."""
        return f"open({str(self.path)!r}).read()"

    @property
    def opening(self) -> str:
        """Python expression that opens the gate, for the code of another adaptor."""
        return f"__import__('owt.testing').testing.Gate.at({str(self.path)!r}).open()"

    @classmethod
    def at(cls, path: str | Path) -> Gate:
        """Return the gate that another process made at this path."""
        gate = cls.__new__(cls)
        gate.path = Path(path)
        gate._writer = None
        return gate

    def reached(self, timeout: float = PATIENCE) -> None:
        """Wait until an adaptor waits at the gate. Raises TimeoutError."""

        def connect() -> bool:
            try:
                # Fails while the pipe has no reader.
                self._writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
            return True

        if self._writer is None:
            wait_until(connect, timeout)

    def open(self, timeout: float = PATIENCE) -> None:
        """Wait until an adaptor waits at the gate, then release all that do. Raises TimeoutError."""
        self.reached(timeout)
        assert self._writer is not None
        # A new pipe for those that come next: they must not be released by the end of this one's writer.
        beside = self.path.with_name(f"{self.path.name}.next")
        os.mkfifo(beside)
        os.replace(beside, self.path)
        os.close(self._writer)
        self._writer = None
