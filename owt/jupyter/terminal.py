"""A call's output in a terminal's IPython, with rich."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.markdown import Markdown
from rich.status import Status
from rich.text import Text as Line

from owt.jupyter.media import Media
from owt.jupyter.output_items import Bundle
from owt.jupyter.renderer import Screen, described


class Terminal(Screen):
    """Shows one call; pictures and sounds are told of in a line."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(file=sys.stdout)
        self._status: Status | None = None

    def _bundle(self, bundle: Bundle) -> None:
        data = bundle.data
        if "text/markdown" in data:
            self._console.print(Markdown(data["text/markdown"]))
        elif isinstance(data.get("text/plain"), str):
            # As it stands: brackets in it are no markup of rich's.
            self._console.print(Line(data["text/plain"]))
        else:
            self._console.print(Line(f"<{', '.join(map(str, data))}>", style="dim"))

    def _pretty(self, document: Any, text: str) -> None:
        self._console.print(JSONHighlighter()(text), soft_wrap=True)

    def _media(self, one: Media, caption: str) -> None:
        self._console.print(Line(described(one, caption), style="dim"))

    def _progress(self, text: str | None) -> None:
        if text is None:
            if self._status is not None:
                self._status.stop()
                self._status = None
        elif self._status is None:
            self._status = self._console.status(f"{text} so far")
            self._status.start()
        else:
            self._status.update(f"{text} so far")
