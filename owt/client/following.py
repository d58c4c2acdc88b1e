"""Progress of a client in a run's events, and its decisions when the connection ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from owt.client.events import Event, decode_event, is_end
from owt.errors import OwtError, RemoteError

if TYPE_CHECKING:
    import httpx

    from owt.wire import sse

DELAYS = (0.0, 0.1, 0.2, 0.5, 1.0, 1.0)
"""Seconds before each attempt to reconnect, from the first again after each event. Together with the
connect timeouts they are shorter than the server's default `--resume-window`."""
CONNECT_TIMEOUT = 1.0
"""Seconds until an attempt to reconnect fails."""
CANCEL_TIMEOUT = 1.0
"""Seconds that each step of the request may take which cancels a run that the client leaves."""

NO_CONTENT = 204

_EVENT_ID = re.compile(r"[0-9a-f]+-([0-9]+)")


class Following:
    """Progress in the events of one run.

    `run` is its id, None before the first response; `after` is the number of the last event, and `over` is
    true when no event can follow.
    """

    def __init__(self) -> None:
        self.run: str | None = None
        self.after = 0
        self.over = False
        self._is_shared = False
        self._attempts = 0

    def begin(self, response: httpx.Response) -> bool:
        """Read the headers of a response; return whether it has events."""
        self.run = response.headers["Owt-Run"]
        # Only the first response has this header: equal calls may share the run, or another call began it.
        self._is_shared = self._is_shared or "Owt-Cache" in response.headers
        # The end of an adaptor's own stream, which has no `done`.
        self.over = response.status_code == NO_CONTENT
        return not self.over

    def decode(self, events: Iterable[sse.Event]) -> Iterator[Event]:
        """Yield the client's events for those that a connection received. Raises `RemoteError`."""
        for received in events:
            yield self._decode(received.event, received.data, received.id, received.form)

    def _decode(self, name: str, data: str, id: str, form: str) -> Event:
        if match := _EVENT_ID.fullmatch(id):
            self.after = int(match[1])
        self._attempts = 0
        try:
            event = decode_event(name, data, id, form)
        except RemoteError:
            self.over = True
            raise
        self.over = is_end(event)
        return event

    def retry_delay(self, problem: Exception | None) -> float | None:
        """Return the seconds to wait before the client reconnects, or None if it must not.

        `problem` ended the connection (None: the response ended). There is nothing to reconnect to if the
        events are `over`, if no response came, or after the last attempt. Raises `problem` if it is the
        server's final answer.
        """
        if isinstance(problem, OwtError) and (self.over or self.run is None or problem.status < 500):
            raise problem
        if self.over or self.run is None or self._attempts == len(DELAYS):
            return None
        self._attempts += 1
        return DELAYS[self._attempts - 1]

    def run_to_cancel(self, error: BaseException) -> str | None:
        """Return the id of the run to cancel because `error` ended the reading, or None.

        An error that is not owt's is the caller's wish to end. A run that other callers may share goes on.
        """
        if self.over or self._is_shared or isinstance(error, OwtError):
            return None
        return self.run
