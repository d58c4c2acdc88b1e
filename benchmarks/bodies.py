"""Large request bodies: the time of the call, and of a neighbour's health check meanwhile."""

import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import servers
from connection import Connection, check, has_its_length
from goals import BODY, BODY_GROWTH, GOALS, NEIGHBOUR
from measuring import Effort, Measurement, Row

LENGTH = "def run(): return str(len(request.get_data()))"
TENTH, WHOLE = 10_000_000, 100_000_000
NEARLY = 95_000_000
PROBE_INTERVAL = 0.005
# Memory that has been written to, so that the client has no page faults while it sends.
_ZEROS = memoryview(bytearray(WHOLE))


def _call(port: int, size: int) -> float:
    """Send a body of `size` bytes to an adaptor that returns its length; return the seconds it took."""
    head = (
        f"POST /?session=bodies&code={quote(LENGTH)} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        started = time.perf_counter()
        connection.sendall(head.encode())
        connection.sendall(_ZEROS[:size])
        answer = b""
        while not has_its_length(answer):
            if not (data := connection.recv(1 << 16)):
                raise ConnectionError("the answer was cut off")
            answer += data
        seconds = time.perf_counter() - started
    check(answer)
    if not answer.endswith(str(size).encode()):
        raise ValueError(f"a body of {size} bytes was answered with {answer[-100:]!r}")
    return seconds


class _Neighbour(threading.Thread):
    """A client that asks for /_owt/health/live all the time and keeps the slowest answer, in seconds."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._ended = threading.Event()
        self.slowest = 0.0

    def run(self) -> None:
        connection = Connection(self._port)
        payload = f"GET /_owt/health/live HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode()
        while not self._ended.wait(PROBE_INTERVAL):
            self.slowest = max(self.slowest, connection.ask(payload).seconds)
        connection.close()

    def end(self) -> float:
        """Stop asking; return the slowest answer."""
        self._ended.set()
        self.join()
        return self.slowest


def bodies(effort: Effort) -> Iterator[object]:
    """Measure bodies of 10, 95 and 100 MB in turn, and a neighbour during the last."""
    with servers.owt() as port:
        _call(port, TENTH)
        whole, tenth, nearly, neighbour = [], [], [], []
        for _ in range(effort.at_most(3)):
            tenth.append(_call(port, TENTH) * 1000)
            nearly.append(_call(port, NEARLY) * 1000)
            watcher = _Neighbour(port)
            watcher.start()
            try:
                whole.append(_call(port, WHOLE) * 1000)
            finally:
                neighbour.append(watcher.end() * 1000)
    yield Row(BODY, "ms", whole, goal=GOALS[BODY])
    yield Row(BODY_GROWTH, "ms", nearly, tenth, "a body of 10 MB", GOALS[BODY_GROWTH])
    yield Row(NEIGHBOUR, "ms", [max(neighbour)], goal=GOALS[NEIGHBOUR])


MEASUREMENTS = (
    Measurement(
        "bodies",
        (BODY, BODY_GROWTH, NEIGHBOUR),
        "a POST of zeros with the code in the query, to an adaptor that returns the length; the client "
        "sends it at once from a blocking socket, and the neighbour asks every 5 ms",
        bodies,
    ),
)
