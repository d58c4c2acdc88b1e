"""Echo by WebSocket through an adaptor: round trips, throughput, and several streams at once."""

import asyncio
import time
from collections.abc import Iterator
from urllib.parse import quote

import servers
from goals import ECHO_1K, ECHO_8, ECHO_64K, GOALS
from measuring import KIB, Effort, Measurement, Row, in_turns
from tornado.websocket import websocket_connect

ECHO = "def run():\n    for message in request.messages: yield message\n"
STREAMS = 8


def _owt(port: int, session: str) -> str:
    return f"ws://127.0.0.1:{port}/?session={session}&code={quote(ECHO)}"


async def _times(url: str, size: int, count: int) -> list[float]:
    """Send one message after the other; return the milliseconds until each has come back."""
    client, message, times = await websocket_connect(url), bytes(size), []
    for _ in range(count):
        started = time.perf_counter()
        await client.write_message(message, binary=True)
        if await client.read_message() != message:
            raise ConnectionError("this is no echo")
        times.append((time.perf_counter() - started) * 1000)
    client.close()
    return sorted(times[count // 10 :])


async def _rate(url: str, size: int, count: int) -> float:
    """Send messages while they come back; return MB a second."""
    client, message = await websocket_connect(url), bytes(size)

    async def send() -> None:
        for _ in range(count):
            await client.write_message(message, binary=True)

    await client.write_message(message, binary=True)
    await client.read_message()
    started = time.perf_counter()
    sending = asyncio.create_task(send())
    for _ in range(count):
        if await client.read_message() is None:
            raise ConnectionError("the echo was cut off")
    seconds = time.perf_counter() - started
    await sending
    client.close()
    return count * size / 1e6 / seconds


async def _all_times(urls: list[str], count: int) -> list[float]:
    times = await asyncio.gather(*(_times(url, KIB, count) for url in urls))
    return sorted(moment for part in times for moment in part)


def round_trips(effort: Effort) -> Iterator[object]:
    """Measure messages of 1 KiB, one at a time."""

    def median(url: str) -> float:
        times = asyncio.run(_times(url, KIB, 1000))
        return times[len(times) // 2]

    with servers.floor() as floor, servers.owt() as owt:
        bare = f"ws://127.0.0.1:{floor}/echo"
        sides = in_turns(effort.at_most(3), lambda: median(_owt(owt, "echo")), lambda: median(bare))
    yield Row(ECHO_1K, "ms", *sides, "bare Tornado", GOALS[ECHO_1K])


def throughput(effort: Effort) -> Iterator[object]:
    """Measure messages of 64 KiB in both directions at once."""

    def rate(url: str) -> float:
        return asyncio.run(_rate(url, 64 * KIB, 2000))

    with servers.floor() as floor, servers.owt() as owt:
        bare = f"ws://127.0.0.1:{floor}/echo"
        sides = in_turns(effort.at_most(3), lambda: rate(_owt(owt, "echo")), lambda: rate(bare))
    yield Row(ECHO_64K, "MB/s", *sides, "bare Tornado", GOALS[ECHO_64K])


def streams(effort: Effort) -> Iterator[object]:
    """Measure messages of 1 KiB by several streams at once, each with a session of its own."""
    with servers.owt() as owt:
        urls = [_owt(owt, f"echo-{number}") for number in range(STREAMS)]
        times = asyncio.run(_all_times(urls, 300))
    yield Row(ECHO_8, "ms", [times[len(times) * 99 // 100]], goal=GOALS[ECHO_8])


MEASUREMENTS = (
    Measurement(
        "echo",
        (ECHO_1K,),
        "1,000 messages of 1 KiB by WebSocket, one at a time, to an adaptor that yields each; the floor is "
        "Tornado's handler that writes each",
        round_trips,
    ),
    Measurement(
        "echo-64k",
        (ECHO_64K,),
        "2,000 messages of 64 KiB to the same, sent while they come back",
        throughput,
    ),
    Measurement(
        "echo-streams",
        (ECHO_8,),
        f"{STREAMS} WebSockets at once, each of a session of its own, and 300 messages of 1 KiB by each",
        streams,
    ),
)
