"""Minimal HTTP client: it reads answers that have a Content-Length or are chunked."""

import json
import re
import socket
import time
from dataclasses import dataclass

CHUNKED_END = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """A request to 127.0.0.1:`port`: a POST of `fields` as JSON, otherwise a GET, or `method`."""

    port: int
    path: str = "/"
    fields: dict | None = None
    method: str = ""

    def body(self) -> str:
        return json.dumps(self.fields) if self.fields is not None else ""

    def encode(self) -> bytes:
        body = self.body().encode()
        method = self.method or ("POST" if body else "GET")
        head = f"{method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


@dataclass(frozen=True)
class Answer:
    """Seconds until the searched bytes arrived, seconds until the end, and all received bytes."""

    seen: float
    seconds: float
    raw: bytes

    @property
    def body(self) -> bytes:
        """Body of an answer that has a length."""
        return self.raw.partition(b"\r\n\r\n")[2]


class Connection:
    """A blocking connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def ask(self, payload: bytes, needle: bytes = b"", beyond: int = 0) -> Answer:
        """Send an encoded request and read to the end. Search for `needle`, and for more than `beyond`
        bytes after the answer's head. Raises ValueError for an answer that is not a success or lacks
        them, and ConnectionError for one that was cut off."""
        started = time.perf_counter()
        self._socket.sendall(payload)
        parts: list[bytes] = []
        seen = 0.0
        tail = b""
        came = 0
        while True:
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionError(f"the answer was cut off after {came} bytes")
            came += len(data)
            parts.append(data)
            tail = (tail + data)[-4096 - len(data) :]
            if not seen and needle in tail and (not beyond or came - _head(parts) > beyond):
                seen = time.perf_counter() - started
            if tail.endswith(CHUNKED_END) or (len(parts) < 4 and has_its_length(b"".join(parts))):
                break
        seconds = time.perf_counter() - started
        answer = b"".join(parts)
        check(answer)
        if not seen:
            raise ValueError(f"{needle!r} is not in the answer: {answer[-300:]!r}")
        return Answer(seen, seconds, answer)

    def drain(self, payload: bytes) -> tuple[float, int]:
        """Send an encoded request and read a chunked answer without parsing it; return seconds and bytes."""
        buffer = bytearray(1 << 20)
        view = memoryview(buffer)
        began = b""
        tail = b""
        came = 0
        started = time.perf_counter()
        self._socket.sendall(payload)
        while tail != CHUNKED_END:
            size = self._socket.recv_into(buffer)
            if not size:
                raise ConnectionError(f"the answer was cut off after {came} bytes")
            if came < 16:
                began += bytes(view[:size][:16])
            came += size
            last = bytes(view[max(0, size - len(CHUNKED_END)) : size])
            tail = (tail + last)[-len(CHUNKED_END) :]
        seconds = time.perf_counter() - started
        check(began)
        return seconds, came


def once(request: Request) -> Answer:
    """Send the request on a new connection."""
    connection = Connection(request.port)
    try:
        return connection.ask(request.encode())
    finally:
        connection.close()


def _head(parts: list[bytes]) -> int:
    """Return the received length of the answer's head."""
    head, separator, _ = b"".join(parts).partition(b"\r\n\r\n")
    return len(head) + len(separator)


def has_its_length(answer: bytes) -> bool:
    """Return whether an answer with a Content-Length is complete."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(separator and length) and len(body) >= int(length[1])


def stays_open(answer: bytes) -> bool:
    """Return whether the connection can be used again after this answer (RFC 9112, section 9.3)."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return head.startswith(b"http/1.1") and b"\r\nconnection: close" not in head


def check(answer: bytes) -> None:
    """Raise ValueError for an answer that is not a 200, or a 202 of a detached call."""
    if not re.match(rb"HTTP/1\.[01] 20[02] ", answer):
        raise ValueError(f"not a 200 or 202: {answer[:2000].decode(errors='replace')}")
