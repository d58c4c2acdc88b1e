"""Records for the next frontend that could not be written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from owt.errors import counted


class Unsaved(NamedTuple):
    """Number of runs, or of sessions, that are in memory only, and why; 0 if only a part of them is."""

    number: int
    error: str


def problem(folder: Path, runs: Unsaved | None, sessions: Unsaved | None) -> str | None:
    """Return what would be lost with the process, and what to do, or None if all has been written."""
    failed = runs or sessions
    if failed is None:
        return None
    numbers = [(runs, "run"), (sessions, "session")]
    counts = [counted(unsaved.number, noun) for unsaved, noun in numbers if unsaved and unsaved.number]
    what = " and ".join(counts) or "changes of what is kept"
    verb = "is" if len(counts) == 1 and counts[0].startswith("1 ") else "are"
    return (
        f"{what} {verb} only in memory, and would be lost with this process, because {folder} cannot be "
        f"written to: {failed.error}. Make room in {folder}, or let the server write there"
    )
