"""A file that is looked at again and again, to see whether it has been saved."""

from __future__ import annotations

import os
from pathlib import Path


class File:
    """Editors write a file in place, in parts, or put another one in its place, and for a moment there may be
    none. So a file has changed when it is another than the one that was read, and was the same at two looks.
    """

    def __init__(self, path: Path) -> None:
        """The file as it is now counts as read."""
        self.path = path
        self._read = self._seen = self._look()

    def changed(self) -> bool:
        """Whether it is time to read it again; it then counts as read."""
        now = self._look()
        settled, self._seen = now == self._seen, now
        if now is None or not settled or now == self._read:
            return False
        self._read = now
        return True

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        # ctime is that of any change: of what it holds, where a clock is set back, and of who may read it.
        return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino
