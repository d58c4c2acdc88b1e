"""Many calls and large responses, without loss."""

import asyncio
import hashlib
import subprocess

import httpx

from owt.testing import LiveServer, wait_until
from owt.wire.sse import Decoder

MIB = 1024 * 1024

ECHO = 'def run(name): return f"Hello, {name}!"'


def test_a_thousand_sequential_calls_all_get_responses(http: httpx.Client, session: str) -> None:
    for number in range(1000):
        answer = http.post("/", json={"code": ECHO, "kwargs": {"name": number}, "session": session})
        assert answer.text == f"Hello, {number}!"


async def _ask(client: httpx.AsyncClient, number: int, session: str | None) -> str:
    body = {"code": ECHO, "kwargs": {"name": number}}
    answer = await client.post("/", json=body | ({"session": session} if session else {}))
    return answer.text


def test_64_concurrent_calls_to_one_session_all_get_responses(server: LiveServer, session: str) -> None:
    async def main() -> list[str]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(_ask(client, number, session) for number in range(64)))

    assert asyncio.run(main()) == [f"Hello, {number}!" for number in range(64)]


def test_64_concurrent_calls_to_the_pool_all_get_responses(server: LiveServer) -> None:
    async def main() -> list[str]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(_ask(client, number, None) for number in range(64)))

    assert asyncio.run(main()) == [f"Hello, {number}!" for number in range(64)]


BLOCKS = """
def run(blocks, size):
    for number in range(blocks):
        yield bytes([number % 251]) * size
"""


def _expected(blocks: int, size: int) -> str:
    digest = hashlib.sha256()
    for number in range(blocks):
        digest.update(bytes([number % 251]) * size)
    return digest.hexdigest()


def _curl_digest(server: LiveServer, code: str, kwargs: str, *options: str) -> str:
    command = ["curl", "-sSfN", *options, server.url, "--data-urlencode", f"code={code}"]
    with subprocess.Popen([*command, "--data-urlencode", f"kwargs={kwargs}"], stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        digest = hashlib.sha256()
        while block := curl.stdout.read(1 << 20):
            digest.update(block)
    assert curl.returncode == 0
    return digest.hexdigest()


def test_a_stream_of_200_mebibytes_arrives_complete(server: LiveServer) -> None:
    digest = _curl_digest(server, BLOCKS, '{"blocks": 200, "size": 1048576}')
    assert digest == _expected(200, 1 << 20)


def test_a_value_of_200_mebibytes_arrives_complete(server: LiveServer) -> None:
    digest = _curl_digest(server, "def run(): return b'\\x07' * (200 << 20)", "{}")
    assert digest == hashlib.sha256(b"\x07" * (200 << 20)).hexdigest()


def test_a_stream_of_many_small_items_arrives_complete(server: LiveServer) -> None:
    digest = _curl_digest(server, BLOCKS, '{"blocks": 50000, "size": 100}')
    assert digest == _expected(50000, 100)


def test_a_slow_reader_loses_nothing(server: LiveServer) -> None:
    digest = _curl_digest(server, BLOCKS, '{"blocks": 24, "size": 1048576}', "--limit-rate", "12M")
    assert digest == _expected(24, 1 << 20)


def test_ten_thousand_printed_lines_all_arrive(http: httpx.Client) -> None:
    code = "def run():\n    for n in range(10000): print(n)\n    return 'end'"
    answer = http.post("/", data={"code": code, "stream": "sse"})
    events = Decoder().feed(answer.content)
    text = "".join(event.data for event in events if event.event == "stdout")
    assert text.splitlines() == [str(n) for n in range(10000)]
    assert [event.data for event in events if event.event == "result"] == ["end"]


def test_generator_pauses_while_its_client_does_not_read(
    server: LiveServer, http: httpx.Client, session: str
) -> None:
    code = "def run():\n    while True: yield b'x' * 65536\n"
    # Compressed, these bytes would need no room.
    identity = {"Accept-Encoding": "identity"}
    with http.stream("POST", "/", data={"code": code, "session": session}, headers=identity) as answer:
        # Keep the iterator: dropping it closes the connection, which cancels the call.
        pieces = answer.iter_raw()
        assert next(pieces)
        run = f"/_owt/runs/{answer.headers['owt-run']}"

        def bytes_sent() -> int:
            return int(http.get(run).json()["bytes"])

        # The window is used up. An unbounded kernel would continue during these requests.
        wait_until(lambda: bytes_sent() >= 4 * MIB)
        for _ in range(200):
            assert bytes_sent() < 64 * MIB
        assert http.get(run).json()["state"] == "running"
        assert next(pieces)
