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
from collections.abc import Iterable
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
from zmq import POLLIN, ZMQError
from zmq.eventloop.zmqstream import ZMQStream

from owt.errors import OwtError
from owt.frontend.sessions.events import KernelEvent
from owt.frontend.sessions.session import Session as OwtSession
from owt.wire.chunk import Stderr, Stdout

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

END_OF_INPUT = "\x04"
"""Answer that ipykernel takes for the end of the input."""

MAX_UNREAD = 16 * 2**20
"""Bytes that wait for a client before the kernel's broadcasts are dropped."""

MAX_PARTS = 4096
"""Parts of a message: its channel, header, parent, metadata, content and buffers."""


class ChannelsConnection(BaseKernelWebsocketConnection):  # type: ignore[misc]
    """A WebSocket and, while the session has a kernel, sockets for the kernel's channels.

    At most `MAX_UNREAD` bytes wait for the client, and one message more. Until the client has read some, the
    kernel's broadcasts are dropped, except for its states, and the other channels are not read. This slows
    down neither the kernel nor other clients. A notice in the output says what is missing. A client's next
    message is read when the kernel's socket has taken the last one.

    A prompt (`input()`) of a client that has disconnected ends with EOFError; see `LeftCells`. If the client
    has connected again before that was noticed, the prompt comes again there; see `take_over`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._owt_session = self.kernel_manager.owt_session
        self._kernels = self.kernel_manager.kernels
        self._service = self.websocket_handler.service
        self._streams: dict[str, ZMQStream] = {}
        self._probes: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._sent = asyncio.Event()
        self._open = False
        self._unwritten = 0
        self._paused = False
        # Broadcasts of the kernel that the client did not get: number, bytes, and the last one's parent.
        self._dropped, self._dropped_size, self._dropped_parent = 0, 0, b"{}"
        self._cells: set[str] = set()
        # The message of the prompt that waits for an answer.
        self._prompt: list[bytes] | None = None
        self._restarting = False
        # The header of the request that the kernel's newest broadcast answers.
        self._newest_parent = b"{}"

    async def prepare(self) -> None:
        """Wait for a kernel. Raises the errors of `Session.started`, and `Busy` if there are too few
        descriptors for its channels."""
        await self._owt_session.started()
        # A connection needs about as many as a kernel.
        self._service.sessions.kernels.check_room()

    async def connect(self) -> None:
        """Begin to connect the channels of the kernel, or of the next one if it has died meanwhile. The
        client's messages wait for that."""
        self._open = True
        self._owt_session.observers.add(self)
        self.kernel_manager.connections += 1
        cells, prompt = self._kernels.register(self.kernel_id, self.session_id, self)
        if self._owt_session.kernel is not None and self._owt_session.kernel.alive:
            self._cells |= cells
            self._connect_kernel()
            if prompt is not None:
                self._on_kernel_message("stdin", prompt)

    def take_over(self) -> tuple[set[str], list[bytes] | None]:
        """Close this connection, in whose place the client has another one now. Returns its cells, and the
        prompt that waits for an answer."""
        if (stdin := self._streams.get("stdin")) is not None and not stdin.closed():
            # A prompt may have arrived since the event loop was here.
            stdin.on_recv(partial(self._on_kernel_message, "stdin"))
            stdin.flush(POLLIN)
        cells, prompt = self._cells, self._prompt
        self._owt_session.observers.remove(self)
        self._disconnect_kernel()
        # Its end may be noticed much later.
        self._connected.set()
        self.websocket_handler.close()
        return cells, prompt

    def disconnect(self) -> None:
        """Release everything after the end of the WebSocket."""
        self._owt_session.observers.remove(self)
        if self._cells and "stdin" in self._streams:
            streams = self._streams.pop("shell"), self._streams.pop("stdin")
            left = LeftCells(self.session, self._owt_session, *streams, self._cells, self._prompt)
            self._kernels.keep(self.kernel_id, self.session_id, left)
        self._disconnect_kernel()
        self._connected.set()
        if self._open:
            self.kernel_manager.connections -= 1
        self._kernels.unregister(self.kernel_id, self.session_id, self)

    async def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        """Forward a message of the client. Waits for a kernel, and until its socket has taken the message."""
        if not self._connected.is_set():
            try:
                await self._owt_session.started()
            except OwtError:
                self._send_state("dead")
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
        if channel == "stdin":
            self._prompt = None
        elif channel == "shell":
            header = _header(message[0]) if self._aligned else message["header"]
            if header["msg_type"] == "execute_request":
                self._cells.add(header["msg_id"])
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
                self._newest_parent = parts[2]
                if not self._has_room(parts):
                    return
            elif channel == "stdin":
                _header(parts[1])
                self._prompt = frames
            elif channel == "shell" and self._cells:
                self._cells.discard(_header(parts[2]).get("msg_id", ""))
            if self._aligned:
                self._write(serialize_msg_to_ws_v1(parts[1:], channel), binary=True)
            else:
                self._write_message(self.session.deserialize(parts), channel)
        except ValueError as error:
            log.warning("kernel %s sent an invalid message: %s", self.kernel_id, error)

    @property
    def _aligned(self) -> bool:
        return bool(self.websocket_handler.selected_subprotocol == ALIGNED)

    def _has_room(self, parts: list[bytes]) -> bool:
        """Return False for a broadcast of the kernel that is dropped, because the client reads too slowly.

        A notice comes before the next one that is sent. States, which are small, are sent up to twice the
        limit: a client waits for the end of its cell.
        """
        size = sum(map(len, parts))
        if self._unwritten and self._unwritten + size > MAX_UNREAD:
            is_state = _header(parts[1]).get("msg_type") == "status"
            if not is_state or self._unwritten + size > 2 * MAX_UNREAD:
                self._dropped += 1
                self._dropped_size += size
                self._dropped_parent = parts[2]
                return False
        if self._dropped:
            noun = "message" if self._dropped == 1 else "messages"
            text = (
                f"owt: {self._dropped} {noun} of the kernel ({self._dropped_size / 2**20:.1f} MiB) are "
                "missing here, because this notebook reads more slowly than the kernel writes\n"
            )
            self._dropped = self._dropped_size = 0
            self._send("stream", {"name": "stderr", "text": text}, _header(self._dropped_parent))
        return True

    def _send_state(self, state: str, output: Iterable[Stdout | Stderr] = ()) -> None:
        """Send a state to the client, after all messages of the kernel that have arrived, and its last
        `output`, such as a crash report, which belongs to what the kernel did last."""
        if (iopub := self._streams.get("iopub")) is not None and not iopub.closed():
            iopub.flush()
        # Programs expect that each message on IOPub has a parent with a type.
        no_parent = self.session.msg_header("kernel_info_request")
        for chunk in output:
            name = "stdout" if isinstance(chunk, Stdout) else "stderr"
            content = {"name": name, "text": chunk.text}
            # The kernel may have sent a header that is no JSON.
            with contextlib.suppress(ValueError):
                self._send("stream", content, _header(self._newest_parent) or no_parent)
        self._send("status", {"execution_state": state}, no_parent)

    def _send(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        """Send a message of the gateway's own on IOPub; `parent` is the header of its parent."""
        message = self.session.msg(kind, content, parent={"header": parent})
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
        if self._unwritten > MAX_UNREAD and not self._paused:
            self._paused = True
            for channel, stream in self._streams.items():
                if channel != "iopub":
                    stream.stop_on_recv()

    def _on_written(self, size: int, written: asyncio.Future[None]) -> None:
        self._unwritten -= size
        if not written.cancelled():
            # An error means that the client has gone, which `disconnect` handles.
            written.exception()
        if self._paused and self._unwritten <= MAX_UNREAD // 2:
            self._paused = False
            self._receive()

    def _receive(self) -> None:
        for channel, stream in self._streams.items():
            if (channel == "iopub" or not self._paused) and not stream.closed():
                stream.on_recv(partial(self._on_kernel_message, channel))

    # The kernel ----------------------------------------------------------------------------------------

    def kernel_changed(self, event: KernelEvent) -> None:
        """Inform the client, and connect the channels of a new kernel."""
        match event:
            case KernelEvent.RESTARTING:
                # Clients take the state `restarting` for a crash, and report it.
                self._restarting = True
                self._send_state("starting")
            case KernelEvent.DIED:
                if not self._restarting:
                    self._send_state("restarting", self._owt_session.last_output)
                self._disconnect_kernel()
            case KernelEvent.FAILED:
                self._send_state("dead", self._owt_session.last_output)
                self._disconnect_kernel()
            case KernelEvent.STARTED:
                self._disconnect_kernel()
                self._connect_kernel()
            case KernelEvent.CLOSED:
                self._send_state("dead")
                self._disconnect_kernel()
                self.websocket_handler.close(GOING_AWAY, "the session has ended")

    def _disconnect_kernel(self) -> None:
        self._connected.clear()
        self._subscribed.clear()
        self._restarting = False
        self._cells, self._prompt = set(), None
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        streams, self._streams = self._streams, {}
        _close(*streams.values())
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
            probe = self.kernel_manager.connect("control", b"")
        except ZMQError as error:
            log.error("a client cannot be connected to kernel %s: %s", self.kernel_id, error)
            self._disconnect_kernel()
            self.websocket_handler.close(INTERNAL_ERROR, str(error))
            return
        self._receive()
        self._connecting = asyncio.get_running_loop().create_task(self._wait_for_subscription(probe))
        self._connecting.add_done_callback(lambda _: _close(probe))

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
        # A client that comes back after its kernel's death waits for a status.
        self._send_state(self.kernel_manager.execution_state)
        self._connected.set()


class LeftCells:
    """Cells that run or wait in the kernel although their client has disconnected.

    Their sockets for replies and prompts stay open, so that each prompt is answered with the end of the
    input. It cannot be answered in the kernel, which does not notice when a client is gone.
    """

    def __init__(
        self,
        jupyter_session: Any,
        owt_session: OwtSession,
        shell: ZMQStream,
        stdin: ZMQStream,
        cells: set[str],
        prompt: list[bytes] | None,
    ) -> None:
        """`cells` are the ids of their requests; `prompt` is the message of one that waits for an answer."""
        self.cells = cells
        self._jupyter_session = jupyter_session
        self._owt_session = owt_session
        self._shell = shell
        self._stdin = stdin
        owt_session.observers.add(self)
        shell.on_recv(self._on_reply)
        stdin.on_recv(self._on_prompt)
        if prompt is not None:
            self._on_prompt(prompt)

    def kernel_changed(self, event: KernelEvent) -> None:
        """Close with the kernel, which ends the cells."""
        self.cells.clear()
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        self._owt_session.observers.remove(self)
        _close(self._shell, self._stdin)

    def _on_reply(self, frames: list[bytes]) -> None:
        self.cells.discard(self._headers(frames)[1].get("msg_id", ""))
        if not self.cells:
            self.close()

    def _on_prompt(self, frames: list[bytes]) -> None:
        self._end(self._headers(frames)[0])

    def _headers(self, frames: list[bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
        _, parts = self._jupyter_session.feed_identities(frames)
        return _header(parts[1]), _header(parts[2])

    def _end(self, prompt: dict[str, Any]) -> None:
        content = {"status": "ok", "value": END_OF_INPUT}
        self._jupyter_session.send(self._stdin, "input_reply", content, parent={"header": prompt})


def _close(*streams: ZMQStream) -> None:
    for stream in streams:
        if not stream.closed():
            stream.close()


def _header(part: bytes) -> dict[str, Any]:
    """Return a message's header. Raises ValueError for anything but a JSON object."""
    header = json.loads(part)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header


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
