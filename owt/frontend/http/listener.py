"""The server's ear: takes connections, as many as it may, and notices those that have gone."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import ssl_wrap_socket

from owt.errors import Busy
from owt.frontend.config.settings import Settings
from owt.frontend.descriptors import Descriptors, ran_out
from owt.frontend.http.connection import Connection, HeadLimits, SecureConnection
from owt.frontend.http.lingering import LONGEST, Lingering
from owt.frontend.problems import problem_response

log = logging.getLogger("owt")

LOOK = 0.25
"""Seconds between two looks at what the event loop does not tell."""
AT_ONCE = 128
"""Connections that are taken before the loop goes on with other things."""

HANG_UP = getattr(select, "POLLRDHUP", 0)
"""The event "the client sends no more". Where the system has none, the loss of a connection is told still."""

KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""TCP's own probes: after 30 s of silence, three of them 10 s apart (the second name is macOS's)."""


class Listener(HTTPServer):
    """Tornado's server, with limits, and with an answer for every client that it does not serve.

    At most `most` clients are connected, and those that are silent for `connection_idle` seconds are let
    go. One more is answered 503, and so is one for whom there is no file descriptor.

    A client that has closed its connection, or only its own half of it (as `nc -N` does after a request),
    counts as gone, and its call is cancelled: the two look the same from here until something is written.
    Tornado notices that by reading, which it does not do while bytes lie in its buffer unread, as those of
    a request that has been sent ahead. So all connections with an answer under way are polled as well. A
    client that vanishes without a word, as by a pulled plug, is noticed by TCP's keepalive in a minute; if
    something is on its way to it, when TCP gives up sending that, which may take some more.
    """

    def initialize(  # type: ignore[override]
        self, application: Any, *, settings: Settings, descriptors: Descriptors, **kwargs: Any
    ) -> None:
        """`kwargs` are further ones of Tornado's server, such as `ssl_options`."""
        self._limits = HeadLimits(settings.max_url, settings.max_header)
        super().initialize(
            application,
            max_header_size=self._limits.together,
            # The handlers refuse bodies larger than --max-body, with an answer that says so.
            max_body_size=sys.maxsize,
            max_buffer_size=settings.max_body + self._limits.together,
            **kwargs,
        )
        # Tornado would set a timer for each request; here one look is taken at all connections.
        self.conn_params.header_timeout = None
        self._settings = settings
        self._descriptors = descriptors
        self._lingering = Lingering(lambda: descriptors.lingering, self._relieved)
        self._listening: list[socket.socket] = []
        self._open: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected, those aside that are being turned away."""
        return len(self._open)

    @property
    def most(self) -> int:
        """How many may be: `--max-connections`, or fewer, so that file descriptors are left for kernels."""
        settings = self._settings
        kernels = settings.max_sessions + settings.pool_max
        return self._descriptors.connections(settings.max_connections, kernels)

    @property
    def writing(self) -> bool:
        """Whether a client has yet to take something that was written for it."""
        return any(connection.writing() for connection in self._open)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Take connections on these sockets."""
        self._descriptors.hold()
        for sock in sockets:
            sock.setblocking(False)
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                # What is accepted here inherits this.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for name, value in KEEPALIVE.items():
                    if (option := getattr(socket, name, None)) is not None:
                        sock.setsockopt(socket.IPPROTO_TCP, option, value)
            self._listening.append(sock)
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def stop(self) -> None:
        """Take no more connections."""
        super().stop()
        listening, self._listening = self._listening, []
        for sock in listening:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    async def close_all_connections(self) -> None:
        """Close every connection, also those that linger."""
        await super().close_all_connections()
        for connection in list(self._refused):
            connection.close()
        self._lingering.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._descriptors.release()

    def _accept(self, listening: socket.socket) -> None:
        """Somebody knocks. As many are taken as there are, or none for a while if there is no place."""
        self._keep_looking()
        for _ in range(AT_ONCE):
            refusal = self._full()
            if refusal and not self._room():
                self._pause()
                return
            try:
                try:
                    sock, address = listening.accept()
                except OSError as error:
                    # The system says so even if nobody is there any more.
                    if not (ran_out(error) and self._room() and self._descriptors.spend()):
                        raise
                    sock, address = listening.accept()
                    refusal = self._descriptors.exhausted("take another connection")
            except BlockingIOError:
                self._descriptors.hold()
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # The system would tell of the same client again and again.
                if not ran_out(error):
                    log.warning("cannot take a connection: %s", error)
                self._pause()
                return
            self._welcome(sock, address, refusal)

    def _welcome(self, sock: socket.socket, address: Any, refusal: Busy | None) -> None:
        try:
            connection = self._connection(sock)
        except OSError as error:
            # It has gone again, or was no TLS.
            log.debug("a connection ended as it began: %s", error)
            sock.close()
            self._descriptors.hold()
            return
        if refusal is None:
            self._open.add(connection)
            self.handle_stream(connection, address)
            return
        log.debug("a connection was refused: %s", refusal)
        self._refused.add(connection)
        told = connection.write(problem_response(refusal).encode())
        if told.done():
            connection.close()
        else:
            # With TLS, hands must be shaken before.
            told.add_done_callback(lambda _: connection.close())
            asyncio.get_running_loop().call_later(LONGEST, connection.close)

    def _connection(self, sock: socket.socket) -> Connection:
        kind = Connection
        if self.ssl_options is not None:
            kind = SecureConnection
            sock = ssl_wrap_socket(sock, self.ssl_options, server_side=True, do_handshake_on_connect=False)
        return kind(
            sock,
            limits=self._limits,
            lingering=self._lingering,
            on_close=self._closed,
            max_buffer_size=self.max_buffer_size,
            read_chunk_size=self.read_chunk_size,
        )

    def _full(self) -> Busy | None:
        """Why one more client cannot be served, if that is so."""
        count, most, wanted = len(self._open), self.most, self._settings.max_connections
        if count < most:
            return None
        full = f"{count} clients are connected, as many as may be"
        if most == wanted:
            return Busy(f"{full} (--max-connections {most}); try again later")
        return Busy(
            f"{full}: --max-connections is {wanted}, but the server may have {self._descriptors.limit} file "
            "descriptors (ulimit -n), of which kernels need some. Try again later, or start the server with "
            "more of them"
        )

    def _room(self) -> bool:
        """Whether one more can be refused. Each takes a place for a while, and a descriptor."""
        return len(self._refused) < self._descriptors.lingering and self._lingering.room()

    def _pause(self) -> None:
        """Let them wait before the door until something has changed, or some time has passed."""
        self._paused = True
        for sock in self._listening:
            asyncio.get_running_loop().remove_reader(sock)
        self._keep_looking()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            for sock in self._listening:
                asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._refused.discard(connection)
        self._relieved()

    def _relieved(self) -> None:
        """A place has become free, and perhaps a descriptor."""
        self._descriptors.hold()
        self._resume()

    def _keep_looking(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK, self._look)

    def _look(self) -> None:
        """What nobody tells: clients that have been silent for too long, those that have gone with bytes
        unread, and descriptors that became free."""
        self._timer = None
        patience = self._settings.connection_idle
        horizon = time.monotonic() - patience
        for connection in [each for each in self._open if each.silent_before(horizon)]:
            connection.let_go(patience)
        poll = select.poll()
        polled: dict[int, Connection] = {}
        for connection in self._open:
            if connection.answering:
                handle = connection.socket.fileno()
                poll.register(handle, HANG_UP)
                polled[handle] = connection
        for handle, _ in poll.poll(0):
            polled[handle].close()
        self._relieved()
        if self._open or self._paused:
            self._keep_looking()
