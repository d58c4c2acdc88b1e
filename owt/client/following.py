"""Progress of a client in a run's events, and its decisions when a connection fails.

`Attempts` decides about all requests of calls: a stream goes on with the events that follow, and a request
with an id for its run (header `Owt-Run`) can be sent again, because it runs once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from owt.client.events import Event, decode_event, is_end
from owt.errors import OwtError, RemoteError, Unreachable

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



class Attempts:
    """Attempts at one request, with pauses between them.

    With `retry` and the id `run` for its run, the request is sent again for `retry` seconds after the first
    of the failures in a row. Otherwise only a stream whose response has begun goes on, after `DELAYS`.
    """

    def __init__(self, run: str | None = None, retry: float | None = None) -> None:
        self.run = run
        self.repeats = run is not None and retry is not None
        self._seconds = retry or 0
        self._failures = 0
        self._end = 0.0

    def succeed(self) -> None:
        """Begin to count failures anew."""
        self._failures = 0

    def next_delay(self) -> float | None:
        """Return the seconds to wait before the next attempt, or None after the last one."""
        delay = DELAYS[min(self._failures, len(DELAYS) - 1)]
        if self.repeats:
            now = time.monotonic()
            if not self._failures:
                self._end = now + self._seconds
            if now >= self._end:
                return None
            delay = min(delay, self._end - now)
        elif self._failures == len(DELAYS):
            return None
        self._failures += 1
        return delay

    def delay_after(self, error: OwtError) -> float:
        """Return the seconds to wait before the request is sent again. Raises `error` if it must not be, or
        if the time is over."""
        if not self.may_repeat(error) or (delay := self.next_delay()) is None:
            raise error
        return delay

    def may_repeat(self, error: OwtError) -> bool:
        """Return whether the request may be sent again after this error.

        That is so if the connection failed, or if the server refused the call for the moment or was ended.
        """
        if isinstance(error, RemoteError):
            is_refusal = error.type == "urn:owt:busy" and error.run != self.run
            return self.repeats and (is_refusal or error.type == "urn:owt:shutting-down")
        return self.repeats and isinstance(error, Unreachable)


class Following:
    """Progress in the events of one run.

    `run` is its id, None until that is known; `after` is the number of the last event, and `over` is
    true when no event can follow.
    """

    def __init__(self, attempts: Attempts | None = None, run: str | None = None) -> None:
        self.run = run
        self.after = 0
        self.over = False
        self._is_shared = False
        self._attempts = attempts or Attempts()

    @property
    def repeats(self) -> bool:
        """Return whether the next connection sends the request of the call again, since no event has come."""
        return self._attempts.repeats and self.after == 0

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
        repeats = self.repeats
        run, _, number = id.rpartition("-")
        if run == self.run and number.isdecimal():
            self.after = int(number)
        try:
            event = decode_event(name, data, id, form)
        except RemoteError as error:
            self.over = not (repeats and self._attempts.may_repeat(error))
            self.after = self.after if self.over else 0
            raise
        self._attempts.succeed()
        self.over = is_end(event)
        return event

    def retry_delay(self, problem: Exception | None) -> float | None:
        """Return the seconds to wait before the client reconnects, or None if it must not.

        `problem` ended the connection (None: the response ended). There is nothing to reconnect to if the
        events are `over`, if no response came and the request must not be sent again, or after the last
        attempt. Raises `problem` if it is the server's final answer.
        """
        begun = self.run is not None
        if isinstance(problem, OwtError):
            is_temporary = problem.status >= 500 if begun else self._attempts.may_repeat(problem)
            if self.over or not is_temporary:
                raise problem
        if self.over or not (begun or self._attempts.repeats):
            return None
        delay = self._attempts.next_delay()
        if delay is None and not begun and isinstance(problem, OwtError):
            raise problem
        return delay

    def run_to_cancel(self, error: BaseException) -> str | None:
        """Return the id of the run to cancel because `error` ended the reading, or None.

        An error that is not owt's is the caller's wish to end. A run that other callers may share goes on.
        """
        if self.over or self._is_shared or isinstance(error, OwtError):
            return None
        return self.run or self._attempts.run
