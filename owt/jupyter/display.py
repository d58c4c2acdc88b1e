"""Display of a call's output in a notebook: Jupyter's display messages, each with plain text."""

from __future__ import annotations

import base64
import secrets
from html import escape
from typing import Any

from IPython.core import display_functions

from owt.jupyter.media import Media
from owt.jupyter.output_items import MimeBundle
from owt.jupyter.renderer import Renderer, description

MAX_LINES = 40
"""Lines of JSON from which on it is displayed as a tree as well."""

# When a sound ends, the next one of the same call begins if it is there.
_PLAY_NEXT = (
    "const all = [...document.querySelectorAll(`audio[data-owt='${this.dataset.owt}']`)];"
    "all[all.indexOf(this) + 1]?.play()"
)

# IPython has no types for it.
_publish: Any = display_functions.publish_display_data


class NotebookRenderer(Renderer):
    """Display of one call below its cell."""

    # A flush waits for another thread of the kernel.
    flush_interval = 0.05
    separates_streams = True

    def __init__(self) -> None:
        super().__init__()
        self._id = secrets.token_hex(4)

    def _show_bundle(self, bundle: MimeBundle) -> None:
        # With the adaptor's own id, so that another cell can update the display.
        transient = {} if bundle.id is None else {"display_id": bundle.id}
        _publish(bundle.data, bundle.metadata, transient=transient, update=bundle.update and bool(transient))

    def _show_document(self, document: Any, text: str) -> None:
        data = {"text/plain": text}
        if text.count("\n") >= MAX_LINES:
            data["application/json"] = document
        _publish(data)

    def _show_media(self, media: Media, caption: str) -> None:
        data = {"text/plain": description(media, caption)}
        encoded = base64.b64encode(media.data).decode()
        match media.type.partition("/")[0]:
            case "image":
                data[media.type] = encoded
            case "audio":
                data["text/html"] = self._player(media, encoded, caption)
        _publish(data)

    def _player(self, media: Media, encoded: str, caption: str) -> str:
        return (
            '<div style="display: flex; align-items: center; gap: 0.75em; margin: 2px 0">'
            '<audio controls preload="auto" style="height: 2.25em; width: 18em; flex: none" '
            f'data-owt="{self._id}" onended="{_PLAY_NEXT}" '
            f'src="data:{escape(media.type)};base64,{encoded}"></audio>'
            f'<span>{escape(caption)} <span style="opacity: 0.6">{", ".join(media.facts)}</span></span></div>'
        )
