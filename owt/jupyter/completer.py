"""What Tab offers after `%owt` and `%%owt`: options, sessions, and variables after a `$`."""

from __future__ import annotations

import re
from typing import Any

from owt.errors import OwtError
from owt.jupyter import commands
from owt.jupyter.magics import Magics


class Completer:
    """Completes the magics' lines in one shell."""

    def __init__(self, magics: Magics) -> None:
        self._magics = magics

    def line(self, shell: Any, event: Any) -> list[str]:
        """After `%owt`."""
        words = [] if event.symbol.startswith("-") else ["serve", "stop"]
        return self._sessions(event) or commands.option_names(commands.connect) + words

    def cell(self, shell: Any, event: Any) -> list[str]:
        """After `%%owt`."""
        if variable := re.search(r"\$(\w*)$", event.text_until_cursor):
            found = [name for name in shell.user_ns if name.startswith(variable[1]) and name[:1] != "_"]
            # What is completed may begin with the $ or after it.
            mark = "$" if "$" in event.symbol else ""
            start = event.symbol.rpartition("$")[0]
            return [f"{start}{mark}{name}" for name in sorted(found)]
        return self._sessions(event) or commands.option_names(commands.run)

    def _sessions(self, event: Any) -> list[str]:
        if not re.search(r"(--session|-s)[ =]\S*$", event.text_until_cursor):
            return []
        connection = self._magics.connection
        try:
            return [] if connection is None else connection.session_names()
        except OwtError:
            return []
