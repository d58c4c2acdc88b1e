"""What bounds every session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Calls that may wait for one session, and seconds between a cancel and a kill."""

    queue: int
    kill_after: float
