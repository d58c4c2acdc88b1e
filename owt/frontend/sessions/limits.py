"""What bounds every session."""

from __future__ import annotations

from dataclasses import dataclass

IDLE_DEATHS = 3
"""Kernels that may die in a row with nothing to do, before a session waits for a call to start the next."""


@dataclass(frozen=True)
class Limits:
    """Calls that may wait for one session, and seconds between a cancel and a kill."""

    queue: int
    kill_after: float
