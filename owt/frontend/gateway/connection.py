"""A WebSocket to a session's kernel: jupyter_server's, which stays while kernels come and go, and whose
client cannot make the server's memory grow by not reading, or by sending more than a kernel takes."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError

from owt.errors import BadRequest, OwtError
from owt.frontend.watchers import News

LOOK = 0.05
"""Seconds between two looks at whether a kernel has taken what was sent to it."""

GOING_AWAY, NOT_UNDERSTOOD = 1001, 1007
"""Codes of RFC 6455, section 7.4.1."""


class Connection(ZMQChannelsWebsocketConnection):  # type: ignore[misc]
    """Between one WebSocket and the Jupyter channels of a session's kernel.

    At most a window of bytes is on its way to the client. Until it has taken some, the channels are not
    read, and when ZeroMQ's own queues are full, what the kernel broadcasts is dropped. That slows down
    neither the kernel nor anybody else.
    """

    channels: dict[str, Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Those of this server, not of the class.
        self._open_sessions = self.multi_kernel_manager.open
        # The window takes its place: nothing is dropped for a client that keeps up.
        self.limit_rate = False
        self.window: int = self.websocket_handler.service.settings.window
        self._live = self.kernel_manager.live
        self._joined = asyncio.Event()
        self._joining: asyncio.Task[None] | None = None
        self._opened = False
        self._pending = 0
        self._paused = False

    async def prepare(self) -> None:
        """Have a kernel. Raises what `Session.started` does, and `BadRequest` for a session id that ZeroMQ
        cannot have as an identity (RFC 28/REQREP)."""
        if not 0 < len(self.session.bsession) < 256:
            raise BadRequest("session_id", "must have 1 to 255 characters", self.session.session)
        await self._register_session()
        await self._live.started()
        self.session.key = self._live.kernel.key
        self._kernel_info_future.set_result({})

    def connect(self) -> asyncio.Future[None]:
        """Connect the channels. Done when messages come and go."""
        self._opened = True
        self._live.watchers.add(self._hear)
        if self._live.kernel is not None and self._live.kernel.alive:
            connected: asyncio.Future[None] = super().connect()
            connected.add_done_callback(self._connected)
            return connected
        # It has died meanwhile. The next one will be heard of.
        self.multi_kernel_manager.notify_connect(self.kernel_id)
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    def disconnect(self) -> None:
        """The WebSocket has ended."""
        self._live.watchers.remove(self._hear)
        self._cut()
        self._joined.set()
        if self._opened:
            super().disconnect()
        else:
            self._open_sessions.pop(self.session_key, None)

    async def take(self, message: str | bytes) -> None:
        """Pass a message of the client on. Waits for a kernel, and until it has taken it."""
        if not self._joined.is_set():
            try:
                await self._live.started()
            except OwtError:
                self._tell("dead")
                return
            await self._joined.wait()
        try:
            self.handle_incoming_message(message)
        except Exception as error:
            self.log.info("a client of kernel %s sent what is no message: %s", self.kernel_id, error)
            self.websocket_handler.close(NOT_UNDERSTOOD, "not a Jupyter message")
            return
        await asyncio.sleep(0)
        # Nobody tells when a stream has sent all, which takes longer only where a kernel takes nothing.
        while self._sending():  # noqa: ASYNC110
            await asyncio.sleep(LOOK)

    def _sending(self) -> bool:
        return any(stream.sending() for stream in self.channels.values() if not stream.closed())

    @property
    def write_message(self) -> Any:
        """How a message is sent to the client."""
        return self._write

    def _write(self, message: str | bytes, binary: bool = False) -> None:
        try:
            written = self.websocket_handler.write_message(message, binary=binary)
        except WebSocketClosedError:
            return
        self._pending += len(message)
        written.add_done_callback(partial(self._written, len(message)))
        if self._pending > self.window and not self._paused:
            self._paused = True
            for stream in self.channels.values():
                stream.stop_on_recv()

    def _written(self, size: int, written: asyncio.Future[None]) -> None:
        self._pending -= size
        if not written.cancelled():
            # Of a client that has gone; the end of the WebSocket says so.
            written.exception()
        if self._paused and self._pending <= self.window // 2:
            self._paused = False
            if self._joined.is_set():
                self._listen()

    def _listen(self) -> None:
        for stream in self.channels.values():
            if not stream.closed():
                stream.on_recv_stream(self.handle_outgoing_message)

    def _connected(self, _: asyncio.Future[None]) -> None:
        if self.channels:
            # A client that comes back after its kernel's death waits for a word.
            self._tell(self._live.state)
            self._joined.set()

    # What becomes of the kernel ----------------------------------------------------------------------

    def _hear(self, news: News) -> None:
        match news:
            case "died":
                self._tell("restarting")
                self._cut()
            case "given-up":
                self._tell("dead")
                self._cut()
            case "started":
                self._cut()
                self._joining = asyncio.get_running_loop().create_task(self._join())
            case "closed":
                self._tell("dead")
                self._cut()
                self.websocket_handler.close(GOING_AWAY, "the session has ended")

    def _tell(self, state: str) -> None:
        """Send a status, after what the kernel had sent before."""
        self._send_status_message(state)

    def _cut(self) -> None:
        """Let go of a kernel that is not there any more."""
        self._joined.clear()
        if self._joining is not None:
            self._joining.cancel()
            self._joining = None
        channels, self.channels = self.channels, {}
        for stream in channels.values():
            if not stream.closed():
                stream.close()

    async def _join(self) -> None:
        """Connect to the session's new kernel."""
        self.session.key = self._live.kernel.key
        with contextlib.suppress(HTTPError):
            self.create_stream()
            nudged = self.nudge()
            await nudged
            if not self._paused:
                self._listen()
            self._connected(nudged)
