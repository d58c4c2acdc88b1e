"""Sessions by kernel id: the kernel manager that jupyter_server's handlers use."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

import zmq
from jupyter_client.connect import ConnectionFileMixin
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from msgspec import Struct
from tornado.web import HTTPError
from traitlets import Instance
from traitlets.config import Configurable
from zmq.eventloop.zmqstream import ZMQStream

from owt.errors import BadRequest, Busy
from owt.frontend.api.control import timestamp
from owt.frontend.gateway.channels import ChannelsConnection, LeftCells
from owt.frontend.gateway.specs import SPEC_PREFIX, spec_session
from owt.frontend.service import Service
from owt.frontend.sessions.session import Session
from owt.wire.names import SESSION_NAME

MAX_RECEIVED = 20
"""Messages of one channel that wait in ZeroMQ while the event loop is busy; `channels` limits what waits for
a client. The kernel keeps 1,000 more, and drops the rest."""

SOCKETS = 5
"""Sockets of a WebSocket while it connects: one for each channel, and one for requests of its own."""

MAX_LEFT = 100
"""Clients whose cells go on after they have disconnected."""
MAX_STEM = 56
_ID = re.compile(r"\w+-\w+-\w+-\w+-\w+", re.ASCII)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


MAX_VARIABLES = 64 * 1024
"""Characters of the environment that a client gives a kernel."""


class KernelRecord(Struct):
    """Ids of a session's kernels for the next frontend: of its own one, and of the attached one with the
    number of its starts. `created` is the session's."""

    created: float
    own: str
    attached: str
    starts: int = 0


class KernelRecords(Struct):
    """Records of all kernels by the names of their sessions."""

    sessions: dict[str, KernelRecord] = {}


class _Connector(ConnectionFileMixin):
    """Jupyter's code that connects sockets to one kernel process."""

    context = Instance(zmq.Context)


class JupyterKernel(Configurable):
    """A session under a kernel id, which stays while the session's kernels come and go.

    A session has two. With the first id, a client that deletes the kernel ends the session. The second one is
    `attached`: clients get it that start the kernelspec of the session (see `specs`), and delete it to leave
    the session.
    """

    def __init__(
        self,
        owt_session: Session,
        id: str,
        spec: str,
        *,
        attached: bool,
        context: zmq.Context[Any],
        kernels: SessionKernels,
    ) -> None:
        """`spec` is the kernelspec's name; `context` makes the sockets."""
        super().__init__()
        self.owt_session = owt_session
        self.kernel_id = id
        self.kernels = kernels
        self.spec = spec
        self.attached = attached
        self.starts = 0
        self.connections = 0
        self._context = context

    @property
    def execution_state(self) -> str:
        """State of the session in Jupyter's words."""
        state = self.owt_session.state
        return "busy" if state == "stuck" else state

    def model(self) -> dict[str, Any]:
        """Return the kernel's model of Jupyter's REST API."""
        return {
            "id": self.kernel_id,
            "name": self.spec,
            "last_activity": timestamp(self.owt_session.used or self.owt_session.created),
            "execution_state": self.execution_state,
            "connections": self.connections,
            "session": self.owt_session.name,
        }

    def connect(self, channel: str, identity: bytes) -> ZMQStream:
        """Return a stream that is connected to a channel of the session's kernel, which must be alive."""
        kernel = self.owt_session.kernel
        assert kernel is not None
        connector = _Connector(context=self._context)
        connector.load_connection_info(kernel.manager.get_connection_info())
        socket = getattr(connector, f"connect_{channel}")(identity=identity)
        # Messages that a dead kernel does not take are dropped.
        socket.linger = 0
        return ZMQStream(socket)


class SessionKernels:
    """Kernel manager over owt's named sessions. Members of the pool, which have no name, are no kernels.

    A client that started a session's kernelspec sees the attached kernel in place of the session's own.
    """

    def __init__(self, service: Service) -> None:
        self.default_kernel_name = service.settings.kernel
        self._service = service
        self._context: zmq.Context[Any] = zmq.Context()
        # ZeroMQ's default limit is reached with 255 clients.
        max_sockets = SOCKETS * service.settings.max_connections
        self._context.max_sockets = max(1023, min(max_sockets, self._context.get(zmq.SOCKET_LIMIT)))
        self._context.rcvhwm = MAX_RECEIVED
        self._kernels: dict[Session, tuple[JupyterKernel, JupyterKernel]] = {}
        self.records = service.sessions.records
        recorded = None if self.records is None else self.records.read_gateway("kernels", KernelRecords)
        # Of an earlier frontend, as long as their sessions have not been looked at.
        self._recorded = {} if recorded is None else recorded.sessions
        self._connections: dict[tuple[str, str], ChannelsConnection] = {}
        self._left: dict[tuple[str, str], LeftCells] = {}

    def close(self) -> None:
        """Close all sockets."""
        self._context.destroy(linger=0)

    # Listing ------------------------------------------------------------------------------------------

    def __contains__(self, kernel_id: str) -> bool:
        return any(kernel_id == kernel.kernel_id for kernel in self._all())

    def get_kernel(self, kernel_id: str) -> JupyterKernel:
        """Return the kernel of this id. Raises a 404."""
        for kernel in self._all():
            if kernel.kernel_id == kernel_id:
                return kernel
        raise HTTPError(404, "Kernel does not exist: %s", kernel_id[:80])

    def list_kernels(self) -> list[dict[str, Any]]:
        """Return the models of the listed kernels."""
        return [kernel.model() for kernel in self.listed()]

    def kernel_model(self, kernel_id: str) -> dict[str, Any]:
        """Return the model of one kernel. Raises a 404."""
        return self.get_kernel(kernel_id).model()

    def listed(self) -> Iterator[JupyterKernel]:
        """Yield the kernels that clients see, one for each session: the attached one while it is used, and
        then the other one only while clients are connected to it."""
        for own, attached in self._pairs().values():
            used = attached.starts or attached.connections
            if used:
                yield attached
            if not used or own.connections:
                yield own

    def _all(self) -> Iterator[JupyterKernel]:
        return chain.from_iterable(self._pairs().values())

    def _pairs(self) -> dict[Session, tuple[JupyterKernel, JupyterKernel]]:
        """Return each session's kernels: its own and the attached one."""
        named = set(self._service.sessions.named.values())
        for ended in self._kernels.keys() - named:
            del self._kernels[ended]
        if new := named - self._kernels.keys():
            for session in new:
                self._add(session)
            # Those that are left have ended.
            self._recorded.clear()
            self._record()
        return self._kernels

    def _add(self, session: Session, id: str | None = None) -> tuple[JupyterKernel, JupyterKernel]:
        """Return the kernels of a session, with this id or that of an earlier frontend."""
        record = self._recorded.pop(str(session.name), None)
        if record is None or record.created != session.created:
            record = KernelRecord(session.created, id or str(uuid.uuid4()), str(uuid.uuid4()))

        def kernel(id: str, spec: str, attached: bool) -> JupyterKernel:
            return JupyterKernel(session, id, spec, attached=attached, context=self._context, kernels=self)

        pair = (
            kernel(record.own, session.spec, False),
            kernel(record.attached, f"{SPEC_PREFIX}{session.name}", True),
        )
        pair[1].starts = record.starts
        self._kernels[session] = pair
        return pair

    def _record(self) -> None:
        """Record all ids for the next frontend."""
        if self.records is not None:
            records = {
                str(session.name): KernelRecord(
                    session.created, own.kernel_id, attached.kernel_id, attached.starts
                )
                for session, (own, attached) in self._kernels.items()
            }
            self.records.write_gateway("kernels", KernelRecords({**self._recorded, **records}))

    # Lifecycle ----------------------------------------------------------------------------------------

    async def start_kernel(
        self,
        kernel_name: str | None = None,
        path: str | None = None,
        kernel_id: str | None = None,
        env: Mapping[str, Any] | None = None,
    ) -> str:
        """Create a session named after the notebook at `path`, or attach to the one whose kernelspec it is.
        Returns the kernel id. `env` has variables for the kernel's environment, of which those are used whose
        names begin with `KERNEL_`.

        Raises `BadRequest`, `Busy` and `KernelDied` as calls do, and a 409 for an id that is in use.
        """
        sessions = self._service.sessions
        if self._service.draining:
            raise Busy("the server is shutting down; it starts no kernels")
        for field, value in (("name", kernel_name), ("path", path), ("kernel_id", kernel_id)):
            if not isinstance(value, str | None):
                raise BadRequest(field, "must be text", value)
        if (name := spec_session(kernel_name or "")) is not None:
            session = sessions.named.get(name) or sessions.create(name)
            _, kernel = self._pairs()[session]
            await session.started()
            kernel.starts += 1
            self._record()
            return kernel.kernel_id
        if kernel_id is not None:
            if not _ID.fullmatch(kernel_id) or len(kernel_id) > 64:
                raise BadRequest("kernel_id", "must look like a UUID", kernel_id)
            if kernel_id in self:
                raise HTTPError(409, "Kernel already exists: %s", kernel_id)
        if kernel_name == "python":
            kernel_name = NATIVE_KERNEL_NAME
        session = sessions.create(self._free_name(path), kernel_name, env=_kernel_variables(env or {}))
        kernel, _ = self._add(session, kernel_id)
        self._record()
        await session.started()
        return kernel.kernel_id

    async def shutdown_kernel(self, kernel_id: str, now: bool = False, restart: bool = False) -> None:
        """End the session; with an attached kernel's id, only leave it."""
        kernel = self.get_kernel(kernel_id)
        if kernel.attached:
            kernel.starts = max(0, kernel.starts - 1)
            self._record()
        else:
            await self._service.sessions.delete(str(kernel.owt_session.name))

    async def interrupt_kernel(self, kernel_id: str) -> None:
        """Interrupt the running cell or calls of the session."""
        await self.get_kernel(kernel_id).owt_session.interrupt()

    async def restart_kernel(self, kernel_id: str, now: bool = False) -> None:
        """Replace the session's kernel."""
        await self.get_kernel(kernel_id).owt_session.restart()

    def _free_name(self, path: str | None) -> str:
        """Return an unused session name after a notebook's file."""
        stem = PurePosixPath((path or "")[-1000:]).name.removesuffix(".ipynb")
        stem = _NOT_IN_NAMES.sub("-", stem).strip("-")[:MAX_STEM] or "notebook"
        named = self._service.sessions.named
        number = 1
        while (name := stem if number == 1 else f"{stem}-{number}") in named:
            number += 1
        assert SESSION_NAME.fullmatch(name), name
        return name

    # Connections --------------------------------------------------------------------------------------

    def register(
        self, kernel_id: str, client: str, connection: ChannelsConnection
    ) -> tuple[set[str], list[bytes] | None]:
        """Record a connection of a client, before it connects to the kernel.

        Returns the cells that the client has left, whose prompts reach it again, and a prompt that waits for
        an answer. An earlier connection of the same client, whose end was not noticed yet, is closed: both
        would be one identity for ZeroMQ.
        """
        earlier = self._connections.get((kernel_id, client))
        self._connections[kernel_id, client] = connection
        if earlier is not None:
            return earlier.take_over()
        if (left := self._left.pop((kernel_id, client), None)) is None:
            return set(), None
        left.close()
        return left.cells, None

    def keep(self, kernel_id: str, client: str, left: LeftCells) -> None:
        """Keep the cells that a client has left; of too many, the oldest are closed."""
        for key in [key for key, earlier in self._left.items() if not earlier.cells]:
            del self._left[key]
        self._left[kernel_id, client] = left
        if len(self._left) > MAX_LEFT:
            self._left.pop(next(iter(self._left))).close()

    def unregister(self, kernel_id: str, client: str, connection: ChannelsConnection) -> None:
        """Forget a client's connection, unless a later one has taken its place."""
        if self._connections.get((kernel_id, client)) is connection:
            del self._connections[kernel_id, client]


def _kernel_variables(env: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a client that a kernel gets. Raises `BadRequest`."""
    variables = {name: value for name, value in env.items() if name.startswith("KERNEL_")}
    for name, value in variables.items():
        if not isinstance(value, str) or "\0" in value or not name.isidentifier():
            raise BadRequest("env", f"{name[:80]} must be a name, with text as its value", value)
    if sum(len(name) + len(value) for name, value in variables.items()) > MAX_VARIABLES:
        raise BadRequest("env", f"must not have more than {MAX_VARIABLES} characters", ", ".join(variables))
    return variables
