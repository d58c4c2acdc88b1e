"""Events of a call, decoded from a stream of Server-Sent Events."""

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
    | `result`             | str or bytes: the returned value, likewise                      |
    | `bytes`              | bytes: yielded bytes                                            |
    | `stdout`, `stderr`   | str: printed text                                               |
    | `display`            | dict: a MIME bundle                                             |
    | `input`              | dict: the `prompt` and `password` of an `input()` that waits    |
    | `incomplete`         | str: the beginning of a value that a failure cut off            |
    | `done`               | dict: the status and the duration in seconds; always last       |

    A failure is raised and not an event. Events that an adaptor writes itself have any name, and their
    data is str. `json()` decodes a `message` or `result`. `is_json` is True for a value that is neither a
    string nor bytes, and so distinguishes the number 1 from the string "1".
    """

    name: str
    data: Any
    id: str = ""
    is_json: bool = False

    def json(self) -> Any:
        """Return the data decoded as JSON. Raises ValueError if it is not JSON."""
        return json.loads(self.data) if isinstance(self.data, str | bytes) else self.data


def decode_event(name: str, data: str, id: str = "", form: str = "text") -> Event:
    """Return the event that a stream contains under this name; `form` is that of `owt.wire.sse.Event`. Raises
    `RemoteError` for a failure."""
    if name == "bytes" or form == "bytes":
        try:
            return Event(name, binascii.a2b_base64(data, strict_mode=True), id)
        except ValueError:
            pass
    match name:
        case "display" | "done" | "error" | "input":
            try:
                document = json.loads(data)
            except ValueError:
                document = None
            if isinstance(document, dict):
                if name == "error" and "title" in document and "status" in document:
                    raise RemoteError(document)
                return Event(name, document, id)
    return Event(name, data, id, form == "json")


def container(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the JSON object or list in a text, or None."""
    if text[:1] not in ("{", "["):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict | list) else None


def is_bundle(document: dict[str, Any]) -> bool:
    """Return whether a JSON object is a MIME bundle, the form of figures and tables in a stream of events."""
    return "text/plain" in document and all("/" in name for name in document)


def is_prompt(event: Event) -> bool:
    """Return whether this is the question of an `input()` and not an adaptor's event of that name."""
    data = event.data
    return event.name == "input" and isinstance(data, dict) and data.keys() == {"prompt", "password"}


def is_end(event: Event) -> bool:
    """Return whether this is the server's `done` and not an adaptor's event of that name."""
    data = event.data
    return event.name == "done" and isinstance(data, dict) and data.keys() >= {"status", "seconds"}
