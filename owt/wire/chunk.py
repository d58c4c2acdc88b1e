"""The pieces of what a run sends back, in order.

A run's chunks are: any number of `Stdout`, `Stderr`, `Display`; at most one `Head`, before the
first `Data`; any number of `Data`; at most one `Failed`; and always one `Done`, last. A run that
failed before it answered anything has no `Head`; a run that failed later has both.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

FACTS = "application/vnd.owt.display+json"
"""The media type, in a displayed MIME bundle, of what the display says beside its representations: an object
of `display_id`, `update` (it takes the place of the earlier one with this id) and `metadata`, each if there
is any (Jupyter message spec, `display_data` and `update_display_data`). Or it is nothing to show, and `clear`
alone says that what was shown so far makes way: "now", or "wait" for what follows (`clear_output`)."""

Form = Literal["text", "bytes", "json"]


class Head(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="head"):
    """The status and headers of the answer. Header names keep the adaptor's spelling."""

    status: int
    headers: tuple[tuple[str, str], ...]


class Data(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="data"):
    """A piece of the answer's body.

    `form` says what `body` is: UTF-8 text, bytes, or one JSON document without a newline at its
    end. `result` is True for a returned value and False for a yielded one. `more` is True when
    the next chunk is a `Data` that continues this very value, which was too large for one chunk; of a
    value of form "bytes", every piece but the last has a length that is a multiple of three (so that each
    can be written in base64 by itself); of form "text" and "json", pieces may split a character.
    """

    body: bytes
    form: Form
    result: bool = False
    more: bool = False


class Stdout(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="stdout"):
    """Text that the adaptor wrote to standard output."""

    text: str


class Stderr(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="stderr"):
    """Text that the adaptor wrote to standard error."""

    text: str


class Display(Struct, frozen=True, array_like=True, tag_field="chunk", tag="display"):
    """A MIME bundle that the adaptor displayed (Jupyter message spec, `display_data`)."""

    bundle: dict[str, Any]
    metadata: dict[str, Any] = {}


class Failed(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="failed"):
    """Why the run failed: `status` is what HTTP should answer, `type` a short name of the kind of
    failure (`exception`, `syntax`, `bad-request`, `timeout`, `cancelled`, `kernel-died`, ...),
    `title` and `detail` are for people, `exception` is the exception's class name or empty,
    `traceback` begins at the adaptor's own frame or is empty."""

    status: int
    type: str
    title: str
    detail: str
    exception: str = ""
    traceback: str = ""


class Done(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="done"):
    """The end of a run: its HTTP status and its running time in seconds."""

    status: int
    seconds: float


Chunk = Head | Data | Stdout | Stderr | Display | Failed | Done


OVERHEAD = 128
"""Bytes that a chunk takes in memory beside its payload, so that a million tiny ones count as well."""


def size(chunk: Chunk) -> int:
    """What `chunk` counts against a window or a journal, in bytes: its payload, and `OVERHEAD`."""
    match chunk:
        case Data(body=body):
            return len(body) + OVERHEAD
        case Stdout(text=text) | Stderr(text=text):
            return len(text) + OVERHEAD
        case Display(bundle=bundle):
            return OVERHEAD + sum(map(_length, bundle.values()))
        case Head(headers=headers):
            return OVERHEAD + sum(len(k) + len(v) for k, v in headers)
        case Failed(detail=detail, traceback=traceback):
            return OVERHEAD + len(detail) + len(traceback)
        case Done():
            return OVERHEAD


def _length(representation: object) -> int:
    """Of text and bytes; of JSON, as a Vega chart is, that of its text."""
    if isinstance(representation, str | bytes):
        return len(representation)
    return len(msgspec.json.encode(representation))
