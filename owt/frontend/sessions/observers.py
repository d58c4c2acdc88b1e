"""Who wants to know what becomes of a session's kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

KernelEvent = Literal["started", "restarting", "died", "given-up", "closed"]
"""A kernel is there; it is about to die, as somebody has asked for another one; it has died and the next one
is on its way; there is none until somebody asks for one; the session has ended."""


class Observers:
    """Functions that hear the news, each until it is removed. They must not raise."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[KernelEvent], None]] = []

    def add(self, watcher: Callable[[KernelEvent], None]) -> None:
        """Tell this one from now on."""
        self._watchers.append(watcher)

    def remove(self, watcher: Callable[[KernelEvent], None]) -> None:
        """Tell this one no more, if it was told."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def tell(self, news: KernelEvent) -> None:
        """Tell all of them, in the order in which they came."""
        for watcher in list(self._watchers):
            watcher(news)
