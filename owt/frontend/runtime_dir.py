"""The directory of a server's sockets and files."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from owt.errors import ConfigError

log = logging.getLogger("owt")

MAX_LENGTH = 80
"""Maximum length of the path: a Unix socket's path has at most 107 bytes, on macOS 103."""


PREFIX = "owt-"
ID_FILE = "server-id"
"""File that has the server's mark. It is there only while the directory is locked, or its server is gone."""
SESSIONS = "sessions"
"""Folder with the records of sessions and of calls of a server with `--keep`."""


class RuntimeDirectory:
    """Directory that only its owner can access, locked while the server lives.

    By the lock the reaper knows that the server is alive.
    """

    def __init__(self, base: Path | None, server_id: str) -> None:
        """Make a directory in `base`, by default in a place for temporary files.

        Raises `ConfigError` if none can be made.
        """
        self.path = _make(base)
        self._server_id = server_id
        self._lock = self._locked()

    @property
    def server_id(self) -> str:
        """Return the mark of all processes of the server."""
        return self._server_id

    def restore(self) -> bool:
        """Make the directory again if it was removed, as programs that clean up temporary files do. Returns
        True if it was."""
        if os.path.isdir(self.path):
            return False
        os.makedirs(self.path, 0o700)
        removed, self._lock = self._lock, self._locked()
        os.close(removed)
        log.warning(
            "the runtime directory %s was removed, and is made again; choose one that no program cleans up "
            "with --runtime-dir. Jupyter clients cannot connect to kernels that are older",
            self.path,
        )
        return True

    def clean_up_after_others(self, reaper: Sequence[str]) -> None:
        """Run the command `reaper` for each directory beside this one that is left of a server of this user.

        Something of a server cleans up after it, unless all of its processes were killed at once. Records
        stay for the next server in their directory, which runs the calls that waited.
        """
        for server_id, path in self._abandoned():
            log.warning("cleaning up after a server that was killed with all its processes: %s", path)
            subprocess.run([*reaper, server_id, path, "all"], stdin=subprocess.DEVNULL, check=False)

    def _abandoned(self) -> Iterator[tuple[str, str]]:
        for path in Path(self.path).parent.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError, ValueError):
                status = path.lstat()
                if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                    continue
                if (path / SESSIONS).exists():
                    continue
                server_id = (path / ID_FILE).read_text()
                lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                finally:
                    os.close(lock)
                yield server_id, str(path)

    def _locked(self) -> int:
        lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Path(self.path, ID_FILE).write_text(self._server_id)
        return lock

    def unlock(self) -> None:
        """Release the lock: the reaper takes it to clean up."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.path, ID_FILE))
        os.close(self._lock)

    def remove(self) -> None:
        """Remove the directory with its files."""
        shutil.rmtree(self.path, ignore_errors=True)


def problem_of(error: OSError, path: str | Path) -> str:
    """Return why the directory at this path cannot be used, and what to do."""
    place = os.path.abspath(path)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    match error:
        case FileExistsError() | NotADirectoryError():
            return f"{place} is a file; give a directory"
        case FileNotFoundError():
            return f"{os.path.abspath(path)} does not exist; make it, or give another directory"
        case PermissionError():
            return (
                f"this user (uid {os.geteuid()}) cannot write to {place}; give another directory, or change "
                "its permissions"
            )
    return f"{place} cannot be written to: {error.strerror or error}; make room, or give another directory"


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
            return tempfile.mkdtemp(prefix=PREFIX, dir=place)
        except OSError as error:
            problem = problem_of(error, place)
    raise ConfigError(f"--runtime-dir: {problem}")
