"""The texts that a kernel remembers."""

from __future__ import annotations

import linecache
from collections import OrderedDict
from dataclasses import dataclass, field

from owt.kernel.code.prepared import Cell, Explicit, Expression, defines


@dataclass(slots=True, eq=False)
class Text:
    """What is known of one text: as explicit code, by `fn_name`, and as anything else."""

    binds: frozenset[str]
    explicit: dict[str, Explicit] = field(default_factory=dict)
    other: Expression | Cell | None = None

    def drop(self) -> None:
        """Take what was made of it out of Python's registries."""
        for program in {explicit.program for explicit in self.explicit.values()}:
            program.drop()
        match self.other:
            case Expression(program=program):
                program.drop()
            case Cell() as cell if not defines(cell.body) and not defines(cell.last):
                # Functions that a cell left in the session still want their lines.
                linecache.cache.pop(cell.filename, None)


class RecentTexts(OrderedDict[str, Text]):
    """Texts, the least recently used of which is dropped past `limit`."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def find(self, code: str) -> Text | None:
        """What is known of `code`, which counts as a use of it."""
        text = self.get(code)
        if text is not None:
            self.move_to_end(code)
        return text

    def keep(self, code: str, text: Text) -> None:
        """Remember it as the one used last."""
        self[code] = text
        self.move_to_end(code)
        if len(self) > self._limit:
            self.popitem(last=False)[1].drop()
