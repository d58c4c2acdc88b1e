"""The directory of a server's sockets and connection files."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

from owt.errors import ConfigError

log = logging.getLogger("owt")

MAX_LENGTH = 80
"""Maximum length of the path: a Unix socket's path has at most 107 bytes, on macOS 103."""


class RuntimeDirectory:
    """Directory that only its owner can access, locked while the server lives.

    By the lock the reaper knows that the server is alive.
    """

    def __init__(self, base: Path | None) -> None:
        """Make the directory in `base`, by default in a place for temporary files.

        Raises `ConfigError` if none can be made.
        """
        self.path = _make(base)
        self._lock = _locked(self.path)

    def restore(self) -> bool:
        """Make the directory again if it was removed, as programs that clean up temporary files do. Returns
        True if it was."""
        if os.path.isdir(self.path):
            return False
        os.makedirs(self.path, 0o700)
        removed, self._lock = self._lock, _locked(self.path)
        os.close(removed)
        log.warning(
            "the runtime directory %s was removed, and is made again; choose one that no program cleans up "
            "with --runtime-dir. Jupyter clients cannot connect to kernels that are older",
            self.path,
        )
        return True

    def unlock(self) -> None:
        """Release the lock: the reaper takes it to clean up."""
        os.close(self._lock)

    def remove(self) -> None:
        """Remove the directory with its files."""
        shutil.rmtree(self.path, ignore_errors=True)


def _make(base: Path | None) -> str:
    if base is not None:
        bases = [str(base)]
    else:
        bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]
    problem = "no directory was found"
    for place in bases:
        if not place or len(place) > MAX_LENGTH - 16:
            problem = f"its path is longer than {MAX_LENGTH - 16} bytes, too long for Unix sockets in it"
            continue
        try:
            return tempfile.mkdtemp(prefix="owt-", dir=place)
        except OSError as error:
            problem = str(error)
    raise ConfigError(f"--runtime-dir: {problem}")


def _locked(path: str) -> int:
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock
