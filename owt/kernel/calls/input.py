"""Input of one run in the kernel: what its client sends while it runs, mirror image of the run's output.

The control thread adds items, which arrive within the credit that this side gives. Any thread of the run, or
a task, takes them. The first look gives a window of credit, so that nothing is sent for a call that never
looks; taking items gives more.
"""

from __future__ import annotations

import threading
from collections import deque

from owt.errors import BadRequest
from owt.kernel.body import Items
from owt.kernel.calls.output_sender import OutputSender
from owt.wire.messages import Input

NO_SOURCE = (
    "no client can send messages to this call: the client of a plain call does not know the run before its "
    "answer begins. Call by WebSocket; or with stream=sse, detach=1 or the header Owt-Run, and send messages "
    "by POST /_owt/runs/ID/input; or use `owt call --input - --lines`, or `duplex` of owt.Client"
)


class RunInput:
    """Items from the run's client, in order. A run waits for them as it waits for credit of its output.

    `received` is the number of items that have arrived, `consumed` that of those that were taken, and `whole`
    is as in `owt.kernel.body.Items`.
    """

    def __init__(
        self, sender: OutputSender, *, after_body: bool = False, has_source: bool = True
    ) -> None:
        """`sender` sends the run's output, and the credit of its input. With `after_body`, the body of the
        request comes first, as an item that is no message. Without `has_source`, no client can send items
        before the answer begins, whose headers have the run's id."""
        self._sender = sender
        self._has_source = has_source
        self._after_body = after_body
        self.received = 0
        self.consumed = 0
        # What the frontend may still send of the credit that it got; None until it got some.
        self.credit: int | None = None
        self._items: deque[Input] = deque()
        self._due = sender.window
        self._ended = False
        self._error: str | None = None
        self._closed = False
        self.whole: bytes | None = None
        self._lock = threading.Lock()

    # In the control thread

    def add(self, item: Input) -> None:
        """Add an item."""
        if self._closed:
            return
        if self._after_body and self.whole is None:
            self.whole = item.data
        else:
            self.received += 1
            with self._lock:
                self.credit = (self.credit or 0) - item.size
            self._items.append(item)
        self._sender.notify()

    def end(self, error: str | None) -> None:
        """Let no item follow; `error` is why the sender broke off, or None if the input is complete."""
        self._error, self._ended = error, True
        self._sender.notify()

    @property
    def ended(self) -> bool:
        """True if no item follows those that have arrived."""
        return self._ended

    def break_off(self, error: str) -> None:
        """End the body that the input is, or begins with, for this reason, if it is not complete."""
        if not self._ended and self.whole is None:
            self.end(error)

    # In the run

    def is_ready(self) -> bool:
        """Return True if `next_item` need not wait."""
        return bool(self._items) or self._ended or self._closed

    def next_item(self) -> bytes | str | None:
        """Return the next item, or None after the last one. Blocks until there is one.

        Raises `BadRequest` if the sender broke off, EOFError if no client can send one, KeyboardInterrupt if
        the run is stopped meanwhile, and RuntimeError after the end of the run.
        """
        with self._sender.shielded():
            while (item := self._pop()) is None and not self._is_over():
                self._check_source()
                self._sender.wait_until(self.is_ready)
        return item

    async def next_item_async(self) -> bytes | str | None:
        """Do what `next_item` does, but wait on the event loop."""
        while True:
            with self._sender.shielded():
                item = self._pop()
                is_last = item is None and self._is_over()
            if item is not None or is_last:
                return item
            self._check_source()
            await self._sender.wait_until_async(self.is_ready)

    @property
    def body(self) -> Items:
        """The request's body."""
        return CollectedBody(self) if self._after_body else self

    def wait_for_body(self) -> bytes:
        """Return the body that comes first. Blocks until it is here, as `next_item` does."""
        with self._sender.shielded():
            while self.whole is None:
                self._is_over()
                self._sender.wait_until(self._has_body)
        return self.whole

    async def wait_for_body_async(self) -> bytes:
        """Do what `wait_for_body` does, but wait on the event loop."""
        while self.whole is None:
            with self._sender.shielded():
                self._is_over()
            await self._sender.wait_until_async(self._has_body)
        return self.whole

    def close(self) -> None:
        """Drop all items, as the run has ended."""
        self._closed = True
        self._items.clear()
        self._sender.notify()

    def _is_over(self) -> bool:
        """Return True if no item will come; otherwise give the credit that is due."""
        if self._closed:
            raise RuntimeError("the input of this call is gone, because the call has ended")
        if self._ended and not self._items:
            if self._error is not None:
                raise BadRequest("body", self._error)
            return True
        self._give_credit()
        return False

    def _check_source(self) -> None:
        if not (self._has_source or self._sender.answer_begun or self.received):
            raise EOFError(NO_SOURCE)

    def _has_body(self) -> bool:
        return self.whole is not None or self._closed

    def _pop(self) -> bytes | str | None:
        try:
            item = self._items.popleft()
        except IndexError:
            return None
        self.consumed += 1
        if not self._ended:
            self._give_credit(item.size, self._sender.window // 4)
        return item.data.decode() if item.text else item.data

    def _give_credit(self, consumed: int = 0, step: int = 1) -> None:
        """Let the frontend send as much as has been read, if that is at least `step` bytes."""
        with self._lock:
            self._due += consumed
            if self._due < step:
                return
            due, self._due = self._due, 0
            self.credit = (self.credit or 0) + due
        self._sender.request_input(due)


class CollectedBody:
    """Body that the frontend had collected before the call, as the only item of a stream."""

    whole: bytes | None = None

    def __init__(self, input: RunInput) -> None:
        self._input = input
        self._ended = False

    def next_item(self) -> bytes | None:
        """Wait for the body, and return it; None the second time."""
        if self._ended:
            return None
        body = self._input.wait_for_body()
        self._ended = True
        return body

    async def next_item_async(self) -> bytes | None:
        """Do what `next_item` does, but wait on the event loop."""
        if self._ended:
            return None
        body = await self._input.wait_for_body_async()
        self._ended = True
        return body
