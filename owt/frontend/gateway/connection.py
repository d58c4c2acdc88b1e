"""A WebSocket to a session's kernel: jupyter_server's, which stays while kernels come and go, and whose
client cannot make the server's memory grow by not reading, or by sending more than a kernel takes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError
from zmq import ZMQError

from owt.errors import OwtError
from owt.frontend.gateway.frame import check_frame
from owt.frontend.sessions.observers import KernelEvent

LOOK = 0.05
"""Seconds between two looks at whether a kernel has taken what was sent to it."""

GOING_AWAY, NOT_UNDERSTOOD, INTERNAL_ERROR = 1001, 1007, 1011
"""Codes of RFC 6455, section 7.4.1."""

ALIGNED = "v1.kernel.websocket.jupyter.org"
"""The subprotocol whose frames are all binary."""


class Connection(ZMQChannelsWebsocketConnection):  # type: ignore[misc]
    """Between one WebSocket and the Jupyter channels of a session's kernel.

    At most a window of bytes is on its way to the client. Until it has taken some, the channels are not
    read, and when ZeroMQ's own queues are full, what the kernel broadcasts is dropped. That slows down
    neither the kernel nor anybody else.
    """

    channels: dict[str, Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.log: Any = Discreet(self.log, {})
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
        """Have a kernel. Raises what `Session.started` does, and `Busy` when there are not descriptors
        enough for its channels."""
        await self._register_session()
        await self._live.started()
        # A connection takes about as many as a kernel.
        self.websocket_handler.service.sessions.kernels.check_room()
        self.session.key = self._live.kernel.key
        self._kernel_info_future.set_result({})

    def connect(self) -> asyncio.Future[None]:
        """Connect the channels. Messages wait until that is done."""
        self._opened = True
        self._live.observers.add(self._hear)
        self.multi_kernel_manager.notify_connect(self.kernel_id)
        if self._live.kernel is not None and self._live.kernel.alive:
            self._join()
        # Or it has died meanwhile. The next one will be heard of.
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    def disconnect(self) -> None:
        """The WebSocket has ended."""
        self._live.observers.remove(self._hear)
        self._cut()
        self._joined.set()
        if self._opened:
            super().disconnect()
        elif self._open_sessions.get(self.session_key) is self.websocket_handler:
            del self._open_sessions[self.session_key]

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
            check_frame(message, self.subprotocol == ALIGNED)
            self.handle_incoming_message(message)
            if (iopub := self.channels.get("iopub")) is not None and iopub.sending():
                raise ValueError("it is for IOPub, where only the kernel speaks")
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

    # What becomes of the kernel ----------------------------------------------------------------------

    def _hear(self, news: KernelEvent) -> None:
        match news:
            case "died":
                self._tell("restarting")
                self._cut()
            case "given-up":
                self._tell("dead")
                self._cut()
            case "started":
                self._cut()
                self._join()
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

    def _join(self) -> None:
        """Connect to the kernel that the session has now."""
        self.session.key = self._live.kernel.key
        self._joining = asyncio.get_running_loop().create_task(self._joins())

    async def _joins(self) -> None:
        try:
            self.create_stream()
            # A kernel whose code holds the interpreter's lock answers nobody, for as long as that takes. It
            # has our subscription by then, so that nothing is missed after these seconds.
            with contextlib.suppress(TimeoutError):
                await self.nudge()
        except HTTPError:
            # It has died meanwhile.
            return
        except ZMQError as error:
            self.log.error("a client cannot be connected to kernel %s: %s", self.kernel_id, error)
            self.websocket_handler.close(INTERNAL_ERROR, str(error))
            return
        if self._joining is not asyncio.current_task():
            # The kernel has been let go of; jupyter_server's nudge keeps to itself that it was cancelled.
            return
        if not self._paused:
            self._listen()
        # A client that comes back after its kernel's death waits for a word.
        self._tell(self._live.state)
        self._joined.set()


class Discreet(logging.LoggerAdapter[logging.Logger]):
    """Logs what jupyter_server does, without the messages of clients, which it shows when they are odd. It
    warns of each that names no channel, and Jupyter's own client for Python never names one."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message whose arguments that are neither names, numbers nor errors are left out."""
        level = logging.INFO if level == logging.WARNING else level
        super().log(level, msg, *map(_named, args), **kwargs)


def _named(argument: object) -> object:
    if isinstance(argument, int | float | Exception) or (isinstance(argument, str) and len(argument) < 100):
        return argument
    return f"(a {type(argument).__name__})"
