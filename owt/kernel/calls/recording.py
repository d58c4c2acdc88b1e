"""Record of a call's output, which is the answer if the call has no value and the client reads no events."""

from __future__ import annotations

from typing import Any

from owt.kernel.answer.representations import Representation, of_bundle, text_representation
from owt.wire.chunk import FACTS

MAX_RECORDED = 16 * 1024 * 1024
"""Maximum number of characters of text that can be an answer."""
WIDGET = "application/vnd.jupyter.widget-view+json"
"""Media type of a widget's display, which is of use only where the kernel's messages arrive."""


class Recording:
    """Text and displays of one call.

    Displays that the client reads best as plain text are lines of the text. Otherwise the last display is the
    answer, as the last value of a cell is. Not thread-safe.
    """

    def __init__(self, accept: str) -> None:
        """Create a recording for a client with this Accept header.

        `has_displays` is True if displays are a part of the answer, whose type the client decides then.
        """
        self._accept = accept
        self._texts: list[str | _Line] = []
        self._size = 0
        self._picture: Representation | None = None
        self._picture_id: str | None = None
        self.has_displays = False
        self._clears_next = False

    def write(self, text: str) -> None:
        """Add printed text."""
        self._clear_if_due()
        self._texts.append(text[: max(0, MAX_RECORDED - self._size)])
        self._size += len(text)

    def show(self, bundle: dict[str, Any]) -> None:
        """Add a display, replace an earlier one, or remove all output, as the facts in the bundle say."""
        facts = bundle.get(FACTS, {})
        if (clear := facts.get("clear")) is not None:
            self._clears_next = True
            if clear == "now":
                self._clear_if_due()
            return
        bundle = {mime: data for mime, data in bundle.items() if mime != FACTS}
        if not bundle or WIDGET in bundle:
            return
        try:
            representation = of_bundle(bundle).choose(self._accept)
        except Exception:
            # User code has published something that is no MIME bundle.
            return
        self._clear_if_due()
        self.has_displays = True
        self._add(representation, facts.get("display_id"), bool(facts.get("update")))

    def answer(self) -> Representation | None:
        """Return the output as an answer; None if there is none."""
        if self._picture is not None:
            return self._picture
        text = "".join(map(str, self._texts))
        if (left_out := self._size - len(text)) > 0:
            text = f"{text}\n... {left_out} characters left out ...\n"
        # Shell commands write to a terminal, whose lines end with CR and LF.
        return text_representation(text.replace("\r\n", "\n")) if text else None

    def _add(self, representation: Representation, id: str | None, update: bool) -> None:
        if representation.mime != "text/plain":
            if not update or id == self._picture_id:
                self._picture, self._picture_id = representation, id
            return
        line = f"{representation.body.decode()}\n"
        if update:
            for entry in self._texts:
                if isinstance(entry, _Line) and entry.id == id:
                    self._size += len(line) - len(entry.text)
                    entry.text = line
        elif self._size + len(line) <= MAX_RECORDED:
            self._texts.append(_Line(id, line))
            self._size += len(line)
        else:
            self.write(line)

    def _clear_if_due(self) -> None:
        if self._clears_next:
            self._clears_next = False
            self._texts.clear()
            self._size, self._picture, self.has_displays = 0, None, False


class _Line:
    """Display as a line of text, which a later display with the same id replaces."""

    def __init__(self, id: str | None, text: str) -> None:
        self.id = id
        self.text = text

    def __str__(self) -> str:
        return self.text
