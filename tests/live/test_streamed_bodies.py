"""Bodies that stream into their calls, by real clients."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import select
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tcp_proxy import TcpProxy

import owt
from owt.errors import CannotSend, Unreachable
from owt.testing import Gate, LiveServer, wait_until
from owt.testing.waiting import PATIENCE

UPPER = """
def run():
    for line in request.stream:
        yield line.decode().upper()
"""
HASH = """
import hashlib
def run():
    digest = hashlib.sha256()
    while part := request.stream.read(65536):
        digest.update(part)
    return digest.hexdigest()
"""
READERS = {
    "read": "return len(request.stream.read())",
    "read a number": "return sum(map(len, iter(lambda: request.stream.read(1000), b'')))",
    "lines": "return sum(map(len, request.stream))",
    "get_data": "return len(request.get_data())",
    "data": "return len(request.data)",
    "get_data twice": "return len(request.get_data()) and len(request.get_data())",
    "a thread": "import threading\n    out = []\n    t = threading.Thread(target=lambda: "
    "out.append(len(request.get_data())))\n    t.start(); t.join()\n    return out[0]",
    "wsgi": "return len(request.environ['wsgi.input'].read())",
    "a loop": "import asyncio\n    async def read(): return sum([len(p) async for p in request.stream])\n"
    "    return asyncio.run(read())",
}


def path(session: str, code: str, **fields: object) -> str:
    query = {"session": session, "code": textwrap.dedent(code), **fields}
    return "/?" + "&".join(f"{name}={quote(str(value))}" for name, value in query.items())


def in_parts(*parts: bytes) -> Iterator[bytes]:
    yield from parts


@contextmanager
def curl(server: LiveServer, target: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield curl that sends what its stdin gets."""
    command = ["curl", "-sSN", "-X", "POST", "-T", "-", *options, server.url + target]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe
            pipe.close()


def raw(server: LiveServer, target: str, *headers: str, version: str = "1.1") -> socket.socket:
    """Return a connection on which the head of a POST has been sent."""
    sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    lines = [f"POST {target} HTTP/{version}", "Host: localhost", *headers]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    return sock


def until(sock: socket.socket, text: bytes) -> bytes:
    """Receive until the text has come."""
    data = b""
    while text not in data:
        more = sock.recv(65536)
        assert more, data
        data += more
    return data


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("length", [True, False], ids=["Content-Length", "chunked"])
def test_every_way_to_read_gets_the_whole_body(
    server: LiveServer, session: str, reader: str, length: bool
) -> None:
    parts = [b"x\n" * 50_000, b"y" * 300_000, b"z"]
    headers = {"Content-Length": str(sum(map(len, parts)))} if length else {}
    target = path(session, f"def run():\n    {reader}")
    assert server.ask("POST", target, content=in_parts(*parts), headers=headers).text == "400001"


def test_an_async_adaptor_gets_the_parts_as_they_come(server: LiveServer, session: str) -> None:
    code = "async def run():\n    async for part in request.stream:\n        yield f'{len(part)} '"
    sock = raw(server, path(session, code), "Content-Length: 6")
    for part, answer in ((b"x", b"1 "), (b"yy", b"2 "), (b"zzz", b"3 ")):
        sock.sendall(part)
        until(sock, answer)
    sock.close()


def test_curl_prints_while_it_sends(server: LiveServer, session: str) -> None:
    with curl(server, path(session, UPPER)) as sending:
        assert sending.stdin
        assert sending.stdout
        sending.stdin.write(b"first\n")
        # curl looks at the answer between two reads of its stdin.
        while not select.select([sending.stdout], [], [], 0.01)[0]:
            sending.stdin.write(b"more\n")
        assert sending.stdout.read(6) == b"FIRST\n"
        sending.stdin.write(b"last\n")
        sending.stdin.close()
        assert sending.stdout.read().endswith(b"LAST\n")
        assert sending.wait(PATIENCE) == 0


def test_events_come_while_the_body_does(server: LiveServer, session: str) -> None:
    sock = raw(server, path(session, UPPER, stream="sse"), "Content-Length: 8")
    sock.sendall(b"one\n")
    until(sock, b"data: ONE")
    sock.sendall(b"two\n")
    until(sock, b"event: done")
    sock.close()


def test_a_large_upload_is_hashed(server: LiveServer, session: str, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 100_000)
    expected = hashlib.sha256(large.read_bytes()).hexdigest()
    command = ["curl", "-sS", "-X", "POST", "-T", str(large), server.url + path(session, HASH)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE).stdout == expected


def test_the_body_of_a_queued_call_is_whole(server: LiveServer, session: str, gate: Gate) -> None:
    first = raw(server, path(session, f"def run(): {gate.wait}; return 1"), "Content-Length: 0")
    gate.reached()
    second = raw(server, path(session, UPPER), "Content-Length: 6")
    second.sendall(b"one\n")
    wait_until(lambda: server.session(session)["queue"] == 1)
    gate.open()
    until(second, b"ONE\n")
    second.sendall(b"2\n")
    until(second, b"2\n")
    first.close()
    second.close()


@pytest.mark.parametrize("kind", ["def", "async def", "thread", "endpoint"])
@pytest.mark.parametrize("how", ["DELETE", "timeout", "interrupt", "disconnect", "session"])
def test_a_call_that_waits_for_its_body_can_be_stopped(
    server: LiveServer, session: str, gate: Gate, kind: str, how: str
) -> None:
    body = {
        "def": "request.stream.read(10)",
        "async def": "async for part in request.stream: pass",
        "thread": "import asyncio; await asyncio.to_thread(request.stream.read, 10)",
        "endpoint": "next(items)",
    }[kind]
    prefix = "def" if kind in ("def", "endpoint") else "async def"
    code = f"{prefix} run():\n    print('begun')\n    {body}"
    fields = {"timeout": 0.3} if how == "timeout" else {}
    target = path(session, code, stream="raw", **fields)
    if kind == "endpoint":
        define = code.replace("run()", "f(items: Iterator[int])")
        define = f"from collections.abc import Iterator\n@endpoint('/{session}')\n{define}"
        server.call(define, session=session).raise_for_status()
        target = f"/{session}?" + "&".join(f"{name}={value}" for name, value in fields.items())
    sock = raw(server, target, "Transfer-Encoding: chunked")
    runs = lambda: [  # noqa: E731
        run for run in server.ask("GET", "/_owt/runs").json()["runs"] if run["session"] == session
    ]
    wait_until(lambda: runs() and runs()[-1]["state"] == "running")
    match how:
        case "DELETE":
            server.ask("DELETE", f"/_owt/runs/{runs()[-1]['id']}")
        case "interrupt":
            server.ask("POST", f"/_owt/sessions/{session}/interrupt")
        case "disconnect":
            sock.close()
        case "session":
            server.ask("DELETE", f"/_owt/sessions/{session}")
    wait_until(lambda: runs()[-1]["state"] == "failed")
    assert server.call("1 + 1", session=session).text == "2"
    assert server.session(session)["restarts"] == 0
    sock.close()


def test_a_client_that_cuts_its_body_breaks_it(server: LiveServer, session: str) -> None:
    code = """
    def run():
        yield "begun"
        try:
            request.stream.read()
        except BaseException as error:
            state.seen = type(error).__name__
            raise
    """
    sock = raw(server, path(session, code), "Content-Length: 100")
    sock.sendall(b"x" * 50)
    until(sock, b"begun")
    sock.close()
    wait_until(lambda: server.session(session)["state"] == "idle")
    assert server.call("seen", session=session).text in ("BadRequest", "KeyboardInterrupt")


def test_an_adaptor_that_does_not_read_answers_and_the_connection_closes(
    server: LiveServer, session: str
) -> None:
    sock = raw(server, path(session, "def run(): return 'enough'"), "Transfer-Encoding: chunked")
    sock.sendall(b"3\r\none\r\n")
    assert until(sock, b"enough").startswith(b"HTTP/1.1 200 OK")
    assert sock.recv(1) == b""
    sock.close()


def test_a_detached_upload_is_answered_when_it_is_here(server: LiveServer, session: str) -> None:
    answer = server.ask("POST", path(session, HASH, detach=1), content=in_parts(b"x" * 100_000, b"y"))
    assert answer.status_code == 202
    result = server.ask("GET", answer.json()["answer"])
    assert result.text == hashlib.sha256(b"x" * 100_000 + b"y").hexdigest()


def test_a_compressed_body_is_decompressed(server: LiveServer, session: str) -> None:
    import gzip

    body = gzip.compress(b"one\n" * 100_000)
    answer = server.ask(
        "POST",
        path(session, "def run(): return len(request.get_data())"),
        content=in_parts(body[:1000], body[1000:]),
        headers={"Content-Encoding": "gzip"},
    )
    assert answer.text == "400000"
    cut = server.ask(
        "POST",
        path(session, "def run(): return len(request.get_data())"),
        content=in_parts(body[:100]),
        headers={"Content-Encoding": "gzip"},
    )
    assert (cut.status_code, "gzip: it ends too early" in cut.text) == (400, True)


def test_calls_at_once_get_their_own_bodies(server: LiveServer, session: str) -> None:
    server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": 4})

    async def all_answers() -> list[str]:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:

            async def send(number: int) -> str:
                async def body() -> Iterator[bytes]:
                    for _ in range(5):
                        yield b"%d\n" % number
                        await asyncio.sleep(0)

                return (await client.post(path(session, UPPER), content=body())).text

            return await asyncio.gather(*map(send, range(8)))

    assert asyncio.run(all_answers()) == [f"{number}\n" * 5 for number in range(8)]


ENDPOINTS = """
import msgspec
from collections.abc import AsyncIterator, Iterator

class Point(msgspec.Struct):
    x: int

@endpoint("/PREFIX/shout")
def shout(lines: Iterator[str], mark: str = "!"):
    for line in lines:
        yield line.upper() + mark + "\\n"

@endpoint("/PREFIX/points")
async def points(items: AsyncIterator[Point]):
    async for point in items:
        yield {"x": point.x + 1}

@endpoint("/PREFIX/size")
def size(parts: Iterator[bytes]) -> int:
    return sum(map(len, parts))

@endpoint("/PREFIX/reads", methods=["POST"])
def reads(name: str = "none"):
    return f"{name} {len(request.get_data())}"
"""


def test_endpoints_are_fed_from_the_body_as_it_comes(server: LiveServer, session: str) -> None:
    server.call(ENDPOINTS.replace("PREFIX", session), session=session).raise_for_status()
    # curl uploads by PUT.
    command = ["curl", "-sSN", "-T", "-", f"{server.url}/{session}/shout?mark=?"]
    lines = subprocess.run(command, input=b"one\ntwo", capture_output=True, timeout=PATIENCE)
    assert lines.stdout == b"ONE?\nTWO?\n"
    sock = raw(server, f"/{session}/points", "Transfer-Encoding: chunked", "Accept: application/x-ndjson")
    sock.sendall(b'9\r\n{"x": 1}\n\r\n')
    until(sock, b'{"x":2}')
    sock.sendall(b'9\r\n{"x": 2}\n\r\n0\r\n\r\n')
    until(sock, b'{"x":3}')
    sock.close()
    size = server.ask("POST", f"/{session}/size", content=in_parts(b"x" * 100_000, b"y"))
    assert size.json() == 100_001
    refused = server.ask("POST", f"/{session}/points", content=in_parts(b'{"x": ', b'"a"}\n'))
    assert (refused.status_code, "line 1: Expected `int`" in refused.text) == (422, True)
    reads = server.ask("POST", f"/{session}/reads?name=me", content=in_parts(b"x" * 1000, b"y"))
    assert reads.text == "me 1001"


def test_code_in_the_query_takes_an_upload_by_put(server: LiveServer, session: str) -> None:
    command = ["curl", "-sSN", "-T", "-", server.url + path(session, UPPER)]
    answer = subprocess.run(command, input=b"one\n", capture_output=True, timeout=PATIENCE)
    assert answer.stdout == b"ONE\n"
    assert server.ask("PUT", path(session, UPPER)).status_code == 405


def test_the_clients_send_iterators_and_files_as_they_come(
    server: LiveServer, session: str, tmp_path: Path
) -> None:
    def code(n: int) -> list[int]:
        return [n, *(len(line) for line in request.stream)]  # type: ignore[name-defined]  # noqa: F821

    async def lines() -> AsyncIterator[bytes]:
        yield b"one\n"
        yield b"three"

    async def with_async_client() -> list[object]:
        async with owt.AsyncClient(server.url, session=session) as client:
            return [await client.call(code, n=1, data=data) for data in (lines(), iter([b"1\n", "22"]))]

    file = tmp_path / "lines"
    file.write_bytes(b"one\nthree")
    with owt.Client(server.url, session=session) as client, file.open("rb") as stream:
        assert client.call(code, n=1, data=iter([b"one\n", "three"])) == [1, 4, 5]
        assert client.call(code, n=1, data=stream) == [1, 4, 5]
        assert [event.data for event in client.stream(UPPER, data=iter([b"a\nb"]))][:2] == ["A\n", "B"]
        with pytest.raises(CannotSend, match="a GET has no body"):
            client.with_options(method="GET").call(code, n=1, data=iter([b""]))
    assert asyncio.run(with_async_client()) == [[1, 4, 5], [1, 2, 2]]


DOUBLE = "def run():\n  while part := request.stream.read(65536): yield part * 2"


def large() -> Iterator[bytes]:
    """Yield more than the buffers of both directions take."""
    return (bytes(1 << 20) for _ in range(12))


def test_the_python_clients_read_while_they_send(server: LiveServer, session: str) -> None:
    async def asynchronously() -> list[int]:
        async with owt.AsyncClient(server.url, session=session) as client:
            return [len(event.data) async for event in client.stream(DOUBLE, data=large())][:-1]

    with owt.Client(server.url, session=session) as client:
        assert len(client.call(DOUBLE, data=large())) == 24 << 20
        with client.open(DOUBLE, data=itertools.repeat(b"x" * 65536)) as response:
            assert len(next(response.iter_bytes())) > 0
        run = response.headers["Owt-Run"]
        wait_until(lambda: client.run(run)["ended"])
        assert client.run(run)["failure"]["type"] == "cancelled"
        # The adaptor need not read all.
        assert client.call("def run(): return len(request.stream.read(1))", data=itertools.repeat(b"xx")) == 1
    assert sum(asyncio.run(asynchronously())) == 24 << 20


def test_an_upload_goes_on_after_cuts(patient: LiveServer) -> None:
    parts = [bytes([n]) * 100_000 for n in range(50)]
    cuts = 0

    def body() -> Iterator[bytes]:
        nonlocal cuts
        for number, part in enumerate(parts):
            yield part
            if number % 10 == 5:
                cuts += between.cut()

    code = "import hashlib\ndef run(): return hashlib.sha256(request.get_data()).hexdigest()"
    with TcpProxy(patient.port) as between, owt.Client(between.url, session="upload-cuts") as client:
        # The events are resumed too.
        events = list(client.stream(code, data=body()))
    assert events[0].data == hashlib.sha256(b"".join(parts)).hexdigest()
    assert cuts > 0


@pytest.mark.parametrize("retry", [{}, {"retry": 20}])
def test_a_lost_answer_to_a_body_names_the_stream_as_the_remedy(patient: LiveServer, retry: Any) -> None:
    over = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"x\n"
        over.wait(60)

    def lose(client: owt.Client) -> None:
        with client.open(UPPER, data=body()) as response:
            answer = response.iter_bytes()
            next(answer)
            assert between.cut()
            list(answer)

    with TcpProxy(patient.port) as between, owt.Client(between.url, session="upload-lost") as client:
        with pytest.raises(Unreachable, match=r"broke off: .*client\.stream, or owt call --stream sse$"):
            lose(client.with_options(**retry))
        over.set()


def test_an_error_of_the_body_is_raised_and_cancels_the_call(server: LiveServer, session: str) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    async def asynchronously() -> None:
        async with owt.AsyncClient(server.url, session=session) as client:
            await client.call(DOUBLE, data=body())

    with owt.Client(server.url, session=session) as client:
        with pytest.raises(ZeroDivisionError):
            client.call(DOUBLE, data=body())
        with pytest.raises(ZeroDivisionError):
            list(client.stream(DOUBLE, data=body()))
        with pytest.raises(CannotSend, match="the parts of a body are bytes or str; got 5"):
            client.call(DOUBLE, data=iter([5]))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(asynchronously())
    wait_until(lambda: server.session(session)["state"] == "idle")


def test_a_command_sends_its_input(server: LiveServer, session: str, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"one\ntwo")
    command = [sys.executable, "-m", "owt", "call", "--url", server.url, "--session", session]
    for source, text in ((str(file), b""), ("-", b"one\ntwo")):
        arguments = [*command, "--code", UPPER, "--input", source]
        answer = subprocess.run(arguments, input=text, capture_output=True, timeout=PATIENCE)
        assert (answer.stdout, answer.returncode) == (b"ONE\nTWO", 0)
