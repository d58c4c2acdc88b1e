"""Input of a run: items that its client sends while it runs, within the credit that its kernel gives.

    sender -> push ... end -> RunInput -> Input ... InputEnd -> kernel
                                 ^                                |
                                 +------------- grant <- Credit --+

It is the mirror image of the run's output. The credit begins at zero: the kernel gives the first when the
adaptor looks at its input. So nothing is sent for a call that never reads, and a call that the kernel has not
begun can be queued again.

A sender that can wait uses `push`. Posted items (`post`) are numbered from 1, so that one which is sent again
counts once, and they are refused beyond a limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from owt.wire.call import Call
from owt.wire.chunk import OVERHEAD, Prompt
from owt.wire.messages import INPUT_LOST, Input, InputEnd, Keep, KeptRun, is_body_input


class InputState(Enum):
    """State of a run's input; `CLOSED` is final."""

    OPEN = "open"
    """Items may follow."""
    ENDED = "ended"
    """No item follows: the input is complete, or its sender broke off."""
    CLOSED = "closed"
    """The run has ended. Items are dropped."""


Refusal = Literal["is body", "out of order", "ended", "too large", "full"]
"""Reason why a posted item is refused."""


class InputKernel(Protocol):
    """The kernel that executes the run."""

    def ask(self, message: Input | InputEnd) -> None:
        """Send a message that the kernel handles while the call runs."""


class MessageConnection(Protocol):
    """WebSocket that sends items."""

    def replaced(self) -> None:
        """Send no more, as the client has another connection now."""

    def run_ended(self) -> None:
        """Handle the end of the run."""


@dataclass
class MessageSource:
    """Client that sends items by WebSocket: its connection, if it has one now, and the number of messages
    of all of its connections that the kernel has been sent. The message `end` ends the input."""

    connection: MessageConnection | None
    received: int = 0
    end: str | None = None


class RunInput:
    """Input of one run.

    It holds what the kernel has given no credit for: one item of each sender, since `push` waits until the
    item has been sent, and posted items up to a limit. `received` is the number of posted items; `sent` that
    of all items that the kernel has been sent; `is_body` is True if the items are parts of a body; `prompt`
    is the question whose answer the adaptor waits for.
    """

    def __init__(self, run: str) -> None:
        self.state = InputState.OPEN
        self.received = 0
        self.sent = 0
        self.is_body = False
        self.source: MessageSource | None = None
        self.prompt: Prompt | None = None
        self._run = run
        # Body that the call was sent without. It needs no credit, and precedes all items.
        self._body: Input | None = None
        # Size of the posted items that wait.
        self._held = 0
        self._kernel: InputKernel | None = None
        self._credit = 0
        # Items that wait for credit, each with the future of its sender.
        self._waiting: deque[tuple[Input, asyncio.Future[None] | None]] = deque()
        self._error: str | None = None
        self._requested: asyncio.Future[None] | None = None

    @classmethod
    def of_call(cls, run: str, call: Call, keep: Keep | None = None) -> RunInput:
        """Return the input of a run of this call, which begins with the body that the call was sent
        without, if there is one."""
        new = cls(run)
        if is_body_input(call, keep):
            new._body = Input(run, call.request.body)
        return new

    @classmethod
    def restore(cls, kept: KeptRun) -> RunInput:
        """Return the input of a run that a kernel has from an earlier frontend. A body comes no further."""
        new = cls(kept.run)
        new.received = new.sent = kept.received
        if kept.call.request.input_size and not kept.call.body_parsed:
            new.is_body, new.state, new._error = True, InputState.ENDED, INPUT_LOST
        elif kept.input_ended:
            new.state = InputState.ENDED
        if kept.call.request.scheme in ("ws", "wss"):
            end = kept.call.input_end
            new.source = MessageSource(None, kept.received + (kept.input_ended and end is not None), end)
        return new

    @property
    def requested(self) -> bool:
        """Return True once the adaptor has looked at its input."""
        return self._kernel is not None

    @property
    def end_sent(self) -> bool:
        """Return True once the kernel has been sent the end."""
        return self.state is InputState.ENDED and self.requested and not self._waiting

    def push(self, item: bytes | str) -> asyncio.Future[None] | None:
        """Add an item. Returns None if it has been sent, or a future that is done when it has been.

        Credit may be overdrawn by one item, so that none is cut. After the end, items are dropped.
        """
        if self.state is not InputState.OPEN:
            return None
        message = self._message(item)
        if self._send_now(message):
            return None
        sent = asyncio.get_running_loop().create_future()
        self._waiting.append((message, sent))
        return sent

    def drop_pushed(self) -> None:
        """Drop the item that a sender waits for: it sends the item again by another connection."""
        dropped = [(message, sent) for message, sent in self._waiting if sent is not None]
        for message, sent in dropped:
            self._waiting.remove((message, sent))
            self._wake(sent)

    def post(self, item: bytes | str | None, number: int | None, limit: int, *, end: bool) -> Refusal | None:
        """Add the item with this number (by default the next one) if there is one, and end the input with
        `end`. Returns None, or why nothing has changed: there may be `limit` bytes that the adaptor has yet
        to take.

        An item that was received before is ignored, also after the end.
        """
        if self.is_body:
            return "is body"
        if item is None or (number is not None and number <= self.received):
            if end and item is None and self.state is InputState.CLOSED:
                return "ended"
        elif number is not None and number > self.received + 1:
            return "out of order"
        elif self.state is not InputState.OPEN:
            return "ended"
        else:
            message = self._message(item)
            if len(message.data) > limit:
                return "too large"
            if self._held + message.size > limit + OVERHEAD:
                return "full"
            self.received += 1
            if not self._send_now(message):
                self._held += message.size
                self._waiting.append((message, None))
        if end:
            self.end()
        return None

    def ask(self, prompt: Prompt) -> None:
        """Record that the adaptor asks, unless the answer is on its way."""
        is_asking = self.state is InputState.OPEN and not self._waiting and self.sent == prompt.consumed
        self.prompt = prompt if is_asking else None

    def end(self, error: str | None = None) -> None:
        """Let no item follow. `error` is why the sender broke off, or None if the input is complete."""
        if self.state is InputState.OPEN:
            self.state, self._error, self.prompt = InputState.ENDED, error, None
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
        if self._body is not None:
            kernel.ask(self._body)
            self._body = None
        while self._waiting and self._credit > 0:
            message, sent = self._waiting.popleft()
            self._send(kernel, message)
            if sent is None:
                self._held -= message.size
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
        self.state, self._kernel, self._body, self.prompt = InputState.CLOSED, None, None, None
        self._wake(self._requested)
        for _, sent in self._waiting:
            self._wake(sent)
        self._waiting.clear()
        if self.source is not None and self.source.connection is not None:
            self.source.connection.run_ended()

    def _message(self, item: bytes | str) -> Input:
        text = isinstance(item, str)
        return Input(self._run, item.encode() if isinstance(item, str) else item, text)

    def _send_now(self, message: Input) -> bool:
        """Send an item that has just come, or return False if it has to wait for credit."""
        self.prompt = None
        if self._kernel is None or self._credit <= 0 or self._waiting:
            return False
        self._send(self._kernel, message)
        return True

    def _send(self, kernel: InputKernel, message: Input) -> None:
        self.sent += 1
        self._credit -= message.size
        kernel.ask(message)

    def _wake(self, future: asyncio.Future[None] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)
