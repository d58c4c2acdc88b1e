"""HTTP server that limits its connections and detects disconnected clients."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import ssl_wrap_socket

from owt.errors import Busy
from owt.frontend.config.settings import Settings
from owt.frontend.descriptors import Descriptors, ran_out
from owt.frontend.http.connection import (
    LINGER,
    PART,
    READ_SIZE,
    Connection,
    Gate,
    SecureConnection,
    linger,
)
from owt.frontend.http.heads import HeadLimits
from owt.frontend.maintenance import Job
from owt.frontend.problems import Problem, problem_response

log = logging.getLogger("owt")

CHECK_INTERVAL = 0.25
"""Seconds between two checks for silent and disconnected clients."""

FIRST_REQUEST = 0.5
"""Seconds in which the first request by TLS is expected after the client has connected."""

ACCEPT_BATCH = 128
"""Maximum number of connections that are accepted before the event loop continues."""

PEER_CLOSED = getattr(select, "POLLRDHUP", 0)
"""Event of a client that has closed its half of a connection. Systems without it report lost connections."""

KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""TCP's keepalive probes: after 30 s of silence, three at intervals of 10 s (the second name is macOS's)."""


class Listener(HTTPServer):
    """Tornado's server with a limit on connections, and a response to each client that it refuses.

    A client that exceeds `max_connections`, or for which no file descriptor is left, gets 503. A client that
    sends nothing for `connection_idle` seconds is disconnected.

    A client that has closed its connection, or only its own half (as `nc -N` does after a request), counts as
    disconnected, and its call is cancelled; the server cannot tell the two apart before it writes. Tornado
    detects both by reading, but does not read while its buffer holds a further request. So a periodic check
    polls the connections with a response under way. TCP's keepalive detects a client that vanishes, as by a
    pulled plug, within a minute; if data is on its way to the client, TCP's retransmission timeout does.
    """

    def initialize(  # type: ignore[override]
        self,
        application: Any,
        *,
        settings: Settings,
        descriptors: Descriptors,
        **kwargs: Any,
    ) -> None:
        """`kwargs` are those of Tornado's server, such as `ssl_options`."""
        self._limits = HeadLimits(settings.max_url, settings.max_header)
        super().initialize(
            application,
            max_header_size=self._limits.head,
            # The access gate refuses bodies larger than --max-body, with a response that says so.
            max_body_size=sys.maxsize,
            max_buffer_size=settings.max_body + self._limits.head,
            chunk_size=READ_SIZE,
            **kwargs,
        )
        # Tornado would set a timer for each request; `_check_connections` needs none.
        self.conn_params.header_timeout = None
        self.conn_params.chunk_size = PART
        self.max_connections = descriptors.connections(
            settings.max_connections, settings.max_sessions + settings.pool_max
        )
        self._settings = settings
        self._descriptors = descriptors
        self._check = Job(CHECK_INTERVAL, self._check_connections)
        self._listening: list[socket.socket] = []
        self._open: set[Connection] = set()
        self._refused: set[Connection] = set()
        # Sockets of connections that have ended, oldest first, with the function that closes each.
        self._lingering: dict[socket.socket, Callable[[], None]] = {}
        self._paused = False
        self._gate = Gate()

    @property
    def connections(self) -> int:
        """Return the number of connected clients, without those that are being refused."""
        return len(self._open)

    @property
    def writing(self) -> bool:
        """Return True if a client has yet to take data that was written."""
        return any(connection.writing() for connection in self._open)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on these sockets."""
        self._descriptors.hold()
        for sock in sockets:
            sock.setblocking(False)
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                # Accepted sockets inherit these options.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for name, value in KEEPALIVE.items():
                    if (option := getattr(socket, name, None)) is not None:
                        sock.setsockopt(socket.IPPROTO_TCP, option, value)
            self._listening.append(sock)
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def stop(self) -> None:
        """Stop accepting connections."""
        super().stop()
        listening, self._listening = self._listening, []
        for sock in listening:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    # Another process goes on with the sockets of this one.

    def announce_end(self, is_near: bool) -> bool:
        """Close each connection after its response, or no longer, if no other process can go on with it: TLS
        has a state in this one. Returns True if connections are closed."""
        self.conn_params.no_keep_alive = is_near and self.ssl_options is not None
        return self.conn_params.no_keep_alive

    def hold(self) -> None:
        """Begin no request, and leave clients that connect in the system's queue, until `resume`.

        Requests by TLS cannot wait for another process: those that have come begin, and connections without
        one are closed.
        """
        if self._gate.closed is None:
            self._gate.closed = asyncio.get_running_loop().create_future()
            self._pause()
        recently = time.monotonic() - FIRST_REQUEST
        for connection in [item for item in self._open if item.idle and not item.can_move]:
            is_new = not (connection.request or connection.waits_since(recently))
            if not (is_new or _has_data(connection.socket)):
                connection.close()

    def resume(self) -> None:
        """Begin the requests that have come meanwhile."""
        if self._gate.closed is not None:
            self._gate.closed.set_result(None)
            self._gate.closed = None
            self._released()

    def under_way(self) -> set[tuple[Connection, int]]:
        """Return the requests that have begun and that their clients could not take up again, with their
        connections: all but streams of events and WebSockets. After `hold`, also those by TLS that come."""
        is_held = self._gate.closed is not None
        return {
            (connection, connection.request)
            for connection in self._open
            if (is_held and not connection.can_move if connection.idle else not connection.can_be_cut)
        }

    def close_websockets(self, closing_frame: bytes) -> None:
        """Close all WebSockets by this frame."""
        for connection in [connection for connection in self._open if connection.is_websocket]:
            connection.give_up(RESTARTING, closing_frame)

    def release(self) -> tuple[list[tuple[socket.socket, bytes]], list[socket.socket]]:
        """Return the sockets of idle connections, each with what was read from it, and those of connections
        that have ended, or end now, and linger."""
        idle = []
        for connection in list(self._open):
            if connection.idle and connection.can_move:
                idle.append(connection.release())
            else:
                connection.give_up(GOES_ON if connection.repeatable else RESTARTING)
        self._open.clear()
        return idle, list(self._lingering)

    def adopt(self, idle: Iterable[tuple[socket.socket, bytes]], lingering: Iterable[socket.socket]) -> None:
        """Go on with the sockets that another process, or this one, has released."""
        for sock, data in idle:
            try:
                address = sock.getpeername()
            except OSError:
                sock.close()
                continue
            sock.setblocking(False)
            self._open_connection(sock, address, None, data)
        for sock in lingering:
            if sock not in self._lingering:
                self._linger(sock)
        if self._open:
            self._check.start()

    async def close_all_connections(self) -> None:
        """Close every connection, also WebSockets, which Tornado's server does not know any more, and those
        that linger."""
        detail = "the request was interrupted before it was answered"
        problem = Problem("urn:owt:shutting-down", "the server is shutting down", 503, detail)
        for connection in list(self._open):
            connection.give_up(problem)
        await super().close_all_connections()
        for connection in list(self._refused):
            connection.close()
        for close in list(self._lingering.values()):
            close()
        self._check.stop()
        self._descriptors.release()

    def _accept(self, listening: socket.socket) -> None:
        self._check.start()
        exhausted = False
        for _ in range(ACCEPT_BATCH):
            refusal = self._excess()
            if refusal is not None and not self._can_refuse():
                self._pause()
                return
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                # The system reports a lack of descriptors even if no client waits.
                self._descriptors.hold()
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if ran_out(error) and self._can_refuse() and self._descriptors.spend():
                    exhausted = True
                    continue
                if not ran_out(error):
                    log.warning("cannot accept a connection: %s", error)
                # The system would report the same client again and again.
                self._pause()
                return
            if exhausted:
                refusal = self._descriptors.exhausted("accept another connection")
                exhausted = False
            self._open_connection(sock, address, refusal)

    def _open_connection(
        self, sock: socket.socket, address: Any, refusal: Busy | None, data: bytes = b""
    ) -> None:
        try:
            connection = self._connection(sock, data)
        except OSError as error:
            # The client has disconnected, or did not begin a TLS handshake.
            log.debug("a connection ended as it began: %s", error)
            sock.close()
            self._descriptors.hold()
            return
        if refusal is None:
            self._open.add(connection)
            self.handle_stream(connection, address)
            return
        log.debug("refused a connection: %s", refusal)
        self._refused.add(connection)
        written = connection.write(problem_response(refusal).encode())
        if written.done():
            connection.close()
        else:
            # The write waits for the TLS handshake.
            written.add_done_callback(lambda _: connection.close())
            asyncio.get_running_loop().call_later(LINGER, connection.close)

    def _connection(self, sock: socket.socket, data: bytes) -> Connection:
        connection_class = Connection
        if self.ssl_options is not None:
            connection_class = SecureConnection
            sock = ssl_wrap_socket(sock, self.ssl_options, server_side=True, do_handshake_on_connect=False)
        return connection_class(
            sock,
            limits=self._limits,
            gate=self._gate,
            linger=self._linger,
            on_close=self._closed,
            data=data,
            max_buffer_size=self.max_buffer_size,
            read_chunk_size=self.read_chunk_size,
        )

    def _excess(self) -> Busy | None:
        """Return the refusal of one more client, or None if it can be served."""
        count, limit, option = len(self._open), self.max_connections, self._settings.max_connections
        if count < limit:
            return None
        if limit == option:
            return Busy(
                f"{count} clients are connected, the maximum (--max-connections {limit}); try again later"
            )
        return Busy(
            f"{count} clients are connected, the maximum: --max-connections is {option}, but the server may "
            f"have {self._descriptors.limit} file descriptors (ulimit -n), of which kernels need some. Try "
            "again later, or start the server with a higher ulimit -n"
        )

    def _can_refuse(self) -> bool:
        """Return True if one more client can be refused; each keeps a descriptor for some time."""
        return len(self._refused) + len(self._lingering) < self._descriptors.lingering

    def _linger(self, sock: socket.socket) -> None:
        def closed() -> None:
            self._lingering.pop(sock, None)
            self._released()

        if len(self._lingering) >= self._descriptors.lingering:
            next(iter(self._lingering.values()))()
        close = linger(sock, closed)
        if sock.fileno() >= 0:
            self._lingering[sock] = close

    def _pause(self) -> None:
        """Leave clients in the system's queue until a connection ends, or until the next check."""
        self._paused = True
        for sock in self._listening:
            asyncio.get_running_loop().remove_reader(sock)

    def _closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._refused.discard(connection)
        self._released()

    def _released(self) -> None:
        """Refill the reserve of descriptors, and accept connections again."""
        self._descriptors.hold()
        if self._paused and self._gate.closed is None:
            self._paused = False
            for sock in self._listening:
                asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _check_connections(self) -> None:
        """Close the connections of clients that are silent or have disconnected."""
        timeout = self._settings.connection_idle
        horizon = time.monotonic() - timeout
        for connection in [connection for connection in self._open if connection.waits_since(horizon)]:
            connection.give_up(_too_late(timeout))
        poll = select.poll()
        polled: dict[int, Connection] = {}
        for connection in self._open:
            if connection.answering:
                descriptor = connection.socket.fileno()
                poll.register(descriptor, PEER_CLOSED)
                polled[descriptor] = connection
        for descriptor, _ in poll.poll(0):
            polled[descriptor].close()
        self._released()
        if not self._open and not self._paused:
            self._check.stop()


def _has_data(sock: socket.socket) -> bool:
    """Return True if there is something to read."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


RESTARTING = Problem(
    "urn:owt:shutting-down", "the server restarts", 503, "the request was interrupted; send it again"
)
"""Problem of a request that a restart has interrupted."""

GOES_ON = Problem(
    "urn:owt:shutting-down", "the server restarts", 503,
    "the run goes on; send the request again, with the same Owt-Run, to get its answer",
)
"""Problem of a request whose run goes on without it."""


def _too_late(seconds: float) -> Problem:
    """Return the problem of a request whose rest has not come for so long."""
    return Problem(
        "urn:owt:request-timeout",
        "the request's body does not come",
        408,
        f"nothing has come of the rest for {seconds:g} s (--connection-idle)",
    )
