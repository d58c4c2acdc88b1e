"""A TCP proxy whose connections a test can cut."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class TcpProxy:
    """Proxy on a free port that forwards connections to a server until the test cuts them."""

    def __init__(self, port: int, limit: Callable[[], int] | None = None) -> None:
        """`limit` returns the number of bytes of the next direction after which its connection is cut."""
        self._limit = limit or (lambda: sys.maxsize)
        self.cuts = 0
        self._to = ("127.0.0.1", port)
        self._closed = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._listeners = [self._listening]
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def cut(self) -> int:
        """Close every connection, as a failing network does, and return their number."""
        with self._lock:
            ended, self._open = self._open, []
        for end in ended:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        return len(ended) // 2

    def close(self) -> None:
        """Cut every connection, and refuse new ones until `open`."""
        self._closed = True
        self.cut()

    def open(self) -> None:
        """Forward connections again."""
        self._closed = False

    def redirect(self, port: int) -> None:
        """Cut every connection, and forward new ones to another server."""
        self._to = ("127.0.0.1", port)
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut_expression(self) -> str:
        """Return a Python expression that cuts every connection; its value is their number."""
        listening = socket.create_server(("127.0.0.1", 0))
        self._listeners.append(listening)
        self._begin(self._listen, listening)
        port = listening.getsockname()[1]
        return f"int(__import__('socket').create_connection(('127.0.0.1', {port})).recv(9))"

    def _listen(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                near.sendall(b"%d" % self.cut())
                near.close()

    def _begin(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                if self._closed:
                    near.close()
                    continue
                far = socket.create_connection(self._to)
                with self._lock:
                    self._open += [near, far]
                self._begin(self._pass_on, near, far, self._limit())
                self._begin(self._pass_on, far, near, self._limit())

    def _pass_on(self, source: socket.socket, sink: socket.socket, left: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data[:left])
                if len(data) > left:
                    self.cuts += 1
                    source.shutdown(socket.SHUT_RDWR)
                    sink.shutdown(socket.SHUT_RDWR)
                    break
                left -= len(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
