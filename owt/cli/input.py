"""Input of `owt call`: a file or standard input that is sent while the call runs."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from owt.errors import CannotSend, OwtError

if TYPE_CHECKING:
    from owt.client.duplex import Duplex

PART = 256 * 1024
"""Maximum size in bytes of what is read and sent at once."""


def open_input(path: str) -> Any:
    """Return a file, or standard input for `-`, without a buffer. Raises `CannotSend`."""
    if path == "-":
        # A thread that waits in a buffered file has its lock, which Python needs at its end.
        return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    try:
        # The process ends with the call.
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise CannotSend(f"--input: {path} cannot be read: {error.strerror or error}") from None


def read_parts(file: Any) -> Iterator[bytes]:
    """Yield what a file gives, as it comes. Raises `CannotSend`."""
    try:
        yield from iter(lambda: file.read(PART), b"")
    except OSError as error:
        raise CannotSend(f"--input: cannot be read: {error.strerror or error}") from None


class Lines:
    """Lines of a file without a buffer, which are the items of a call. `error` is why it cannot be read, or
    None."""

    def __init__(self, file: Any) -> None:
        self.error: CannotSend | None = None
        self._file = file
        self._settings: list[Any] | None = None
        """The settings of the terminal while it hides what is typed, else None."""
        self._lock = threading.Lock()

    def hide(self) -> None:
        """Let the terminal, if the file is one, not show what is typed until the next line has been read."""
        # Windows has no such module, and its terminals show what is typed.
        with self._lock, suppress(ImportError):
            if self._settings is None and self._file.isatty():
                import termios

                self._settings = termios.tcgetattr(self._file)
                hiding = [*self._settings]
                hiding[3] = (hiding[3] & ~termios.ECHO) | termios.ECHONL
                termios.tcsetattr(self._file, termios.TCSADRAIN, hiding)

    def show(self) -> None:
        """Let the terminal show again what is typed."""
        with self._lock:
            if self._settings is not None:
                import termios

                # A terminal that was closed shows nothing.
                with suppress(termios.error):
                    termios.tcsetattr(self._file, termios.TCSADRAIN, self._settings)
                self._settings = None

    def send_to(self, stream: Duplex) -> None:
        """Begin to send, as the file gives it, in a thread that ends with the stream or the process."""
        threading.Thread(target=self._send, args=(stream,), daemon=True).start()

    def _send(self, stream: Duplex) -> None:
        try:
            stream.send_all(self._read())
        except OSError as error:
            self.error = CannotSend(f"--input: cannot be read: {error.strerror or error}")
            stream.close()
        except OwtError:
            # The reader of the stream gets the failure too.
            pass

    def _read(self) -> Iterator[str | bytes]:
        for line in io.BufferedReader(self._file):
            self.show()
            line = line.removesuffix(b"\n")
            try:
                yield line.decode()
            except UnicodeDecodeError:
                yield line
