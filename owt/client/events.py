"""What a stream of Server-Sent Events says, one event a value."""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import Any

from owt.errors import RemoteError


@dataclass(frozen=True)
class Event:
    """One event of a call.

    | name                 | data                                                            |
    |----------------------|-----------------------------------------------------------------|
    | `message`            | str: a yielded value, a string as it is or anything else's JSON |
    | `result`             | str: the returned value, likewise                               |
    | `bytes`              | bytes: yielded bytes                                            |
    | `stdout`, `stderr`   | str: what was printed                                           |
    | `display`            | dict: a MIME bundle                                             |
    | `incomplete`         | str: the beginning of a value that a failure cut off            |
    | `done`               | dict: the status and the seconds that it took; always last      |

    A failure is no event: it is raised. An adaptor that writes its own events may use any name, and
    their data is str. `json()` reads a `message` or `result`; nothing tells the string "1" from the
    number 1 in a stream, so only who wrote the adaptor knows when to.
    """

    name: str
    data: Any
    id: str = ""

    def json(self) -> Any:
        """What the data holds as JSON. Raises ValueError if it is none."""
        return json.loads(self.data) if isinstance(self.data, str | bytes) else self.data


def event(name: str, data: str, id: str = "") -> Event:
    """The event that a stream holds under this name. Raises `RemoteError` for a failure."""
    match name:
        case "bytes":
            try:
                return Event(name, binascii.a2b_base64(data, strict_mode=True), id)
            except ValueError:
                pass
        case "display" | "done" | "error":
            try:
                document = json.loads(data)
            except ValueError:
                document = None
            if isinstance(document, dict):
                if name == "error" and "title" in document and "status" in document:
                    raise RemoteError(document)
                return Event(name, document, id)
    return Event(name, data, id)


def container(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or list that a text is, if it is one."""
    if text[:1] not in ("{", "["):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict | list) else None


def is_bundle(document: dict[str, Any]) -> bool:
    """Whether a JSON object is a MIME bundle: what a figure or a table is in a stream of events."""
    return "text/plain" in document and all("/" in name for name in document)


def is_end(event: Event) -> bool:
    """Whether this is the server's `done`; an adaptor may have events of that name."""
    data = event.data
    return event.name == "done" and isinstance(data, dict) and data.keys() >= {"status", "seconds"}
