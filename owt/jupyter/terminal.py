"""Display of a call's output in IPython in a terminal, with rich."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.markdown import Markdown
from rich.text import Text

from owt.jupyter.media import Media
from owt.jupyter.output_items import MimeBundle
from owt.jupyter.renderer import Renderer, description


class TerminalRenderer(Renderer):
    """Display of one call; of pictures and sounds it shows a description."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(file=sys.stdout)

    def _show_bundle(self, bundle: MimeBundle) -> None:
        data = bundle.data
        if "text/markdown" in data:
            self._console.print(Markdown(data["text/markdown"]))
        elif isinstance(data.get("text/plain"), str):
            # `Text`, because rich would read brackets in a str as markup.
            self._console.print(Text(data["text/plain"]))
        else:
            self._console.print(Text(f"<{', '.join(map(str, data))}>", style="dim"))

    def _show_document(self, document: Any, text: str) -> None:
        self._console.print(JSONHighlighter()(text), soft_wrap=True)

    def _show_media(self, media: Media, caption: str) -> None:
        self._console.print(Text(description(media, caption), style="dim"))
