"""Kept runs: what the kernel has of them for the next frontend, since it makes it.

The journal of a run is the one that the frontend has, with the same chunks at the same positions. So events
have the same numbers when the next frontend has got it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from owt.wire import messages
from owt.wire.call import Call
from owt.wire.chunk import Done
from owt.wire.journal import Journal
from owt.wire.messages import Keep, Output

if TYPE_CHECKING:
    from owt.kernel.calls.input import RunInput
    from owt.kernel.calls.output_sender import OutputSender

BATCH = 256 * 1024
"""Maximum size, in bytes, of what one message has of a journal."""


class KeptRun:
    """Run whose output is kept from its beginning until the frontend asks to forget it.

    `add` and `limit` are called while nothing else is sent.
    """

    def __init__(self, run: str, call: Call, keep: Keep, sender: OutputSender) -> None:
        self.run = run
        self.call = call
        self.keep = keep
        self.started: float | None = None
        self.ended_at: float | None = None
        # Number of items of the input when the run ended, and True if it had ended.
        self.input_at_end = (0, False)
        self._granted = 0
        self._sender: OutputSender | None = sender
        self._journal = Journal()

    def begin(self) -> None:
        """Record that the run begins."""
        self.started = time.time()

    def add(self, output: Output) -> Output:
        """Keep an output, and return it with the chunks that the journal has made of it."""
        journal, start = self._journal, self._journal.end
        journal.extend(output.chunks)
        if journal.cuts:
            output = Output(output.run, tuple(chunk for chunks in journal.since(start) for chunk in chunks))
        if journal.bytes > self.keep.journal:
            journal.trim(self.keep.journal, journal.end, self.granted)
        if output.chunks and isinstance(output.chunks[-1], Done):
            self._granted, self.ended_at = self.granted, time.time()
            # Nothing else is needed of it, and both may be large.
            self.call, self._sender = self.call.outline(), None
        return output

    def limit(self, size: int) -> None:
        """Keep at most so many bytes, beside those that no reader has received."""
        self.keep = replace(self.keep, journal=size)
        self._journal.trim(size, self._journal.end, self.granted)

    @property
    def ended(self) -> bool:
        """Return True if the last chunk is kept."""
        return self._sender is None

    @property
    def granted(self) -> int:
        """All credit that the run got."""
        return self._granted if self._sender is None else self._sender.granted

    def describe(self, input: RunInput | None) -> messages.KeptRun:
        """Return what the next frontend has to know of the run with this input, if there is one yet."""
        received, ended = self.input_at_end if input is None else (input.received, input.ended)
        call = self.call
        if self.started is not None and call.request.body:
            # It will not be sent again.
            call = call.with_body(b"")
        return messages.KeptRun(
            self.run, call, self.keep, self.started, self._journal.dropped, self.granted, received,
            self.ended_at, ended,
        )  # fmt: skip

    def outputs(self) -> Iterator[Output]:
        """Yield what is kept of the output."""
        for chunks in self._journal.since(self._journal.first, BATCH):
            yield Output(self.run, tuple(chunks))
