"""Clients that put load on a server and measure it, in a process of their own.

`run(job)` starts the process, sends the job as JSON and reads the figures as JSON. If `wrk` is installed, it
makes the calls of several clients, because it uses less CPU time than Python.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import servers
import wrk
from connection import CHUNKED_END, Connection, Request, has_its_length, once, stays_open


class _Caller(asyncio.Protocol):
    """A client that sends the next request as soon as it has the answer, with `payloads` in turns."""

    def __init__(self, port: int, payloads: Sequence[bytes], until: float, times: list[float]) -> None:
        self._port = port
        self._payloads = payloads
        self._until = until
        self._times = times
        self._asking = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asking = True
        self._answer = b""
        self._sent_at = time.perf_counter()
        self._transport.write(self._payloads[len(self._times) % len(self._payloads)])

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not (self._answer.endswith(CHUNKED_END) or has_its_length(self._answer)):
            return
        now = time.perf_counter()
        self._asking = False
        self._times.append(now - self._sent_at)
        if self._answer[8:13] != b" 200 ":
            self.ended.set_exception(ValueError(f"not a 200: {self._answer[:500]!r}"))
            self._transport.close()
        elif now >= self._until:
            self.ended.set_result(None)
            self._transport.close()
        elif stays_open(self._answer):
            self._ask()
        else:
            # Send the next request on a new connection.
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if self._asking:
            self.ended.set_exception(ConnectionError(f"the server closed the connection: {error}"))
        else:
            self._again = asyncio.get_running_loop().create_task(self.connect())


async def _call_again_and_again(requests: Sequence[Request], clients: int, seconds: float) -> dict:
    times: list[float] = []
    payloads = [request.encode() for request in requests]
    started = time.perf_counter()
    callers = [_Caller(requests[0].port, payloads, started + seconds, times) for _ in range(clients)]
    for caller in callers:
        await caller.connect()
    await asyncio.gather(*(caller.ended for caller in callers))
    rate = len(times) / (time.perf_counter() - started)
    return {"p50": statistics.median(times), "rate": rate, "count": len(times)}


def calls(requests: Sequence[Request], clients: int, seconds: float) -> dict:
    """Return `p50` in seconds, `rate` in calls a second, and `count` of calls, by `clients` without a
    pause."""
    if wrk.COMMAND:
        return wrk.calls(requests, clients, seconds)
    return asyncio.run(_call_again_and_again(requests, clients, seconds))


def first(requests: Sequence[Request], needle: str, count: int, beyond: int = 0) -> dict:
    """Return `p50` of the seconds until the searched bytes arrive, over `count` successive calls."""
    connection, payload = Connection(requests[0].port), requests[0].encode()
    times = [connection.ask(payload, needle.encode(), beyond).seen for _ in range(count)]
    return {"p50": statistics.median(times)}


def whole(requests: Sequence[Request], count: int) -> dict:
    """Return `p50` of the seconds until the answer is complete, over `count` successive calls."""
    connection, payload = Connection(requests[0].port), requests[0].encode()
    return {"p50": statistics.median(connection.ask(payload).seconds for _ in range(count))}


def stream(requests: Sequence[Request], size: int) -> dict:
    """Return the `seconds` of an answer of at least `size` bytes."""
    seconds, came = Connection(requests[0].port).drain(requests[0].encode())
    if came < size:
        raise ValueError(f"received {came} bytes of at least {size}")
    return {"seconds": seconds}


def new_sessions(requests: Sequence[Request], count: int, spares: int) -> dict:
    """Return `p50` of the seconds until a new session has answered, over `count` sessions.

    Each session starts when the pool has its spares and no kernel is starting, and is deleted at its end.
    """
    [request] = requests
    times = []
    for number in range(count):
        servers.quiet(request.port, spares)
        session = f"new-{number}"
        call = replace(request, fields={**(request.fields or {}), "session": session})
        times.append(once(call).seconds)
        once(Request(request.port, f"/_owt/sessions/{session}", method="DELETE"))
    return {"p50": statistics.median(times)}


def every(requests: Sequence[Request], clients: int, expected: str) -> dict:
    """Send every request once, `clients` at a time. Return the `times` in seconds of the answers that are
    `expected`, and the first `problem` of the others."""
    thread = threading.local()

    def ask(request: Request) -> float | str:
        if not hasattr(thread, "connection"):
            thread.connection = Connection(request.port)
        try:
            answer = thread.connection.ask(request.encode())
        except (OSError, ValueError) as error:
            del thread.connection
            return str(error)
        return answer.seconds if answer.body == expected.encode() else repr(answer.body[:200])

    with ThreadPoolExecutor(clients) as threads:
        results = list(threads.map(ask, requests))
    problems = [result for result in results if isinstance(result, str)]
    return {
        "times": [result for result in results if isinstance(result, float)],
        "problem": problems[0] if problems else "",
    }


JOBS = {
    "calls": calls,
    "first": first,
    "whole": whole,
    "stream": stream,
    "new_sessions": new_sessions,
    "every": every,
}


def run(job: str, *requests: Request, **options: object) -> dict:
    """Run one of `JOBS` in a process of its own; return its figures. Raises RuntimeError if it fails."""
    order = json.dumps(
        {"job": job, "requests": [asdict(request) for request in requests], "options": options}
    )
    try:
        done = subprocess.run(
            [sys.executable, __file__], input=order, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{job} {requests[0].path}: did not end after {error.timeout:g} s") from None
    if done.returncode:
        raise RuntimeError(f"{job} {requests[0].path}: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    order = json.load(sys.stdin)
    requests = [Request(**fields) for fields in order["requests"]]
    print(json.dumps(JOBS[order["job"]](requests, **order["options"])))
