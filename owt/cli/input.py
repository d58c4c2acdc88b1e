"""Input of `owt call`: a file or standard input that is sent while the call runs."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from owt.errors import CannotSend, OwtError

if TYPE_CHECKING:
    from owt.client.duplex import Duplex

PART = 256 * 1024
"""Maximum size in bytes of what is read and sent at once."""


class Input:
    """A binary file without a buffer, whose parts or `lines` are the items of a call.

    `error` is why it cannot be read, or None.
    """

    def __init__(self, file: Any, lines: bool) -> None:
        self.file = file
        self.lines = lines
        self.error: CannotSend | None = None

    def send_to(self, stream: Duplex) -> None:
        """Begin to send, as the file gives it, in a thread that ends with the stream or the process."""
        threading.Thread(target=self._send, args=(stream,), daemon=True).start()

    def _send(self, stream: Duplex) -> None:
        try:
            for item in self._items():
                stream.send(item)
            stream.end()
        except OSError as error:
            self.error = CannotSend(f"--input: cannot be read: {error.strerror or error}")
            stream.close()
        except OwtError:
            # The reader of the stream gets the failure. An adaptor may end before its input does.
            pass

    def _items(self) -> Iterator[str | bytes]:
        if not self.lines:
            yield from iter(lambda: self.file.read(PART), b"")
            return
        for line in io.BufferedReader(self.file):
            line = line.removesuffix(b"\n")
            try:
                yield line.decode()
            except UnicodeDecodeError:
                yield line
