"""Which codes a kernel has been given."""

from __future__ import annotations

CODES_KNOWN = 1000


class Codes:
    """The newest codes of one kernel. By hash: they may be large, and one that is taken for another
    costs only time."""

    def __init__(self) -> None:
        self._hashes: dict[int, None] = {}

    def __contains__(self, code: str | None) -> bool:
        return code is not None and hash(code) in self._hashes

    def add(self, code: str | None) -> None:
        """The kernel is given this code (None: a call without)."""
        if code is not None:
            self._hashes[hash(code)] = None
            if len(self._hashes) > CODES_KNOWN:
                self._hashes.pop(next(iter(self._hashes)))

    def clear(self) -> None:
        """It is another kernel now."""
        self._hashes.clear()
