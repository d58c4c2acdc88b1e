"""Input of a run: items that its client sends while it runs, within the credit that its kernel gives.

    sender -> push ... end -> RunInput -> Input ... InputEnd -> kernel
                                 ^                                |
                                 +------------- grant <- Credit --+

It is the mirror image of the run's output. The credit begins at zero: the kernel gives the first when the
adaptor looks at its input. So nothing is sent for a call that never reads, and a call that the kernel has not
begun can be queued again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from typing import Protocol

from owt.wire.call import Call
from owt.wire.messages import Input, InputEnd, is_body_input


class InputState(Enum):
    """State of a run's input; `CLOSED` is final."""

    OPEN = "open"
    """Items may follow."""
    ENDED = "ended"
    """No item follows: the input is complete, or its sender broke off."""
    CLOSED = "closed"
    """The run has ended. Items are dropped."""


class InputKernel(Protocol):
    """The kernel that executes the run."""

    def ask(self, message: Input | InputEnd) -> None:
        """Send a message that the kernel handles while the call runs."""


class RunInput:
    """Input of one run.

    It holds what the kernel has given no credit for: one item of each sender, since `push` waits until the
    item has been sent.
    """

    def __init__(self, run: str) -> None:
        self.state = InputState.OPEN
        self._run = run
        self._kernel: InputKernel | None = None
        self._credit = 0
        # Items that wait for credit, each with the future of its sender.
        self._waiting: deque[tuple[Input, asyncio.Future[None] | None]] = deque()
        self._error: str | None = None
        self._requested: asyncio.Future[None] | None = None

    @classmethod
    def of_call(cls, run: str, call: Call) -> RunInput:
        """Return the input of a run of this call: complete if it is the body that the call was sent
        without."""
        new = cls(run)
        if is_body_input(call):
            new._waiting.append((Input(run, call.request.body), None))
            new.end()
        return new

    @property
    def requested(self) -> bool:
        """Return True once the adaptor has looked at its input."""
        return self._kernel is not None

    def push(self, item: bytes | str) -> asyncio.Future[None] | None:
        """Add an item. Returns None if it has been sent, or a future that is done when it has been.

        Credit may be overdrawn by one item, so that none is cut. After the end, items are dropped.
        """
        if self.state is not InputState.OPEN:
            return None
        text = isinstance(item, str)
        message = Input(self._run, item.encode() if isinstance(item, str) else item, text)
        if self._kernel is not None and self._credit > 0 and not self._waiting:
            self._send(self._kernel, message)
            return None
        sent = asyncio.get_running_loop().create_future()
        self._waiting.append((message, sent))
        return sent

    def end(self, error: str | None = None) -> None:
        """Let no item follow. `error` is why the sender broke off, or None if the input is complete."""
        if self.state is InputState.OPEN:
            self.state, self._error = InputState.ENDED, error
            self._wake(self._requested)
            if self._kernel is not None and not self._waiting:
                self._kernel.ask(InputEnd(self._run, error))

    def grant(self, size: int, kernel: InputKernel) -> None:
        """Allow `size` more bytes to be sent to this kernel."""
        if self.state is InputState.CLOSED:
            return
        # The end follows the last item, or the first credit.
        is_end_due = self.state is InputState.ENDED and (bool(self._waiting) or not self.requested)
        self._kernel = kernel
        self._credit += size
        self._wake(self._requested)
        while self._waiting and self._credit > 0:
            message, sent = self._waiting.popleft()
            self._send(kernel, message)
            self._wake(sent)
        if is_end_due and not self._waiting:
            kernel.ask(InputEnd(self._run, self._error))

    async def wait_until_requested(self) -> None:
        """Wait until the adaptor looks at its input, or no item may follow."""
        if not self.requested and self.state is InputState.OPEN:
            self._requested = self._requested or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._requested)

    def run_ended(self, run: object) -> None:
        """Drop what the kernel has not taken, as the run has ended."""
        self.state, self._kernel = InputState.CLOSED, None
        self._wake(self._requested)
        for _, sent in self._waiting:
            self._wake(sent)
        self._waiting.clear()

    def _send(self, kernel: InputKernel, message: Input) -> None:
        self._credit -= message.size
        kernel.ask(message)

    def _wake(self, future: asyncio.Future[None] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)
