"""One session, as jupyter_server's handlers see a kernel."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import zmq
from jupyter_client import protocol_version  # type: ignore[attr-defined]
from jupyter_client.connect import ConnectionFileMixin
from tornado.web import HTTPError
from traitlets import Instance
from traitlets.config import LoggingConfigurable
from zmq.eventloop.zmqstream import ZMQStream

from owt.frontend.api.control import when
from owt.frontend.sessions.session import Session


class _Wires(ConnectionFileMixin):
    """Makes sockets that are connected to one kernel process."""

    context = Instance(zmq.Context)


class SessionKernel(LoggingConfigurable):
    """A session under a kernel id, which stays while the session's kernels come and go.

    Its `parent` is the `SessionKernels`. A `guest` is a session that was there already when somebody
    started its kernelspec: it has an id of its own, so that it can be let go of and the session lives on.
    """

    def __init__(
        self, live: Session, id: str, name: str, *, guest: bool, context: zmq.Context[Any], **kwargs: Any
    ) -> None:
        """`name` is the kernelspec's; `context` is where sockets are made."""
        super().__init__(**kwargs)
        self.live = live
        self.kernel_id = id
        self.kernel_name = name
        self.guest = guest
        self.held = 0
        self.connections = 0
        self._context = context
        # Every kernel of ours speaks the protocol of the client here. To ask would take until the end of
        # the call that runs.
        self._kernel_info_future: Future[dict[str, Any]] = Future()
        self._kernel_info_future.set_result({"protocol_version": protocol_version})

    @property
    def execution_state(self) -> str:
        """`starting`, `idle` or `dead`, for a connection that asks whether the kernel may be asked something:
        ours answer on the control channel also while they are busy."""
        return "idle" if self.live.state == "busy" else self.live.state

    @property
    def ports(self) -> list[str]:
        """What is another one after a restart."""
        return [self.live.kernel.id if self.live.kernel else ""]

    def model(self) -> dict[str, Any]:
        """What the REST API says of it."""
        return {
            "id": self.kernel_id,
            "name": self.kernel_name,
            "last_activity": when(self.live.used or self.live.created),
            "execution_state": self.live.state,
            "connections": self.connections,
            "session": self.live.name,
        }

    def connect_iopub(self, identity: bytes | None = None) -> ZMQStream:
        """A stream of what the kernel broadcasts."""
        return self._stream("iopub", identity)

    def connect_shell(self, identity: bytes | None = None) -> ZMQStream:
        """A stream for requests."""
        return self._stream("shell", identity)

    def connect_stdin(self, identity: bytes | None = None) -> ZMQStream:
        """A stream on which the kernel asks for input."""
        return self._stream("stdin", identity)

    def connect_control(self, identity: bytes | None = None) -> ZMQStream:
        """A stream for requests that do not wait for others."""
        return self._stream("control", identity)

    def _stream(self, channel: str, identity: bytes | None) -> ZMQStream:
        kernel = self.live.kernel
        if kernel is None or not kernel.alive:
            raise HTTPError(503, "the session's kernel is starting")
        wires = _Wires(context=self._context)
        wires.load_connection_info(kernel.manager.get_connection_info())
        socket = getattr(wires, f"connect_{channel}")(identity=identity)
        # Nobody waits for what a kernel that has gone does not take.
        socket.linger = 0
        return ZMQStream(socket)
