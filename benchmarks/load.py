"""Clients that put load on a server and measure it, in a process of their own.

`run(job)` starts the process; the job goes in as JSON and the figures come out as JSON. HTTP is
read only as far as needed: an answer has a Content-Length, or is chunked and ends in `0`.

`wrk`, where it is installed, takes the calls: it costs the machine less than Python does.
"""

import asyncio
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

WRK = shutil.which("wrk")
CHUNKED_END = b"\r\n0\r\n\r\n"
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Request:
    """A request to 127.0.0.1:`port`; with `fields` a POST of them as JSON, else a GET."""

    port: int
    path: str = "/"
    fields: dict | None = None

    def body(self) -> str:
        return json.dumps(self.fields) if self.fields is not None else ""

    def encode(self) -> bytes:
        method, body = ("GET", b"") if self.fields is None else ("POST", self.body().encode())
        head = f"{method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


class Connection:
    """A blocking connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: Request, needle: bytes = b"") -> tuple[float, float, bytes]:
        """Seconds until `needle` was there, seconds until the end, and the answer as it came."""
        started = time.perf_counter()
        self._socket.sendall(request.encode())
        parts: list[bytes] = []
        seen = 0.0
        tail = b""
        while True:
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionError(f"the answer was cut off after {sum(map(len, parts))} bytes")
            parts.append(data)
            tail = (tail + data)[-4096 - len(data) :]
            if not seen and needle in tail:
                seen = time.perf_counter() - started
            if _complete(parts, tail):
                break
        answer = b"".join(parts)
        check(answer)
        if not seen:
            raise ValueError(f"{needle!r} is not in the answer: {answer[-300:]!r}")
        return seen, time.perf_counter() - started, answer


def _complete(parts: list[bytes], tail: bytes) -> bool:
    if tail.endswith(CHUNKED_END):
        return True
    # Answers with a length are short here, so putting them together costs nothing.
    return len(parts) < 4 and _has_its_length(b"".join(parts))


def _has_its_length(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(separator and length) and len(body) >= int(length[1])


def check(answer: bytes) -> None:
    """Raises ValueError for an answer that is not a 200."""
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"not a 200: {answer[:2000].decode(errors='replace')}")


class _Caller(asyncio.Protocol):
    """One client that asks again as soon as it is answered."""

    def __init__(self, payload: bytes, until: float, times: list[float]) -> None:
        self._payload = payload
        self._until = until
        self._times = times
        self._answer = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._payload)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not (self._answer.endswith(CHUNKED_END) or _has_its_length(self._answer)):
            return
        now = time.perf_counter()
        self._times.append(now - self._asked)
        answer, self._answer = self._answer, b""
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.ended.set_exception(ValueError(f"not a 200: {answer[:500]!r}"))
            self._transport.close()
        elif now < self._until:
            self._ask()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(ConnectionError(f"the server closed the connection: {error}"))


async def _call_again_and_again(request: Request, clients: int, seconds: float) -> dict:
    times: list[float] = []
    started = time.perf_counter()
    callers = []
    for _ in range(clients):
        caller = _Caller(request.encode(), started + seconds, times)
        await asyncio.get_running_loop().create_connection(
            lambda each=caller: each, "127.0.0.1", request.port
        )
        callers.append(caller)
    await asyncio.gather(*(caller.ended for caller in callers))
    return {"p50": statistics.median(times), "rate": len(times) / (time.perf_counter() - started)}


def _wrk(request: Request, clients: int, seconds: float) -> dict:
    script = Path(__file__).with_name("post.lua")
    command = [WRK, "--threads=1", f"--connections={clients}", f"--duration={seconds:g}s", "--latency"]
    command += ["--script", script, f"http://127.0.0.1:{request.port}{request.path}", request.body()]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if "Non-2xx" in text or "Socket errors" in text or not (p50 and rate):
        raise ValueError(f"wrk met errors:\n{text}")
    return {"p50": float(p50[1]) * UNITS[p50[2]], "rate": float(rate[1])}


def calls(request: Request, clients: int, seconds: float) -> dict:
    """`p50` in seconds and `rate` in calls a second of `clients` that ask all the time."""
    if WRK:
        # wrk measures whole seconds only.
        return _wrk(request, clients, max(1, round(seconds)))
    return asyncio.run(_call_again_and_again(request, clients, seconds))


def first(request: Request, needle: str, count: int) -> dict:
    """`p50` of the seconds until `needle` arrives, over `count` calls one after another."""
    connection = Connection(request.port)
    return {"p50": statistics.median(connection.ask(request, needle.encode())[0] for _ in range(count))}


def stream(request: Request, size: int) -> dict:
    """`seconds` that an answer of at least `size` bytes took."""
    _, seconds, answer = Connection(request.port).ask(request)
    if len(answer) < size:
        raise ValueError(f"{len(answer)} bytes arrived of at least {size}")
    return {"seconds": seconds}


JOBS = {"calls": calls, "first": first, "stream": stream}


def run(job: str, request: Request, **options: object) -> dict:
    """Do one of `JOBS` in a process of its own; its figures."""
    order = json.dumps({"job": job, "request": asdict(request), "options": options})
    done = subprocess.run(
        [sys.executable, __file__], input=order, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{job} {request.path}: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    order = json.load(sys.stdin)
    print(json.dumps(JOBS[order["job"]](Request(**order["request"]), **order["options"])))
