"""Calls that wait for themselves: calls made by calls, which could only begin after the end of their callers.

A run that has made a call (`Run.nested`) waits for its end, and a queued run waits until one of those that
hold its session, or the pool, has ended. A circle of these never ends.
"""

from __future__ import annotations

from collections.abc import Iterable

from owt.errors import WaitsForItself
from owt.frontend.runs.runs import Run


def check(run: Run, holders: Iterable[Run], place: str) -> None:
    """Raise `WaitsForItself` if each of `holders` waits for the end of `run`, which waits for one of them.

    `place` is what they hold, in words.
    """
    ancestors = set()
    caller = run.caller
    while caller is not None and caller not in ancestors:
        ancestors.add(caller)
        caller = caller.caller
    seen: set[Run] = set()

    def waits(holder: Run) -> bool:
        if holder in ancestors:
            return True
        if holder in seen:
            return False
        seen.add(holder)
        for nested in holder.nested:
            others = nested.waits_for
            if all(map(waits, others)) if others else waits(nested):
                return True
        return False

    holders = list(holders)
    if ancestors and holders and all(map(waits, holders)):
        raise WaitsForItself(
            f"{place} is held by the run that makes this call, or by one that waits for it; use another "
            "session, call the function directly, or detach the call"
        )
