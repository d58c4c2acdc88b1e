"""Client of a session's kernel over the gateway's WebSocket, like Jupyter's pages."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Self

from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    serialize_binary_message,
)
from websocket import WebSocket, WebSocketConnectionClosedException

from owt.testing import PATIENCE, LiveServer

ROOT = "/_owt/jupyter"

Message = dict[str, Any]


class ChannelsClient:
    """A WebSocket to the kernel of this id; a context manager."""

    def __init__(
        self,
        server: LiveServer,
        kernel: str,
        *,
        host: str | None = None,
        protocol: str | None = None,
        session: str | None = None,
        root: str = ROOT,
        **headers: str,
    ) -> None:
        url = server.url.replace("http", "ws", 1) + f"{root}/api/kernels/{kernel}/channels"
        self.session = session or uuid.uuid4().hex
        # The validation is slow.
        self.socket = WebSocket(skip_utf8_validation=True)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(
                f"{url}?session_id={self.session}",
                header=headers,
                host=host,
                suppress_origin=True,
                subprotocols=[protocol] if protocol else None,
            )
        except Exception:
            self.socket.shutdown()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()
        # `close` leaves the socket open if the server has closed the connection.
        self.socket.shutdown()

    def send(
        self, kind: str, content: Message, channel: str = "shell", buffers: Sequence[bytes] = ()
    ) -> str:
        """Send a request and return its id."""
        id = uuid.uuid4().hex
        header = {
            "msg_id": id,
            "msg_type": kind,
            "username": "test",
            "session": self.session,
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        message |= {"channel": channel, "buffers": list(buffers)}
        if buffers:
            self.socket.send_binary(serialize_binary_message(message))
        else:
            self.socket.send(json.dumps(message))
        return id

    def is_closed(self) -> bool:
        """Return True once the server has closed the connection, after any messages. Raises TimeoutError."""
        while self.socket.recv():
            pass
        return True

    def execute(self, code: str) -> str:
        """Send a cell and return its id."""
        return self.send("execute_request", {"code": code, "silent": False, "allow_stdin": True})

    def read(self) -> Message | None:
        """Return the next message; None at the end of the connection. Raises TimeoutError."""
        try:
            text = self.socket.recv()
        except WebSocketConnectionClosedException:
            return None
        if isinstance(text, bytes) and text:
            return dict(deserialize_binary_message(text))
        message: Message | None = json.loads(text) if text else None
        return message

    def until(self, condition: Callable[[Message], bool]) -> list[Message]:
        """Return the messages up to the first that meets the condition."""
        messages = []
        while (message := self.read()) is not None:
            messages.append(message)
            if condition(message):
                return messages
        raise AssertionError(f"the connection ended after {[about(item) for item in messages]}")

    def run(self, code: str) -> str:
        """Run a cell and return the text that it prints."""
        id = self.execute(code)
        messages = self.until(lambda message: is_idle(message, id))
        return "".join(
            message["content"]["text"]
            for message in messages
            if message["msg_type"] == "stream" and message["parent_header"].get("msg_id") == id
        )


def is_idle(message: Message, parent: str | None = None) -> bool:
    """Return True if a message reports that the kernel is idle (after this request)."""
    return state(message) == "idle" and parent in (None, message["parent_header"].get("msg_id"))


def state(message: Message) -> str | None:
    """Return the kernel's state in a status message."""
    content: Message = message["content"] if message["msg_type"] == "status" else {}
    return content.get("execution_state")


def about(message: Message) -> tuple[str, str | None]:
    """Return a message's type, and the state in it."""
    return message["msg_type"], state(message)


def kernel_of(server: LiveServer, session: str, **options: Any) -> str:
    """Return the kernel id of a session."""
    kernels = server.ask("GET", f"{ROOT}/api/kernels", **options).json()
    id: str = next(kernel["id"] for kernel in kernels if kernel["session"] == session)
    return id
