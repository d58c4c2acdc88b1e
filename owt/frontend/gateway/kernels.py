"""What jupyter_server's handlers take for the manager of all kernels: owt's sessions, by kernel id."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import zmq
from tornado.web import HTTPError
from traitlets.config import LoggingConfigurable

from owt.errors import BadRequest, Busy
from owt.frontend.gateway.kernel import SessionKernel
from owt.frontend.gateway.specs import LIVE, live_session
from owt.frontend.service import Service
from owt.frontend.sessions.session import Session
from owt.wire.names import SESSION_NAME

HELD = 100
"""Messages of one channel that wait for a WebSocket whose client is slow. Of more, the kernel keeps a
thousand, and drops the rest."""

CHANNELS = 6
"""Sockets that a WebSocket has while it connects: four channels, and two more to ask whether they work."""

LONGEST_STEM = 56
_ID = re.compile(r"\w+-\w+-\w+-\w+-\w+", re.ASCII)
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")


class SessionKernels(LoggingConfigurable):
    """Finds sessions by kernel id, starts and ends them. Pool members, which have no name, are no kernels.

    A session has two ids. One is its own: whoever deletes that ends the session. The other is for guests, who
    have started the session's own kernelspec (see `specs`): when they delete it, they leave. It is in the
    list while somebody has it.
    """

    # As jupyter_server's handlers and connections find them.
    allow_tracebacks = True
    allowed_message_types: tuple[str, ...] = ()
    kernel_info_timeout = 5.0

    def __init__(self, service: Service, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.default_kernel_name = service.settings.kernel
        self.open: dict[str, Any] = {}
        # It would keep what is sent while nobody listens, for who comes back, without bound. So: never one.
        self._kernel_connections: dict[str, int] = {}
        self._service = service
        self._context: zmq.Context[Any] = zmq.Context()
        # ZeroMQ's own limit is reached with 255 notebooks.
        most = CHANNELS * service.settings.max_connections
        self._context.max_sockets = max(1023, min(most, self._context.get(zmq.SOCKET_LIMIT)))
        self._context.rcvhwm = HELD
        self._kernels: dict[Session, tuple[SessionKernel, SessionKernel]] = {}

    def close(self) -> None:
        """Close every socket."""
        self._context.destroy(linger=0)

    # The kernels that there are --------------------------------------------------------------------

    def __contains__(self, kernel_id: str) -> bool:
        return any(kernel_id == each.kernel_id for each in self._all())

    def get_kernel(self, kernel_id: str) -> SessionKernel:
        """The kernel of this id. Raises a 404."""
        for each in self._all():
            if each.kernel_id == kernel_id:
                return each
        raise HTTPError(404, "Kernel does not exist: %s", kernel_id[:80])

    def list_kernels(self) -> list[dict[str, Any]]:
        """All of them, without those of guests that nobody has."""
        return [each.model() for each in self._all() if not each.guest or each.held or each.connections]

    def kernel_model(self, kernel_id: str) -> dict[str, Any]:
        """What the REST API says of one."""
        return self.get_kernel(kernel_id).model()

    def own(self) -> list[SessionKernel]:
        """Each session under its own id."""
        return [each for each in self._all() if not each.guest]

    def _all(self) -> Iterator[SessionKernel]:
        named = set(self._service.sessions.named.values())
        for gone in self._kernels.keys() - named:
            del self._kernels[gone]
        for live in named - self._kernels.keys():
            self._add(live, str(uuid.uuid4()))
        for pair in list(self._kernels.values()):
            yield from pair

    def _add(self, live: Session, id: str) -> tuple[SessionKernel, SessionKernel]:
        ids = ((id, live.spec, False), (str(uuid.uuid4()), f"{LIVE}{live.name}", True))
        own, guest = (
            SessionKernel(live, each, name, guest=is_guest, context=self._context, parent=self)
            for each, name, is_guest in ids
        )
        self._kernels[live] = (own, guest)
        return own, guest

    # What becomes of them --------------------------------------------------------------------------

    async def start_kernel(
        self, kernel_name: str | None = None, path: str | None = None, kernel_id: str | None = None
    ) -> str:
        """Make a session, named after the notebook at `path`, or join the one whose kernelspec it is.

        Raises `BadRequest`, `Busy` and `KernelDied` as calls do, and a 409 for an id that there is already.
        """
        sessions = self._service.sessions
        if self._service.draining:
            raise Busy("the server is ending; it starts no kernels")
        for field, value in (("name", kernel_name), ("path", path), ("kernel_id", kernel_id)):
            if not isinstance(value, str | None):
                raise BadRequest(field, "must be text", value)
        if (joined := live_session(kernel_name or "")) is not None:
            live = sessions.named.get(joined) or sessions.create(joined)
            await live.started()
            guest = next(each for each in self._all() if each.live is live and each.guest)
            guest.held += 1
            return guest.kernel_id
        if kernel_id is not None:
            if not _ID.fullmatch(kernel_id) or len(kernel_id) > 64:
                raise BadRequest("kernel_id", "must look like a UUID", kernel_id)
            if kernel_id in self:
                raise HTTPError(409, "Kernel already exists: %s", kernel_id)
        live = sessions.create(self._free(path), kernel_name)
        own, _ = self._add(live, kernel_id or str(uuid.uuid4()))
        await live.started()
        return own.kernel_id

    async def shutdown_kernel(self, kernel_id: str, now: bool = False, restart: bool = False) -> None:
        """End the session; a guest only leaves it."""
        kernel = self.get_kernel(kernel_id)
        if kernel.guest:
            kernel.held = max(0, kernel.held - 1)
        else:
            await self._service.sessions.delete(str(kernel.live.name))

    async def interrupt_kernel(self, kernel_id: str) -> None:
        """Interrupt what the session runs."""
        await self.get_kernel(kernel_id).live.interrupt()

    async def restart_kernel(self, kernel_id: str, now: bool = False) -> None:
        """Give the session a fresh kernel."""
        await self.get_kernel(kernel_id).live.restart()

    def _free(self, path: str | None) -> str:
        """A name that no session has, after the file that a notebook is in."""
        stem = PurePosixPath((path or "")[-1000:]).name.removesuffix(".ipynb")
        stem = _UNFIT.sub("-", stem).strip("-")[:LONGEST_STEM] or "notebook"
        named = self._service.sessions.named
        number = 1
        while (name := stem if number == 1 else f"{stem}-{number}") in named:
            number += 1
        assert SESSION_NAME.fullmatch(name), name
        return name

    # What a WebSocket connection asks for ------------------------------------------------------------

    def notify_connect(self, kernel_id: str) -> None:
        """A WebSocket to this kernel has been opened."""
        self._count(kernel_id, 1)

    def notify_disconnect(self, kernel_id: str) -> None:
        """One has ended."""
        self._count(kernel_id, -1)

    def _count(self, kernel_id: str, more: int) -> None:
        for each in self._all():
            if each.kernel_id == kernel_id:
                each.connections = max(0, each.connections + more)

    def get_buffer(self, kernel_id: str, session_key: str) -> None:
        """None: nothing is kept while nobody listens."""

    def add_restart_callback(self, kernel_id: str, callback: Any, event: str = "restart") -> None:
        """Nothing: connections hear of it from the session itself."""

    def remove_restart_callback(self, kernel_id: str, callback: Any, event: str = "restart") -> None:
        """Nothing."""
