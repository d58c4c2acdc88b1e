"""owt.frontend.http.listener: limits of connections and heads, refusals that can be read, clients that
go."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body

from owt.frontend.config.settings import Settings
from owt.frontend.descriptors import OWN, RESERVE, Descriptors
from owt.frontend.http.lingering import MOST_BYTES
from owt.frontend.http.listener import Listener
from owt.testing import async_test

PATIENCE = 10
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
GET = HEAD + b"\r\n"


class Hello(RequestHandler):
    def get(self) -> None:
        self.finish("hello")

    def post(self) -> None:
        self.finish(self.request.body)


class Forever(RequestHandler):
    """Answers nothing, and notes that it was asked and that its client has gone."""

    def initialize(self, asked: asyncio.Event, gone: asyncio.Event) -> None:
        self.asked, self.gone = asked, gone

    async def get(self) -> None:
        self.asked.set()
        await self.gone.wait()

    def on_connection_close(self) -> None:
        self.gone.set()


@stream_request_body
class Refuses(RequestHandler):
    """Answers before it has read the body."""

    def prepare(self) -> None:
        self.set_status(413)
        self.set_header("Connection", "close")
        self.finish("too much")

    def data_received(self, chunk: bytes) -> None:
        pass

    def post(self) -> None:
        pass


class House:
    """A listener with a few handlers, and clients of it."""

    def __init__(self, descriptors: Descriptors | None = None, *, tls: Any = None, **settings: Any) -> None:
        self.asked, self.gone = asyncio.Event(), asyncio.Event()
        self.sockets: list[socket.socket] = []
        self.descriptors = descriptors or Descriptors()
        application = Application(
            [
                ("/forever", Forever, {"asked": self.asked, "gone": self.gone}),
                ("/refuses", Refuses),
                (".*", Hello),
            ],
            log_function=lambda handler: None,
        )
        self.listener = Listener(
            application, settings=Settings(**settings), descriptors=self.descriptors, ssl_options=tls
        )
        sockets = bind_sockets(0, "127.0.0.1")
        self.address = sockets[0].getsockname()
        self.listener.add_sockets(sockets)

    async def connect(self, sock: socket.socket | None = None) -> Client:
        """A client; `sock` is a socket that it has already, for when there are no descriptors."""
        sock = sock or socket.socket()
        self.sockets.append(sock)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        return Client(sock)

    async def ask(self, request: bytes) -> Answer:
        """What a client of its own gets for this."""
        client = await self.connect()
        await client.send(request)
        return await client.answer()

    async def count(self, number: int) -> None:
        """Wait until so many are connected."""
        async with asyncio.timeout(PATIENCE):
            while self.listener.connections != number:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


class Answer:
    def __init__(self, head: bytes, body: bytes) -> None:
        line, *headers = head.decode().split("\r\n")
        self.status = int(line.split()[1])
        self.headers = dict(header.lower().split(": ", 1) for header in headers)
        self.text = body.decode()


class Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._loop.sock_recv(self.sock, 65536)

    async def answer(self) -> Answer:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        answer = Answer(head, b"")
        while len(body) < int(answer.headers["content-length"]):
            body += await self._more()
        return Answer(head, body)

    async def end(self) -> bytes:
        """Whatever comes until the server has ended the connection."""
        data = b""
        while more := await self.receive():
            data += more
        return data

    async def _more(self) -> bytes:
        data = await self.receive()
        assert data, "the connection ended before the answer did"
        return data


@asynccontextmanager
async def house(descriptors: Descriptors | None = None, **settings: Any) -> AsyncIterator[House]:
    here = House(descriptors, **settings)
    try:
        yield here
    finally:
        here.gone.set()
        here.listener.stop()
        await here.listener.close_all_connections()
        for sock in here.sockets:
            sock.close()


@contextmanager
def descriptors_gone() -> Iterator[None]:
    """This process may have no more file descriptors than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest descriptors are taken first; all below the next one are in use.
    lowest = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    os.close(lowest)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Heads


def url_of(size: int) -> bytes:
    return b"GET /" + b"u" * (size - 1) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


def headers_of(size: int) -> bytes:
    line = b"Host: localhost\r\nX: "
    return b"GET / HTTP/1.1\r\n" + line + b"h" * (size - len(line) - 2) + b"\r\n\r\n"


@async_test
async def test_a_url_may_be_as_long_as_the_limit_and_no_byte_longer() -> None:
    async with house(max_url=2000, max_header=3000) as here:
        assert (await here.ask(url_of(2000))).text == "hello"
        answer = await here.ask(url_of(2001))
        assert answer.status == 414
        assert "2000 bytes (--max-url)" in answer.text
        assert answer.headers["connection"] == "close"


@async_test
async def test_headers_may_together_be_as_large_as_the_limit_and_no_byte_larger() -> None:
    async with house(max_url=2000, max_header=3000) as here:
        assert (await here.ask(headers_of(3000))).text == "hello"
        answer = await here.ask(headers_of(3001))
        assert answer.status == 431
        assert "3000 bytes for all of them together (--max-header)" in answer.text
        assert answer.headers["connection"] == "close"


@async_test
async def test_both_limits_may_be_reached_in_one_request() -> None:
    async with house(max_url=2000, max_header=3000) as here:
        line, _, _ = url_of(2000).partition(b"\r\n")
        _, _, headers = headers_of(3000).partition(b"\r\n")
        assert (await here.ask(line + b"\r\n" + headers)).text == "hello"


@async_test
async def test_a_request_that_its_connection_has_before_is_held_to_the_limits_too() -> None:
    async with house(max_url=2000) as here:
        client = await here.connect()
        await client.send(GET)
        assert (await client.answer()).text == "hello"
        await client.send(url_of(2001))
        assert (await client.answer()).status == 414
        assert await client.end() == b""


@async_test
async def test_a_head_that_never_ends_is_answered_as_soon_as_it_is_too_large() -> None:
    async with house(max_url=2000, max_header=3000) as here:
        for status, beginning in (
            (414, b"GET /" + b"u" * 7000),
            (414, b"G" * 7000),
            (414, b"GET /" + b"u" * 2001 + b" HTTP/1.1\r\nX: " + b"h" * 7000),
            (431, b"GET / HTTP/1.1\r\nX: " + b"h" * 7000),
            (431, b"GET / HTTP/1.1\r\n" + b"X: h\r\n" * 2000),
        ):
            assert (await here.ask(beginning)).status == status, beginning[:40]


@async_test
async def test_a_head_far_beyond_the_limits_does_not_keep_the_answer_from_being_read() -> None:
    async with house(max_url=2000, max_header=3000) as here:
        for status, beginning in ((414, b"GET /"), (431, b"GET / HTTP/1.1\r\nX: ")):
            client = await here.connect()
            await client.send(beginning + b"x" * 5_000_000)
            assert (await client.answer()).status == status
            assert await client.end() == b""


@async_test
async def test_the_answer_to_a_head_that_is_too_large_is_json_for_who_wants_that() -> None:
    async with house(max_url=2000, max_header=3000) as here:
        for status, name, request in (
            (414, "url-too-long", url_of(2001).replace(b"\r\n\r\n", b"\r\nAccept: application/json\r\n\r\n")),
            (431, "headers-too-large", HEAD + b"accept:application/json\r\nX: " + b"h" * 9000),
        ):
            answer = await here.ask(request)
            assert answer.headers["content-type"] == "application/problem+json"
            problem = json.loads(answer.text)
            assert (problem["status"], problem["type"]) == (status, f"urn:owt:{name}")


# Connections


@async_test
async def test_one_client_more_than_may_be_connected_is_told_so() -> None:
    async with house(max_connections=2) as here:
        first, second = await here.connect(), await here.connect()
        for client in (first, second):
            await client.send(GET)
            assert (await client.answer()).text == "hello"
        assert here.listener.connections == 2
        third = await here.connect()
        answer = await third.answer()
        assert answer.status == 503
        assert "--max-connections 2" in answer.text
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
        assert await third.end() == b""
        await first.send(GET)
        assert (await first.answer()).text == "hello"
        second.sock.close()
        await here.count(1)
        assert (await here.ask(GET)).text == "hello"


@async_test
async def test_many_that_are_refused_at_once_are_all_told_so() -> None:
    async with house(max_connections=1) as here:
        await here.connect()
        await here.count(1)
        more = 3 * here.descriptors.lingering if here.descriptors.lingering < 50 else 150
        clients = [await here.connect() for _ in range(more)]
        for client in clients:
            assert (await client.answer()).status == 503
            client.sock.close()


@async_test
async def test_where_descriptors_are_few_fewer_clients_may_be_connected() -> None:
    class Few(Descriptors):
        limit = OWN + 16 + 4

    async with house(Few(), max_connections=100) as here:
        assert here.listener.most == 2
        clients = [await here.connect() for _ in range(3)]
        answer = await clients[2].answer()
        assert answer.status == 503
        assert "--max-connections is 100" in answer.text
        assert f"{Few.limit} file descriptors (ulimit -n)" in answer.text


@async_test
async def test_silent_clients_are_let_go_and_so_are_those_between_two_requests() -> None:
    async with house(connection_idle=0.05) as here:
        silent, done, slow = [await here.connect() for _ in range(3)]
        await done.send(GET)
        await slow.send(HEAD)
        assert (await done.answer()).text == "hello"
        for client in (silent, done, slow):
            assert await client.end() == b""
        await here.count(0)


POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 5\r\n\r\n",
        POST + b"Content-Length: 5\r\n\r\nhell",
        CHUNKED,
        CHUNKED + b"5\r\n",
        CHUNKED + b"5\r\nhell",
        CHUNKED + b"5\r\nhello",
        CHUNKED + b"5\r\nhello\r\n",
    ],
)
@async_test
async def test_a_body_that_does_not_come_to_its_end_is_not_waited_for(sent: bytes) -> None:
    async with house(connection_idle=0.05) as here:
        client = await here.connect()
        # The second request of its connection: what the first was answered does not count.
        await client.send(GET)
        assert (await client.answer()).text == "hello"
        await client.send(sent)
        answer = await client.answer()
        assert answer.status == 408
        assert "nothing has come of the rest for 0.05 s (--connection-idle)" in answer.text
        assert await client.end() == b""
        await here.count(0)


@async_test
async def test_who_was_answered_before_the_body_came_gets_no_second_answer() -> None:
    async with house(connection_idle=0.05) as here:
        client = await here.connect()
        await client.send(b"POST /refuses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert (await client.answer()).status == 413
        assert await client.end() == b""
        await here.count(0)


@async_test
async def test_a_body_that_comes_slowly_is_waited_for() -> None:
    async with house() as here:
        client = await here.connect()
        await client.send(POST + b"Content-Length: 5\r\n\r\n")
        await here.count(1)
        [connection] = here.listener._open
        times = []
        for letter in b"hell":
            before = connection.silent_since
            await client.send(bytes([letter]))
            async with asyncio.timeout(PATIENCE):
                while connection.silent_since in (None, before):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            times.append(connection.silent_since)
        assert times == sorted(set(times))
        await client.send(b"o")
        assert (await client.answer()).text == "hello"


@async_test
async def test_connections_are_probed_so_that_lost_ones_are_noticed() -> None:
    async with house() as here:
        await here.connect()
        await here.count(1)
        [connection] = here.listener._open
        option = connection.socket.getsockopt
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, pause, count = (
            option(socket.IPPROTO_TCP, name)
            for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + pause * count <= 60


# Descriptors


class Plenty(Descriptors):
    """As if descriptors were used up by something else."""

    limit = 1000


@async_test
async def test_a_client_for_whom_there_is_no_descriptor_is_told_so() -> None:
    async with house(Plenty()) as here:
        before = await here.connect()
        await before.send(GET)
        assert (await before.answer()).text == "hello"
        sockets = [socket.socket() for _ in range(3)]
        with descriptors_gone():
            for sock in sockets:
                client = await here.connect(sock)
                answer = await client.answer()
                assert answer.status == 503
                assert "run out of file descriptors" in answer.text
                assert "ulimit -n" in answer.text
                assert await client.end() == b""
            await before.send(GET)
            assert (await before.answer()).text == "hello"
        assert (await here.ask(GET)).text == "hello"


@async_test
async def test_more_clients_than_the_reserve_has_descriptors_are_told_one_after_another() -> None:
    async with house(Plenty()) as here:
        sockets = [socket.socket() for _ in range(2 * RESERVE)]
        with descriptors_gone():
            clients = [await here.connect(sock) for sock in sockets]
            for client in clients:
                assert (await client.answer()).status == 503
                # Closed, it would leave its descriptor to the next.
                client.sock.shutdown(socket.SHUT_WR)
        assert (await here.ask(GET)).text == "hello"


@async_test
async def test_without_any_descriptor_clients_wait_and_the_loop_does_not_spin() -> None:
    async with house(Plenty()) as here:
        tries = 0
        accept = here.listener._accept

        def counted(sock: socket.socket) -> None:
            nonlocal tries
            tries += 1
            accept(sock)

        here.listener._accept = counted  # type: ignore[method-assign]
        here.listener._pause()
        here.listener._resume()
        sock = socket.socket()
        with descriptors_gone():
            here.descriptors.spend = lambda: False  # type: ignore[method-assign]
            client = await here.connect(sock)
            await client.send(GET)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert 1 <= tries < 10
        assert (await client.answer()).text == "hello"


# Clients that go


@async_test
async def test_a_client_that_goes_is_noticed_whatever_it_had_sent_ahead() -> None:
    for ahead in (b"", b"GET /", GET, GET * 20):
        async with house() as here:
            client = await here.connect()
            await client.send(GET.replace(b"/ ", b"/forever ", 1) + ahead)
            await asyncio.wait_for(here.asked.wait(), PATIENCE)
            client.sock.close()
            await asyncio.wait_for(here.gone.wait(), PATIENCE)
            await here.count(0)


@async_test
async def test_a_client_that_ends_its_own_half_counts_as_gone() -> None:
    for ahead in (b"", b"GET /"):
        async with house() as here:
            client = await here.connect()
            await client.send(GET.replace(b"/ ", b"/forever ", 1) + ahead)
            await asyncio.wait_for(here.asked.wait(), PATIENCE)
            client.sock.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(here.gone.wait(), PATIENCE)
            assert await client.end() == b""


@async_test
async def test_a_client_that_stays_is_not_taken_for_gone() -> None:
    async with house() as here:
        client = await here.connect()
        await client.send(GET.replace(b"/ ", b"/forever ", 1) + GET)
        await asyncio.wait_for(here.asked.wait(), PATIENCE)
        for _ in range(3):
            here.listener._look()
        await asyncio.sleep(0)
        assert not here.gone.is_set()
        here.gone.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).text == "hello"


@async_test
async def test_an_answer_before_the_end_of_the_body_can_be_read_by_who_sends_all_of_it_first() -> None:
    head = b"POST /refuses HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    async with house() as here:
        for size in (10, 100_000, 10_000_000):
            client = await here.connect()
            await client.send(head % size)
            await client.send(bytes(size))
            answer = await client.answer()
            assert (answer.status, answer.text) == (413, "too much")
            assert await client.end() == b""


@async_test
async def test_who_sends_on_without_end_is_cut_off() -> None:
    head = b"POST /refuses HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    async with house() as here:
        client = await here.connect()
        await client.send(head % 10**12)
        with pytest.raises(ConnectionError):
            await client.send(bytes(2 * MOST_BYTES))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's certificate of its own making."""
    folder: Path = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@async_test
async def ask_with_tls(certificate: ssl.SSLContext) -> None:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with house(tls=certificate, max_connections=1, max_url=2000) as here:

        async def ask(request: bytes) -> tuple[int, bytes]:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(*here.address, ssl=trusting)
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.read()
                writer.close()
                return int(head.split()[1]), body

        end = GET.replace(b"Host", b"Connection: close\r\nHost")
        assert await ask(end) == (200, b"hello")
        assert (await ask(url_of(2001)))[0] == 414
        # A silent one has the only place, so also before its hands are shaken.
        silent = await here.connect()
        await here.count(1)
        status, body = await ask(end)
        assert status == 503
        assert b"--max-connections 1" in body
        silent.sock.close()
        await here.count(0)
        assert await ask(end) == (200, b"hello")


def test_with_tls_the_limits_are_the_same_and_so_are_their_answers(certificate: ssl.SSLContext) -> None:
    ask_with_tls(certificate)
