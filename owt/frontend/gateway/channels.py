"""One client's WebSocket to the Jupyter channels of a session's kernel.

Built on jupyter_server's base class for such connections and its functions for the two wire formats, but not
on its implementation, which is tied to one kernel process and buffers without bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
from functools import partial
from typing import Any

from jupyter_client.jsonutil import json_default
from jupyter_server.services.kernels.connection.base import (
    BaseKernelWebsocketConnection,
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
    serialize_binary_message,
    serialize_msg_to_ws_v1,
)
from tornado.websocket import WebSocketClosedError
from zmq import ZMQError
from zmq.eventloop.zmqstream import ZMQStream

from owt.errors import OwtError
from owt.frontend.sessions.session import KernelEvent

log = logging.getLogger("owt.jupyter")

CHANNELS = ("iopub", "shell", "control", "stdin")

SUBSCRIPTION_TIMEOUT = 5.0
"""Seconds until a kernel counts as connected that has not confirmed the subscription to IOPub. One whose
code holds the interpreter's lock confirms nothing for as long, but ZeroMQ has subscribed by then."""
PROBE_INTERVAL = 0.5
"""Seconds between requests that make a kernel broadcast its status, which confirms the subscription."""

GOING_AWAY, NOT_UNDERSTOOD, INTERNAL_ERROR = 1001, 1007, 1011
"""Codes of RFC 6455, section 7.4.1."""

ALIGNED = "v1.kernel.websocket.jupyter.org"
"""Subprotocol whose frames are all binary, with aligned offsets."""

MAX_PARTS = 4096
"""Parts of a message: its channel, header, parent, metadata, content and buffers."""


class ChannelsConnection(BaseKernelWebsocketConnection):  # type: ignore[misc]
    """A WebSocket and, while the session has a kernel, sockets for the kernel's channels.

    At most a window of bytes is on its way to the client. Until the client has read some, the channels are
    not read, and when ZeroMQ's own queues are full, the kernel's broadcasts are dropped. This slows down
    neither the kernel nor other clients. A client's next message is read when the kernel's socket has
    taken the last one.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._owt_session = self.kernel_manager.owt_session
        self._kernels = self.kernel_manager.kernels
        self._service = self.websocket_handler.service
        self._streams: dict[str, ZMQStream] = {}
        self._probe: ZMQStream | None = None
        self._probes: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._sent = asyncio.Event()
        self._open = False
        self._unwritten = 0
        self._paused = False

    async def prepare(self) -> None:
        """Wait for a kernel. Raises the errors of `Session.started`, and `Busy` if there are too few
        descriptors for its channels."""
        self._kernels.register(self.kernel_id, self.session_id, self.websocket_handler)
        await self._owt_session.started()
        # A connection needs about as many as a kernel.
        self._service.sessions.kernels.check_room()

    async def connect(self) -> None:
        """Begin to connect the channels of the kernel, or of the next one if it has died meanwhile. The
        client's messages wait for that."""
        self._open = True
        self._owt_session.add_observer(self)
        self.kernel_manager.connections += 1
        if self._owt_session.kernel is not None and self._owt_session.kernel.alive:
            self._connect_kernel()

    def disconnect(self) -> None:
        """Release everything after the end of the WebSocket."""
        self._owt_session.remove_observer(self)
        self._disconnect_kernel()
        self._connected.set()
        if self._open:
            self.kernel_manager.connections -= 1
        self._kernels.unregister(self.kernel_id, self.session_id, self.websocket_handler)

    async def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        """Forward a message of the client. Waits for a kernel, and until its socket has taken the message."""
        if not self._connected.is_set():
            try:
                await self._owt_session.started()
            except OwtError:
                self._send_status("dead")
                return
            await self._connected.wait()
        if not self._streams:
            # The kernel has died, or the client has gone, meanwhile.
            return
        try:
            self._forward(incoming_msg)
        except Exception as error:
            log.info("a client of kernel %s sent an invalid message: %s", self.kernel_id, error)
            self.websocket_handler.close(NOT_UNDERSTOOD, "not a Jupyter message")
            return
        while any(stream.sending() for stream in self._streams.values() if not stream.closed()):
            self._sent.clear()
            await self._sent.wait()

    def _forward(self, frame: str | bytes) -> None:
        check_frame(frame, self._aligned)
        message: Any
        if self._aligned:
            channel, message = deserialize_msg_from_ws_v1(frame)
        else:
            message = json.loads(frame) if isinstance(frame, str) else deserialize_binary_message(frame)
            # Jupyter's client for Python names no channel.
            channel = message.pop("channel", None) or "shell"
        if channel == "iopub":
            raise ValueError("it is for IOPub, where only the kernel sends")
        if (stream := self._streams.get(channel)) is None:
            log.info("a client of kernel %s sent a message for an unknown channel", self.kernel_id)
        elif self._aligned:
            self.session.send_raw(stream, message)
        else:
            self.session.send(stream, message)

    def _on_kernel_message(self, channel: str, frames: list[bytes]) -> None:
        """Send a message of the kernel to the client, except confirmations of subscriptions."""
        # Signature, header, parent header, metadata, content, buffers.
        _, parts = self.session.feed_identities(frames)
        try:
            if channel == "iopub":
                self._subscribed.set()
                if b'"iopub_welcome"' in parts[1] or any(probe in parts[2] for probe in self._probes):
                    return
            if self._aligned:
                self._write(serialize_msg_to_ws_v1(parts[1:], channel), binary=True)
            else:
                self._write_message(self.session.deserialize(parts), channel)
        except ValueError as error:
            log.warning("kernel %s sent an invalid message: %s", self.kernel_id, error)

    @property
    def _aligned(self) -> bool:
        return bool(self.websocket_handler.selected_subprotocol == ALIGNED)

    def _send_status(self, state: str) -> None:
        """Send a status to the client, after all messages of the kernel that have arrived."""
        if (iopub := self._streams.get("iopub")) is not None and not iopub.closed():
            iopub.flush()
        message = self.session.msg("status", {"execution_state": state})
        if self._aligned:
            self._write(serialize_msg_to_ws_v1(message, "iopub", self.session.pack), binary=True)
        else:
            self._write_message(message | {"buffers": []}, "iopub")

    def _write_message(self, message: dict[str, Any], channel: str) -> None:
        message["channel"] = channel
        if message["buffers"]:
            self._write(serialize_binary_message(message), binary=True)
        else:
            self._write(json.dumps(message, default=json_default), binary=False)

    def _write(self, data: str | bytes, *, binary: bool) -> None:
        try:
            written = self.websocket_handler.write_message(data, binary=binary)
        except WebSocketClosedError:
            return
        self._unwritten += len(data)
        written.add_done_callback(partial(self._on_written, len(data)))
        if self._unwritten > self._service.settings.window and not self._paused:
            self._paused = True
            for stream in self._streams.values():
                stream.stop_on_recv()

    def _on_written(self, size: int, written: asyncio.Future[None]) -> None:
        self._unwritten -= size
        if not written.cancelled():
            # An error means that the client has gone, which `disconnect` handles.
            written.exception()
        if self._paused and self._unwritten <= self._service.settings.window // 2:
            self._paused = False
            self._receive()

    def _receive(self) -> None:
        for channel, stream in self._streams.items():
            if not stream.closed():
                stream.on_recv(partial(self._on_kernel_message, channel))

    # The kernel ----------------------------------------------------------------------------------------

    def kernel_changed(self, event: KernelEvent) -> None:
        """Inform the client, and connect the channels of a new kernel."""
        match event:
            case KernelEvent.DIED:
                self._send_status("restarting")
                self._disconnect_kernel()
            case KernelEvent.FAILED:
                self._send_status("dead")
                self._disconnect_kernel()
            case KernelEvent.STARTED:
                self._disconnect_kernel()
                self._connect_kernel()
            case KernelEvent.CLOSED:
                self._send_status("dead")
                self._disconnect_kernel()
                self.websocket_handler.close(GOING_AWAY, "the session has ended")

    def _disconnect_kernel(self) -> None:
        self._connected.clear()
        self._subscribed.clear()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            if not stream.closed():
                stream.close()
        self._close_probe()
        self._probes.clear()
        # A message that waits for a closed socket waits no longer.
        self._sent.set()

    def _connect_kernel(self) -> None:
        """Open sockets to the kernel that the session has now."""
        self.session.key = self._owt_session.kernel.key
        try:
            for channel in CHANNELS:
                stream = self.kernel_manager.connect(channel, self.session.bsession)
                self._streams[channel] = stream
                stream.on_send(lambda message, status: self._sent.set())
            self._probe = self.kernel_manager.connect("control", b"")
        except ZMQError as error:
            log.error("a client cannot be connected to kernel %s: %s", self.kernel_id, error)
            self._disconnect_kernel()
            self.websocket_handler.close(INTERNAL_ERROR, str(error))
            return
        if not self._paused:
            self._receive()
        self._connecting = asyncio.get_running_loop().create_task(self._wait_for_subscription(self._probe))

    async def _wait_for_subscription(self, probe: ZMQStream) -> None:
        """Wait until messages arrive on IOPub. Its own message `iopub_welcome` arrives only for the kernel's
        first subscriber, so requests make the kernel broadcast its status."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SUBSCRIPTION_TIMEOUT):
                while not self._subscribed.is_set():
                    request = self.session.send(probe, "kernel_info_request")
                    self._probes.append(request["header"]["msg_id"].encode())
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(PROBE_INTERVAL):
                            await self._subscribed.wait()
        self._close_probe()
        # A client that comes back after its kernel's death waits for a status.
        self._send_status(self._owt_session.state)
        self._connected.set()

    def _close_probe(self) -> None:
        if self._probe is not None and not self._probe.closed():
            self._probe.close()
        self._probe = None


def check_frame(frame: str | bytes, aligned: bool) -> None:
    """Raise ValueError for a frame with invalid offsets, which jupyter_server's functions do not check.

    `aligned` is the protocol `v1.kernel.websocket.jupyter.org`, all of whose frames are binary: the number
    of offsets and the offsets, 8 bytes each and little-endian, then the channel, header, parent, metadata,
    content and buffers. The other protocol's frames are text, which is not checked, or have offsets of 4
    bytes, big-endian, before JSON and buffers (Jupyter Server, "WebSocket kernel wire protocols").
    """
    if isinstance(frame, str):
        if aligned:
            raise ValueError("it is text, and the protocol is binary")
        return
    size, order, letter = (8, "<", "Q") if aligned else (4, ">", "I")
    number = int.from_bytes(frame[:size], "little" if aligned else "big")
    # The last offset of the aligned protocol is the end of the frame.
    min_number, max_number = (6, MAX_PARTS + 1) if aligned else (1, MAX_PARTS)
    if not min_number <= number <= max_number or len(frame) < size * (number + 1):
        raise ValueError(f"it has {len(frame)} bytes and claims {number} offsets")
    offsets = struct.unpack_from(f"{order}{number}{letter}", frame, size)
    if list(offsets) != sorted(offsets) or offsets[0] < size * (number + 1) or offsets[-1] > len(frame):
        raise ValueError("its offsets are not in order")
