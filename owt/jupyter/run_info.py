"""What a server's events do not say of an answer, asked when it is needed."""

from __future__ import annotations

from typing import Any

from owt.client import Client
from owt.errors import OwtError


class RunFacts:
    """What the server knows of the answer of a `run`: see `owt.jupyter.output_items.Facts`."""

    def __init__(self, client: Client) -> None:
        self.run = ""
        self._client = client
        self._type = ""

    @property
    def type(self) -> str:
        """The answer's Content-Type; it stays what it is when the answer has begun."""
        if not self._type:
            self._ask()
        return self._type

    @property
    def form(self) -> str:
        """The form of the newest value."""
        return str(self._ask().get("form") or "")

    def _ask(self) -> dict[str, Any]:
        try:
            told = self._client.run(self.run) if self.run else {}
        except OwtError:
            # The value is here; how it is shown is guessed.
            told = {}
        self._type = str(told.get("content_type") or self._type)
        return told
