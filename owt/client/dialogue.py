"""Progress of a client that sends messages to a run while it gets the run's events, by WebSocket.

    opening -> open -> items, the end of the input -> events, received ... done

It has no I/O. The server says which messages it has received, and the others are sent again by the next
connection (the subprotocol `owt.events`), so nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any
from uuid import uuid4

import msgspec

from owt.client import request
from owt.client.events import Event
from owt.client.following import Following
from owt.errors import CannotSend

SUBPROTOCOL = "owt.events"
MAX_UNACKNOWLEDGED = 1 << 20
"""Size of the messages that the server has not acknowledged yet at which no other one may be added."""
PER_MESSAGE = 1024
"""Size of a message beside its characters or bytes. The server acknowledges after 64 KiB at the latest."""

Message = str | bytes


class _Event(msgspec.Struct):
    """Event as it is sent. Most data are decoded only when the caller wants them."""

    event: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    id: str | None = None
    form: str = "text"


class Dialogue(Following):
    """Progress in both directions of one run. `input_ended` is True when no item may follow."""

    def __init__(self, *, body: bool = False) -> None:
        """With `body`, the items are the parts of the body of the request, and the client reads the response
        to that elsewhere."""
        super().__init__()
        self.input_ended = False
        self.body = body
        self._end = uuid4().hex
        # What the server has not acknowledged, its size, and the number of messages before it.
        self._messages: deque[Message] = deque()
        self._size = 0
        self._acknowledged = 0
        # Number of messages that the server has by this connection and those before it; None before `open`.
        self._position: int | None = None
        self._events = msgspec.json.Decoder(_Event)

    def opening(self) -> str:
        """Return the first message of a new connection, which begins the call or goes on with its run."""
        self._position = None
        if self.run is None:
            first = {"start": True, "end": self._end, "body": self.body}
        else:
            first = {"resume": f"{self.run}-{self.after}", "received": self._acknowledged}
        return json.dumps(first | {"output": not self.body})

    def receive(self, text: Message) -> Event | None:
        """Return the event in a message of the server, or None for one that is for the connection alone.

        Raises `RemoteError` for the failure of the call, and ValueError for what is no event.
        """
        event = self._events.decode(text)
        match event.event:
            case "open":
                facts = msgspec.json.decode(event.data)
                self.run = facts["run"]
                self._acknowledge(facts["received"])
                self._position = self._acknowledged
            case "received":
                self._acknowledge(msgspec.json.decode(event.data))
            case _:
                return self._decode(event.event, _text(event), event.id or "", event.form)
        return None

    @property
    def has_room(self) -> bool:
        """True if the client keeps few enough messages to add one."""
        return self._size < MAX_UNACKNOWLEDGED

    def add(self, item: Any) -> None:
        """Add an item: text, bytes, or a value that becomes the text of its JSON. Raises `CannotSend`."""
        if self.input_ended or self.over:
            what = "the call has ended" if self.over else "the input was ended"
            raise CannotSend(f"{what}, so that nothing more can be sent")
        self._add(_encoded(item))

    def end_input(self) -> None:
        """Let no item follow."""
        if not self.input_ended:
            self.input_ended = True
            self._add(self._end)

    def has_message(self) -> bool:
        """Return whether there is a message for the connection now."""
        end = self._acknowledged + len(self._messages)
        return self._position is not None and self._position < end and not self.over

    def next_message(self) -> Message | None:
        """Return the next message for the connection, or None if there is none now."""
        if self._position is None or not self.has_message():
            return None
        message = self._messages[self._position - self._acknowledged]
        self._position += 1
        return message

    def _add(self, message: Message) -> None:
        self._messages.append(message)
        self._size += len(message) + PER_MESSAGE

    def _acknowledge(self, received: int) -> None:
        """Forget the messages that the server has received."""
        while self._acknowledged < received and self._messages:
            self._size -= len(self._messages.popleft()) + PER_MESSAGE
            self._acknowledged += 1
            self._attempts.succeed()


def value_of(event: Event) -> Any:
    """Return the value that an event carries: a string, bytes, or what its JSON is."""
    return event.json() if event.is_json else event.data


def has_value(event: Event) -> bool:
    """Return whether the adaptor has yielded or returned this. A return without a value is none."""
    is_none = event.name == "result" and event.is_json and event.data == "null"
    return event.name in ("message", "bytes", "result") and not is_none


def _encoded(item: Any) -> Message:
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    return request.item_text(item)


def _text(event: _Event) -> str:
    """Return the data as Server-Sent Events have them: a string as it is, other values as JSON."""
    data = bytes(event.data)
    is_string = event.form != "json" and data.startswith(b'"')
    return msgspec.json.decode(data, type=str) if is_string else data.decode()
