"""owt.frontend.http.listener: limits on connections, readable refusals, disconnected clients."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import selectors
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from http_site import PATIENCE, HttpSite, RawClient
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from owt.frontend.config.settings import Settings
from owt.frontend.descriptors import OWN, RESERVE, Descriptors
from owt.frontend.http.connection import Connection
from owt.testing import async_test, settle

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
GET = HEAD + b"\r\n"


class Hello(RequestHandler):
    def get(self) -> None:
        self.finish("hello")

    def post(self) -> None:
        self.finish(self.request.body)


class Forever(RequestHandler):
    """Handler that never responds, and sets events when it is called and when its client disconnects."""

    def initialize(self, called: asyncio.Event, gone: asyncio.Event) -> None:
        self.called, self.gone = called, gone

    async def get(self) -> None:
        self.called.set()
        await self.gone.wait()

    def on_connection_close(self) -> None:
        self.gone.set()


@stream_request_body
class Refuses(RequestHandler):
    """Handler that responds before the body has been read."""

    def prepare(self) -> None:
        self.set_status(413)
        self.set_header("Connection", "close")
        self.finish("too much")

    def data_received(self, chunk: bytes) -> None:
        pass

    def post(self) -> None:
        pass


class Floods(WebSocketHandler):
    """WebSocket that sends more than its client reads; `written` is the result of the write."""

    written: asyncio.Future[None] | None = None

    def open(self) -> None:
        type(self).written = self.write_message(b"x" * 50_000_000, binary=True)


class Handlers(Application):
    """Application with a few handlers; `called` and `gone` are the events of `/forever`."""

    def __init__(self) -> None:
        self.called, self.gone = asyncio.Event(), asyncio.Event()
        self.requests = 0
        super().__init__(
            [
                ("/forever", Forever, {"called": self.called, "gone": self.gone}),
                ("/refuses", Refuses),
                ("/floods", Floods),
                (".*", Hello),
            ],
            log_function=self._count,
        )

    def _count(self, _: RequestHandler) -> None:
        self.requests += 1


class HandlersSite(HttpSite):
    """Site with a few handlers."""

    def __init__(self, descriptors: Descriptors | None = None, *, tls: Any = None, **settings: Any) -> None:
        handlers = Handlers()
        self.called, self.gone = handlers.called, handlers.gone
        self.handlers = handlers
        super().__init__(handlers, Settings(**settings), descriptors, tls=tls)


@asynccontextmanager
async def serving(descriptors: Descriptors | None = None, **settings: Any) -> AsyncIterator[HandlersSite]:
    site = HandlersSite(descriptors, **settings)
    try:
        yield site
    finally:
        site.gone.set()
        await site.close()


@contextmanager
def descriptors_gone() -> Iterator[None]:
    """Lower this process's limit to the descriptors that it has."""
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


@async_test
async def test_a_head_without_end_is_refused_at_the_limit() -> None:
    async with serving(max_url=2000, max_header=3000) as site:
        for status, beginning in (
            (414, b"GET /" + b"u" * 7000),
            (414, b"G" * 7000),
            (414, b"GET /" + b"u" * 2001 + b" HTTP/1.1\r\nX: " + b"h" * 7000),
            (431, b"GET / HTTP/1.1\r\nX: " + b"h" * 7000),
            (431, b"GET / HTTP/1.1\r\n" + b"X: h\r\n" * 2000),
        ):
            assert (await site.ask(beginning)).status == status, beginning[:40]


@async_test
async def test_the_refusal_of_a_head_of_5_mb_can_be_read() -> None:
    async with serving(max_url=2000, max_header=3000) as site:
        for status, beginning in ((414, b"GET /"), (431, b"GET / HTTP/1.1\r\nX: ")):
            client = await site.connect()
            await client.send(beginning + b"x" * 5_000_000)
            assert (await client.answer()).status == status
            assert await client.end() == b""


@async_test
async def test_the_refusal_of_a_head_is_json_if_the_client_accepts_json() -> None:
    async with serving(max_url=2000, max_header=3000) as site:
        for status, name, request in (
            (
                414,
                "url-too-long",
                b"GET /" + b"u" * 2001 + b" HTTP/1.1\r\nAccept: application/json\r\nX: " + b"h" * 9000,
            ),
            (431, "headers-too-large", HEAD + b"accept:application/json\r\nX: " + b"h" * 9000),
        ):
            answer = await site.ask(request)
            assert answer.headers["content-type"] == "application/problem+json"
            problem = json.loads(answer.text)
            assert (problem["status"], problem["type"]) == (status, f"urn:owt:{name}")


# Connections


@async_test
async def test_a_client_beyond_max_connections_gets_503() -> None:
    async with serving(max_connections=2) as site:
        first, second = await site.connect(), await site.connect()
        for client in (first, second):
            await client.send(GET)
            assert (await client.answer()).text == "hello"
        assert site.listener.connections == 2
        third = await site.connect()
        answer = await third.answer()
        assert answer.status == 503
        assert "--max-connections 2" in answer.text
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
        assert await third.end() == b""
        await first.send(GET)
        assert (await first.answer()).text == "hello"
        second.sock.close()
        await site.count(1)
        assert (await site.ask(GET)).text == "hello"


@async_test
async def test_150_clients_that_are_refused_at_once_all_get_503() -> None:
    async with serving(max_connections=1) as site:
        await site.connect()
        await site.count(1)
        more = 3 * site.descriptors.lingering if site.descriptors.lingering < 50 else 150
        clients = [await site.connect() for _ in range(more)]
        for client in clients:
            assert (await client.answer()).status == 503
            client.sock.close()


@async_test
async def test_few_descriptors_lower_the_limit_on_connections() -> None:
    class Few(Descriptors):
        limit = OWN + 16 + 4

    async with serving(Few(), max_connections=100) as site:
        assert site.listener.max_connections == 2
        clients = [await site.connect() for _ in range(3)]
        answer = await clients[2].answer()
        assert answer.status == 503
        assert "--max-connections is 100" in answer.text
        assert f"{Few.limit} file descriptors (ulimit -n)" in answer.text


@async_test
async def test_clients_that_send_no_request_or_half_a_head_are_disconnected() -> None:
    async with serving(connection_idle=0.05) as site:
        silent = await site.connect()
        done = await site.connect()
        await done.send(GET)
        slow = await site.connect()
        await slow.send(HEAD)
        assert (await done.answer()).text == "hello"
        for client in (silent, done, slow):
            assert await client.end() == b""
        await site.count(0)


POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


INCOMPLETE = [
    POST + b"Content-Length: 5\r\n\r\n",
    POST + b"Content-Length: 5\r\n\r\nhell",
    CHUNKED,
    CHUNKED + b"5\r\n",
    CHUNKED + b"5\r\nhell",
    CHUNKED + b"5\r\nhello",
    CHUNKED + b"5\r\nhello\r\n",
]


@pytest.mark.parametrize("sent", INCOMPLETE)
@async_test
async def test_an_incomplete_body_gets_503_if_the_server_shuts_down(sent: bytes) -> None:
    async with serving() as site:
        idle = await site.connect()
        await idle.send(GET)
        assert (await idle.answer()).status == 200
        client = await site.connect()
        await client.send(GET + sent)
        assert (await client.answer()).status == 200
        await settle()
        await site.listener.close_all_connections()
        assert (await client.end()).startswith(b"HTTP/1.1 503 ")
        assert await idle.end() == b""


@pytest.mark.parametrize("sent", INCOMPLETE)
@async_test
async def test_an_incomplete_body_gets_408_after_the_idle_time(sent: bytes) -> None:
    async with serving(connection_idle=0.05) as site:
        client = await site.connect()
        # The second request of its connection: the response to the first does not count.
        await client.send(GET + sent)
        _, first, second = (await client.end()).decode().split("HTTP/1.1 ")
        assert (first[:3], first[-5:], second[:3]) == ("200", "hello", "408")
        assert "nothing has come of the rest for 0.05 s (--connection-idle)" in second
        await site.count(0)


@async_test
async def test_a_request_that_was_refused_before_its_body_gets_no_408() -> None:
    async with serving(connection_idle=0.05) as site:
        client = await site.connect()
        await client.send(b"POST /refuses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert (await client.answer()).status == 413
        assert await client.end() == b""
        await site.count(0)


@async_test
async def test_each_part_of_a_slow_body_restarts_the_idle_time() -> None:
    async with serving() as site:
        client = await site.connect()
        await client.send(POST + b"Content-Length: 5\r\n\r\n")
        await site.count(1)
        [connection] = site.listener._open
        times = []
        for letter in b"hell":
            before = connection._waiting_since
            await client.send(bytes([letter]))
            async with asyncio.timeout(PATIENCE):
                while connection._waiting_since == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            times.append(connection._waiting_since)
        assert times == sorted(set(times))
        await client.send(b"o")
        assert (await client.answer()).text == "hello"


@async_test
async def test_tcp_keepalive_detects_a_lost_client_within_a_minute() -> None:
    async with serving() as site:
        await site.connect()
        await site.count(1)
        [connection] = site.listener._open
        option = connection.socket.getsockopt
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, pause, count = (
            option(socket.IPPROTO_TCP, name)
            for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + pause * count <= 60


# Descriptors


class Plenty(Descriptors):
    """Descriptors that something else uses up."""

    limit = 1000


@async_test
async def test_a_client_without_a_free_descriptor_gets_503() -> None:
    async with serving(Plenty()) as site:
        before = await site.connect()
        await before.send(GET)
        assert (await before.answer()).text == "hello"
        sockets = [socket.socket() for _ in range(3)]
        with descriptors_gone():
            for sock in sockets:
                client = await site.connect(sock)
                answer = await client.answer()
                assert answer.status == 503
                assert "run out of file descriptors" in answer.text
                assert "ulimit -n" in answer.text
                assert await client.end() == b""
            await before.send(GET)
            assert (await before.answer()).text == "hello"
        assert (await site.ask(GET)).text == "hello"


@async_test
async def test_clients_beyond_the_reserve_of_descriptors_get_503_in_turn() -> None:
    async with serving(Plenty()) as site:
        sockets = [socket.socket() for _ in range(2 * RESERVE)]
        with descriptors_gone():
            clients = [await site.connect(sock) for sock in sockets]
            for client in clients:
                assert (await client.answer()).status == 503
                # A close would free a descriptor of this process for the next client.
                client.sock.shutdown(socket.SHUT_WR)
        assert (await site.ask(GET)).text == "hello"


@async_test
async def test_clients_wait_without_load_while_no_descriptor_is_free() -> None:
    async with serving(Plenty()) as site:
        tries = 0
        accept = site.listener._accept

        def counted(sock: socket.socket) -> None:
            nonlocal tries
            tries += 1
            accept(sock)

        site.listener._accept = counted  # type: ignore[method-assign]
        site.listener._pause()
        site.listener._released()
        sock = socket.socket()
        with descriptors_gone():
            site.descriptors.spend = lambda: False  # type: ignore[method-assign]
            client = await site.connect(sock)
            await client.send(GET)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert 1 <= tries < 10
        assert (await client.answer()).text == "hello"


# Disconnected clients


@async_test
async def test_a_disconnect_is_detected_behind_requests_sent_ahead() -> None:
    for ahead in (b"", b"GET /", GET, GET * 20):
        async with serving() as site:
            client = await site.connect()
            await client.send(GET.replace(b"/ ", b"/forever ", 1) + ahead)
            await asyncio.wait_for(site.called.wait(), PATIENCE)
            client.sock.close()
            await asyncio.wait_for(site.gone.wait(), PATIENCE)
            await site.count(0)


@async_test
async def test_a_client_that_closes_its_half_counts_as_disconnected() -> None:
    for ahead in (b"", b"GET /"):
        async with serving() as site:
            client = await site.connect()
            await client.send(GET.replace(b"/ ", b"/forever ", 1) + ahead)
            await asyncio.wait_for(site.called.wait(), PATIENCE)
            client.sock.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(site.gone.wait(), PATIENCE)
            assert await client.end() == b""


@async_test
async def test_a_connected_client_does_not_count_as_disconnected() -> None:
    async with serving() as site:
        client = await site.connect()
        await client.send(GET.replace(b"/ ", b"/forever ", 1) + GET)
        await asyncio.wait_for(site.called.wait(), PATIENCE)
        for _ in range(3):
            site.listener._check_connections()
        await asyncio.sleep(0)
        assert not site.gone.is_set()
        site.gone.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).text == "hello"


@async_test
async def test_an_early_response_can_be_read_after_sending_the_whole_body() -> None:
    head = b"POST /refuses HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    async with serving() as site:
        for size in (10, 100_000, 10_000_000):
            client = await site.connect()
            await client.send(head % size)
            await client.send(bytes(size))
            answer = await client.answer()
            assert (answer.status, answer.text) == (413, "too much")
            assert await client.end() == b""


@async_test
async def test_a_client_that_sends_without_end_is_disconnected() -> None:
    head = b"POST /refuses HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    async with serving() as site:
        client = await site.connect()
        await client.send(head % 10**12)

        async def send_on() -> None:
            while True:
                await client.send(bytes(1 << 20))

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_on(), PATIENCE)


# Restarts


async def waiting_connection(site: HandlersSite, data: bytes) -> tuple[RawClient, Connection]:
    """Return a client whose first request has been answered, and its connection, which waits for the next
    one; the socket has this data, of which the event loop has not told the connection."""
    client = await site.connect()
    await client.send(GET)
    assert (await client.answer()).text == "hello"
    [connection] = site.listener._open
    while not connection.idle:  # noqa: ASYNC110
        await asyncio.sleep(0)
    client.sock.send(data)
    with selectors.DefaultSelector() as selector:
        selector.register(connection.socket, selectors.EVENT_READ)
        assert selector.select(PATIENCE)
    return client, connection


def read_now(connection: Connection) -> None:
    """Have the connection read, as the event loop does; what waits for the read continues in a later step."""
    connection._handle_events(connection.socket.fileno(), select.POLLIN)


BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n" + b"b" * 40_000


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("data", [GET, GET * 2, GET[:20], BODY])
@async_test
async def test_a_request_that_comes_as_the_sockets_are_released_is_answered_by_the_next_program(
    data: bytes, is_read: bool
) -> None:
    async with serving() as site, serving() as following:
        client, connection = await waiting_connection(site, data)
        if is_read:
            read_now(connection)
        site.listener.hold()
        assert site.listener.under_way() == set()
        [(sock, read)], _ = site.listener.release()
        assert bool(read) == is_read
        following.listener.adopt([(sock, read)], ())
        # It restarts at once, too.
        following.listener.hold()
        [(sock, read)], _ = following.listener.release()
        following.listener.adopt([(sock, read)], ())
        await settle()
        [(sock, read)], _ = following.listener.release()
        following.listener.adopt([(sock, read)], ())
        following.listener.resume()
        site.listener.resume()
        await client.send(GET[20:] if data == GET[:20] else b"")
        for _ in range(data.count(b"HTTP")):
            assert (await client.answer()).status == 200
        # The earlier program has begun no further request.
        await settle()
        assert site.handlers.requests == 1


@async_test
async def test_a_released_request_runs_once_if_the_same_program_goes_on() -> None:
    async with serving() as site:
        before = site.handlers.requests
        client, connection = await waiting_connection(site, GET)
        for is_settled in (False, True):
            read_now(connection)
            site.listener.hold()
            if is_settled:
                await settle()
            idle, _ = site.listener.release()
            site.listener.adopt(idle, ())
            site.listener.resume()
            assert (await client.answer()).text == "hello"
            client.sock.send(GET)
            [connection] = site.listener._open
        assert (await client.answer()).text == "hello"
        assert site.handlers.requests == before + 4


@async_test
async def test_requests_that_waited_wait_on_if_they_are_held_back_again() -> None:
    async with serving() as site:
        client, connection = await waiting_connection(site, GET)
        site.listener.hold()
        await settle()
        site.listener.resume()
        site.listener.hold()
        await settle()
        assert connection.idle
        site.listener.resume()
        assert (await client.answer()).text == "hello"


@pytest.mark.parametrize(("repeatable", "detail"), [(False, "send it again"), (True, "the run goes on; ")])
@async_test
async def test_a_request_that_a_restart_interrupts_before_its_answer_gets_503(
    repeatable: bool, detail: str
) -> None:
    async with serving() as site:
        client = await site.connect()
        await client.send(HEAD.replace(b"/ ", b"/forever ", 1) + b"Accept: application/json\r\n\r\n")
        await asyncio.wait_for(site.called.wait(), PATIENCE)
        [connection] = site.listener._open
        connection.repeatable = repeatable
        site.listener.hold()
        assert site.listener.release()[0] == []
        site.listener.resume()
        answer = await client.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert json.loads(answer.text)["type"] == "urn:owt:shutting-down"
        assert detail in answer.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """TLS context with a self-signed certificate."""
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
    async with serving(tls=certificate, max_connections=1, max_url=2000) as site:

        async def ask(request: bytes) -> tuple[int, bytes]:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(*site.address, ssl=trusting)
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.read()
                writer.close()
                return int(head.split()[1]), body

        end = GET.replace(b"Host", b"Connection: close\r\nHost")
        assert await ask(end) == (200, b"hello")
        assert (await ask(b"GET /" + b"u" * 100_000))[0] == 414
        # A client counts as connected before its TLS handshake.
        silent = await site.connect()
        await site.count(1)
        status, body = await ask(end)
        assert status == 503
        assert b"--max-connections 1" in body
        silent.sock.close()
        await site.count(0)
        assert await ask(end) == (200, b"hello")


def test_limits_and_refusals_are_the_same_with_tls(certificate: ssl.SSLContext) -> None:
    ask_with_tls(certificate)


@async_test
async def test_the_end_of_the_server_ends_the_writes_of_websockets() -> None:
    async with serving() as site:
        client = await site.connect()
        key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        await client.send(
            b"GET /floods HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            + key + b"\r\n"
        )
        assert b" 101 " in await client.receive()
        written = Floods.written
        assert written is not None
        await site.listener.close_all_connections()
        # asyncio.run would cancel it, and Tornado reads the exception of the cancelled future.
        with pytest.raises(WebSocketClosedError):
            await asyncio.wait_for(written, PATIENCE)
