"""How far a client has come in a run's events, and what it does when their connection ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from owt.client.events import Event, event, is_end
from owt.errors import OwtError, RemoteError

if TYPE_CHECKING:
    import httpx

    from owt.wire import sse

PAUSES = (0.0, 0.1, 0.2, 0.5, 1.0, 1.0)
"""Seconds before each try to come back, counted anew after each event. With the time that the connections
may take, they are less than the `--resume-window` that a server has by default."""
CONNECT = 1.0
"""Seconds that a connection may take by which one comes back."""
LEAVING = 1.0
"""Seconds that each step may take of telling a server that one has left."""

OVER = 204

_ID = re.compile(r"[0-9a-f]+-([0-9]+)")


class Following:
    """What a client knows of the run whose events it reads: what was asked, and what it has.

    `run` is None until the server has answered, `after` the number of the last event, and `over` says
    that no other will follow.
    """

    def __init__(self) -> None:
        self.run: str | None = None
        self.after = 0
        self.over = False
        self._shared = False
        self._tries = 0

    def answered(self, response: httpx.Response) -> bool:
        """An answer of the run's has begun; whether there are events in it."""
        self.run = response.headers["Owt-Run"]
        # Only the first answer says so: equal calls may have joined this run, or it is another's.
        self._shared = self._shared or "Owt-Cache" in response.headers
        # How one learns that an adaptor's own stream is at its end, which says no `done`.
        self.over = response.status_code == OVER
        return not self.over

    def events(self, come: Iterable[sse.Event]) -> Iterator[Event]:
        """What the caller gets of the events that have come. Raises `RemoteError`."""
        for each in come:
            if number := _ID.fullmatch(each.id):
                self.after = int(number[1])
            self._tries = 0
            try:
                given = event(each.event, each.data, each.id)
            except RemoteError:
                self.over = True
                raise
            self.over = is_end(given)
            yield given

    def pause(self, lost: Exception | None) -> float | None:
        """Seconds to wait before coming back, after a connection that `lost` ended (None: it seemed whole).

        None: there is nothing to come back to, because it is `over`, or never began, or was tried often
        enough. Raises `lost` where that is the server's last word.
        """
        if isinstance(lost, OwtError) and (self.over or self.run is None or lost.status < 500):
            raise lost
        if self.over or self.run is None or self._tries == len(PAUSES):
            return None
        self._tries += 1
        return PAUSES[self._tries - 1]

    def left(self, error: BaseException) -> str | None:
        """The run that is to be cancelled because `error` ended the reading of it: the caller's own wish, if
        it is none of ours. None if there is none, or others may want it."""
        if self.over or self._shared or isinstance(error, OwtError):
            return None
        return self.run
