"""Bodies that stream into a call: throughput, time to the first bytes, and memory while they are not read."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import servers
from connection import check, has_its_length
from goals import GOALS, UPLOAD, UPLOAD_FIRST, UPLOAD_FRONTEND, UPLOAD_KERNEL
from measuring import MIB, Effort, Measurement, Row, in_turns
from processes import pss

DROP = (
    "def run():\n"
    "    size = 0\n"
    "    while part := request.stream.read(1 << 20): size += len(part)\n"
    "    return str(size)\n"
)
STAMP = "import time\ndef run():\n    request.stream.read(1)\n    return str(time.monotonic())\n"
STALL = (
    "import os, time\n"
    "def run():\n"
    "    request.stream.read(1)\n"
    "    yield str(os.getpid())\n"
    "    time.sleep(60)\n"
)
SIZE = 1 << 30
FIRSTS = 40
STALLED_FOR = 2.0
"""Seconds without a further byte, from which the sender counts as stalled."""
_ZEROS = memoryview(bytearray(MIB))


def _begin(port: int, path: str, size: int) -> socket.socket:
    """Return a connection on which the head of a request with a body of `size` bytes has been sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def _answer(connection: socket.socket) -> bytes:
    answer = b""
    while not has_its_length(answer):
        if not (data := connection.recv(1 << 16)):
            raise ConnectionError("the answer was cut off")
        answer += data
    check(answer)
    return answer.partition(b"\r\n\r\n")[2]


def _rate(port: int, path: str) -> float:
    """Send a body; return MB a second."""
    with closing(_begin(port, path, SIZE)) as connection:
        started = time.perf_counter()
        for _ in range(SIZE // len(_ZEROS)):
            connection.sendall(_ZEROS)
        answer = _answer(connection)
        seconds = time.perf_counter() - started
    if answer != str(SIZE).encode():
        raise ValueError(f"a body of {SIZE} bytes was answered with {answer[:100]!r}")
    return SIZE / 1e6 / seconds


def _path(code: str) -> str:
    return f"/?session=uploads&code={quote(code)}"


def throughput(effort: Effort) -> Iterator[object]:
    """Measure a body of 1 GiB that is read and dropped."""
    with servers.floor() as floor, servers.owt() as owt:
        rounds = effort.at_most(3)
        sides = in_turns(rounds, lambda: _rate(owt, _path(DROP)), lambda: _rate(floor, "/drop"))
    yield Row(UPLOAD, "MB/s", *sides, "bare Tornado", GOALS[UPLOAD])


def first(effort: Effort) -> Iterator[object]:
    """Measure the time from the first byte of a body to the adaptor that reads it."""
    with servers.owt() as owt:
        times = []
        for number in range(FIRSTS + 5):
            with closing(_begin(owt, _path(STAMP), 2)) as connection:
                sent = time.monotonic()
                connection.sendall(b"x")
                while not select.select([connection], [], [], 60)[0]:
                    raise TimeoutError("the adaptor has not received the first byte")
                arrived = float(_answer(connection))
            if number >= 5:
                times.append((arrived - sent) * 1000)
    times.sort()
    yield Row(UPLOAD_FIRST, "ms", [times[len(times) // 2]], goal=GOALS[UPLOAD_FIRST])


def stalled(effort: Effort) -> Iterator[object]:
    """Measure the growth of both processes while the adaptor does not read, and the sender stalls."""
    with servers.owt_process() as (owt, frontend):
        with closing(_begin(owt, _path(STAMP), 2)) as connection:
            connection.sendall(b"x")
            _answer(connection)
        [session] = [entry for entry in servers.listed(owt)["sessions"] if entry["name"] == "uploads"]
        pids = (frontend, session["pid"])
        before = [pss(pid) for pid in pids]
        with closing(_begin(owt, _path(STALL), SIZE)) as connection:
            connection.setblocking(False)
            left, moved = memoryview(bytearray(SIZE // 4)), time.monotonic()
            while left and time.monotonic() - moved < STALLED_FOR:
                if select.select([], [connection], [], 0.1)[1]:
                    left, moved = left[connection.send(left[:MIB]) :], time.monotonic()
            if not left:
                raise RuntimeError("the sender has not stalled")
            growth = [(pss(pid) - size) / MIB for pid, size in zip(pids, before, strict=True)]
    for what, figure in zip((UPLOAD_FRONTEND, UPLOAD_KERNEL), growth, strict=True):
        yield Row(what, "MiB", [figure], goal=GOALS[what])


MEASUREMENTS = (
    Measurement(
        "upload",
        (UPLOAD,),
        "a POST of 1 GiB of zeros to an adaptor that reads and drops them; the floor is a handler with "
        "`stream_request_body` that counts them",
        throughput,
    ),
    Measurement(
        "upload-first",
        (UPLOAD_FIRST,),
        f"{FIRSTS} calls, from the send of the first byte of a body to the adaptor that has read it",
        first,
    ),
    Measurement(
        "upload-stalled",
        (UPLOAD_FRONTEND, UPLOAD_KERNEL),
        f"an adaptor reads one byte of a body and stops; growth of PSS when the sender has stalled for "
        f"{STALLED_FOR:g} s",
        stalled,
    ),
)
