"""Destination of a response: standard output, or a file with a progress line on a terminal."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from owt.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 0.5
"""Seconds of a download after which a progress line is shown."""


class Output:
    """Writer of a response's bytes to standard output (`path` None or `-`) or to a file. A context manager.

    A file is opened at once, so that an error comes before the call, and keeps its content until the
    response begins. Raises `ConfigError` if it cannot be opened.
    """

    def __init__(self, path: str | None, patience: float = PATIENCE) -> None:
        self.bytes = 0
        self.ends_in_newline = True
        self._path = None if path in (None, "-") else path
        self._patience = patience
        self._begun = False
        self._began = time.monotonic()
        self._total: int | None = None
        self._progress: Progress | None = None
        self._existed = self._path is not None and Path(self._path).exists()
        self._file: BinaryIO | None = None if self._path is None else _open(self._path)

    @property
    def is_file(self) -> bool:
        """True unless the destination is standard output."""
        return self._file is not None

    def begin(self, total: int | None) -> None:
        """Empty the file for a response, of `total` bytes if that is known. `write` does so too."""
        if self._begun:
            return
        self._begun = True
        if self._file is not None:
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.truncate(0)
            self._existed = True
        self._total = total
        self._began = time.monotonic()

    def write(self, data: bytes) -> None:
        """Write and flush the next part of the response."""
        if not data:
            return
        self.begin(None)
        file = sys.stdout.buffer if self._file is None else self._file
        file.write(data)
        file.flush()
        self.bytes += len(data)
        self.ends_in_newline = data.endswith(b"\n")
        if self._file is not None:
            self._show()

    def close(self) -> None:
        """Close the file, and remove it if this object made it and no response began."""
        if self._progress is not None:
            self._progress.stop()
        if self._file is not None and self._path is not None:
            self._file.close()
            if not self._existed:
                Path(self._path).unlink(missing_ok=True)

    def _show(self) -> None:
        if self._progress is None:
            if time.monotonic() - self._began < self._patience or not sys.stderr.isatty():
                return
            self._progress = _progress()
            self._progress.add_task(os.path.basename(self._path or ""), total=self._total)
            self._progress.start()
        self._progress.update(self._progress.task_ids[0], completed=self.bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _open(path: str) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb")
    except OSError as error:
        raise ConfigError(f"--output: {path} cannot be written: {error.strerror}") from None


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
