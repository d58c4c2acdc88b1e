"""Chunks: the pieces of what a run sends back, in order.

A run has any number of `Stdout`, `Stderr`, `Display` and `Prompt`; at most one `Head`, before the first
`Data`; any number of `Data`; at most one `Failed`; and exactly one `Done`, last. A run that failed before it
answered anything has no `Head`; a run that failed later has both.
"""

from __future__ import annotations

from typing import Any, Literal, Union

import msgspec
from msgspec import Struct

FACTS = "application/vnd.owt.display+json"
"""Media type, in a displayed MIME bundle, of an object with facts about the display: `display_id`, `update`
(the display replaces the earlier one with this id) and `metadata`, each if there is any (Jupyter message
spec, `display_data` and `update_display_data`). A bundle with nothing to show has `clear` alone: earlier
displays are removed "now", or "wait" for the next one (`clear_output`)."""

Form = Literal["text", "bytes", "json"]


class Head(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="head"):
    """Status and headers of the answer. Header names keep the adaptor's spelling.

    `personal` is True if the adaptor has looked at what identifies its client (`owt.kernel.context`).
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    personal: bool = False


class Data(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="data"):
    """Piece of the answer's body.

    `form` says what `body` is: UTF-8 text, bytes, or one JSON document without a newline at its end. `result`
    is True for a returned value and False for a yielded one.

    `more` is True if the next chunk is a `Data` that continues the same value, which was too large for one
    chunk. Of a value of form "bytes", every piece but the last has a length that is a multiple of three, so
    that each can be written in base64 separately. Of form "text" and "json", pieces may split a character.
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
    """MIME bundle that the adaptor displayed (Jupyter message spec, `display_data`)."""

    bundle: dict[str, Any]
    metadata: dict[str, Any] = {}


class Prompt(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="prompt"):
    """Question of the adaptor's `input()` or, with `password`, `getpass.getpass()`.

    The next item of the run's input is the answer. `consumed` is the number of items that the adaptor has
    taken before.
    """

    text: str
    password: bool = False
    consumed: int = 0


class Failed(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="failed"):
    """Failure of the run.

    `status` is the HTTP status, `type` a short name of the kind of failure (`exception`, `syntax`,
    `bad-request`, `timeout`, `cancelled`, `kernel-died`, ...). `title` and `detail` are for people.
    `exception` is the name of the exception's class, `traceback` begins at the adaptor's own frame; both may
    be empty.
    """

    status: int
    type: str
    title: str
    detail: str
    exception: str = ""
    traceback: str = ""


class Done(Struct, frozen=True, array_like=True, gc=False, tag_field="chunk", tag="done"):
    """End of the run: its HTTP status and its running time in seconds. `personal` is as in `Head`."""

    status: int
    seconds: float
    personal: bool = False


Chunk = Union[Head, Data, Stdout, Stderr, Display, Prompt, Failed, Done]


OVERHEAD = 128
"""Bytes that a chunk takes in memory beside its payload. They matter for a million tiny chunks."""


def size(chunk: Chunk) -> int:
    """Return the size of `chunk` in bytes, for windows and journals: its payload and `OVERHEAD`."""
    if isinstance(chunk, Data):
        return len(chunk.body) + OVERHEAD
    if isinstance(chunk, (Stdout, Stderr, Prompt)):
        return _length(chunk.text) + OVERHEAD
    if isinstance(chunk, Done):
        return OVERHEAD
    if isinstance(chunk, Head):
        return OVERHEAD + sum(len(k) + len(v) for k, v in chunk.headers)
    if isinstance(chunk, Display):
        bundle = chunk.bundle
        # Most displays have no metadata.
        more = _length(chunk.metadata) if chunk.metadata else 0
        return OVERHEAD + more + sum(len(kind) + _length(bundle[kind]) for kind in bundle)
    texts = (chunk.type, chunk.title, chunk.detail, chunk.exception, chunk.traceback)
    return OVERHEAD + sum(map(_length, texts))


def _length(representation: object) -> int:
    """Return the number of bytes that text or bytes take in memory, or the JSON text of another value.

    A character takes four at most, and one in ASCII.
    """
    if isinstance(representation, str):
        return len(representation) if representation.isascii() else 4 * len(representation)
    if isinstance(representation, bytes):
        return len(representation)
    return len(msgspec.json.encode(representation))
