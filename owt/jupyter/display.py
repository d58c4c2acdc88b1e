"""A call's output in a notebook: Jupyter's own display messages, each with plain text for terminals too."""

from __future__ import annotations

import base64
import secrets
from html import escape
from typing import Any

from IPython.core import display_functions

from owt.jupyter.media import Media
from owt.jupyter.output_items import Bundle
from owt.jupyter.renderer import Screen, described

LONG = 40
"""Lines of JSON, of which more are shown as a tree to open."""

# When one sound ends, the next one of its call begins, if it is there by then.
_NEXT = (
    "const all = [...document.querySelectorAll(`audio[data-owt='${this.dataset.owt}']`)];"
    "all[all.indexOf(this) + 1]?.play()"
)


class Notebook(Screen):
    """Shows one call below its cell."""

    # A flush waits for the kernel's other thread.
    flush_every = 0.05
    apart = True

    def __init__(self) -> None:
        super().__init__()
        self._id = secrets.token_hex(4)
        self._shows_progress = False

    def _bundle(self, bundle: Bundle) -> None:
        # As it is: another cell may update what this one has displayed.
        transient = {} if bundle.id is None else {"display_id": bundle.id}
        _publish(bundle.data, bundle.metadata, transient=transient, update=bundle.update and bool(transient))

    def _pretty(self, document: Any, text: str) -> None:
        data = {"text/plain": text}
        if text.count("\n") >= LONG:
            data["application/json"] = document
        _publish(data)

    def _media(self, one: Media, caption: str) -> None:
        text = described(one, caption)
        encoded = base64.b64encode(one.data).decode()
        match one.type.partition("/")[0]:
            case "image":
                _publish({one.type: encoded, "text/plain": text})
            case "audio":
                _publish({"text/html": self._player(one, encoded, caption), "text/plain": text})
            case _:
                _publish({"text/plain": text})

    def _player(self, one: Media, encoded: str, caption: str) -> str:
        note = ", ".join(one.facts)
        # What is there once more is not to be heard twice.
        chain = f'data-owt="{self._id}" onended="{_NEXT}"' if one.part != 0 else ""
        return (
            '<div style="display: flex; align-items: center; gap: 0.75em; margin: 2px 0">'
            f'<audio controls preload="auto" style="height: 2.25em; width: 18em; flex: none" {chain} '
            f'src="data:{escape(one.type)};base64,{encoded}"></audio>'
            f'<span>{escape(caption)} <span style="opacity: 0.6">{note}</span></span></div>'
        )

    def _progress(self, text: str | None) -> None:
        if text is None and not self._shows_progress:
            return
        transient = {"display_id": f"{self._id}-progress"}
        data = {"text/plain": "" if text is None else f"{text} so far"}
        _publish(data, transient=transient, update=self._shows_progress)
        self._shows_progress = text is not None


# It has no types.
_publish: Any = display_functions.publish_display_data
