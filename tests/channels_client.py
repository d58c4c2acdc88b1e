"""A client of a session's kernel over the gateway's WebSocket, as Jupyter's browsers are one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any, Self

from websocket import WebSocket, WebSocketConnectionClosedException

from owt.testing import LiveServer

ROOT = "/_owt/jupyter"
PATIENCE = 20.0

Message = dict[str, Any]


class ChannelsClient:
    """Attached to the kernel of this id; a context manager."""

    def __init__(
        self,
        server: LiveServer,
        kernel: str,
        *,
        host: str | None = None,
        protocol: str | None = None,
        **headers: str,
    ) -> None:
        url = server.url.replace("http", "ws", 1) + f"{ROOT}/api/kernels/{kernel}/channels"
        self.session = uuid.uuid4().hex
        self.socket = WebSocket()
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
        # Which does not close the socket if the server has ended the connection.
        self.socket.shutdown()

    def send(self, kind: str, content: Message, channel: str = "shell") -> str:
        """Send a request; gives its id."""
        id = uuid.uuid4().hex
        header = {
            "msg_id": id,
            "msg_type": kind,
            "username": "somebody",
            "session": self.session,
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.socket.send(json.dumps({**message, "channel": channel, "buffers": []}))
        return id

    def ended(self) -> bool:
        """Whether the server ends the connection, whatever it says before. Raises TimeoutError."""
        while self.socket.recv():
            pass
        return True

    def execute(self, code: str) -> str:
        """Send a cell; gives its id."""
        return self.send("execute_request", {"code": code, "silent": False})

    def read(self) -> Message | None:
        """The next message; None at the end of the connection. Raises TimeoutError."""
        try:
            text = self.socket.recv()
        except WebSocketConnectionClosedException:
            return None
        message: Message | None = json.loads(text) if text else None
        return message

    def until(self, found: Callable[[Message], bool]) -> list[Message]:
        """The messages up to one that is `found`."""
        messages = []
        while (message := self.read()) is not None:
            messages.append(message)
            if found(message):
                return messages
        raise AssertionError(f"the connection ended after {[about(each) for each in messages]}")

    def run(self, code: str) -> str:
        """What a cell prints."""
        id = self.execute(code)
        messages = self.until(lambda each: is_idle(each, id))
        return "".join(
            each["content"]["text"]
            for each in messages
            if each["msg_type"] == "stream" and each["parent_header"].get("msg_id") == id
        )


def is_idle(message: Message, parent: str | None = None) -> bool:
    """Whether a message says that the kernel is idle (after this request)."""
    return state(message) == "idle" and parent in (None, message["parent_header"].get("msg_id"))


def state(message: Message) -> str | None:
    """The kernel's state that a message tells."""
    told: str | None = message["content"].get("execution_state") if message["msg_type"] == "status" else None
    return told


def about(message: Message) -> tuple[str, str | None]:
    """A message's kind, and the state that it tells."""
    return message["msg_type"], state(message)


def kernel_of(server: LiveServer, session: str, **options: Any) -> str:
    """The kernel id of a session."""
    kernels = server.ask("GET", f"{ROOT}/api/kernels", **options).json()
    id: str = next(each["id"] for each in kernels if each["session"] == session)
    return id
