"""What a call has given so far: the notebook's `_owt`."""

from __future__ import annotations

from typing import Any

from owt.jupyter.output_items import Blob, Bundle, Json, Named, Piece, Text


class Received:
    """Collects the values among a call's pieces.

    A value that was returned is itself: a text, what JSON holds, bytes, or a MIME bundle as a dict. Of
    what was yielded, texts are joined to one text, and bytes to one bytes; anything else is a list. An
    event under a name of the adaptor's own is `{"event": its name, "data": its data}`.
    """

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._single = False
        self._lines = False

    def add(self, piece: Piece) -> None:
        """The next piece."""
        match piece:
            case Text(text=value, line=line, returned=returned):
                self._lines = self._lines or line
            case Json(value=value, returned=returned) | Blob(data=value, returned=returned):
                pass
            case Bundle(data=value, value=True, returned=returned):
                pass
            case Named(name=name, data=data):
                value, returned = {"event": name, "data": data}, False
            case _:
                return
        self._single = returned and not self._values
        self._values.append(value)

    @property
    def value(self) -> Any:
        """See above; None when there is nothing."""
        values = self._values
        if not values or self._single:
            return values[0] if values else None
        if all(isinstance(value, str) for value in values) and not self._lines:
            return "".join(values)
        if all(isinstance(value, bytes) for value in values):
            return b"".join(values)
        return list(values)
