"""Jupyter's sessions: the notebooks and consoles of clients, each with its kernel.

Not to be confused with owt's sessions, which are the kernels here.
"""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import Struct
from tornado.web import HTTPError

from owt.errors import BadRequest, Busy
from owt.frontend.gateway.kernels import SessionKernels

MAX_SESSIONS = 1000
"""Jupyter sessions that are remembered."""
MAX_FIELD = 4096
"""Characters of a session's path, name or type."""


class JupyterSession(Struct):
    """A notebook or console."""

    id: str
    kernel_id: str
    path: str
    name: str
    type: str


class JupyterSessionRecords(Struct):
    """Records of all sessions for the next frontend."""

    sessions: list[JupyterSession]


class JupyterSessions:
    """Session manager for jupyter_server's handlers.

    An owt session without any Jupyter session is listed as well, as a console of the owt session's name, so
    that clients find it.
    """

    def __init__(self, kernels: SessionKernels) -> None:
        self._kernels = kernels
        records = kernels.records
        recorded = None if records is None else records.read_gateway("notebooks", JupyterSessionRecords)
        self._known = {} if recorded is None else {session.id: session for session in recorded.sessions}

    def list_sessions(self) -> list[dict[str, Any]]:
        """Return the models of all sessions."""
        return [self._model(session) for session in self._all()]

    def session_exists(self, path: str) -> bool:
        """Return True if there is a session with this path."""
        return any(session.path == path for session in self._all())

    async def get_session(self, session_id: str | None = None, path: str | None = None) -> dict[str, Any]:
        """Return the model of the session with this id or path. Raises a 404."""
        return self._model(self._find(session_id, path))

    async def create_session(
        self,
        path: str | None = None,
        name: str | None = None,
        type: str | None = None,
        kernel_name: str | None = None,
        kernel_id: str | None = None,
    ) -> dict[str, Any]:
        """Create a session on the kernel of this id, or on a new one; return its model. Raises the errors of
        `start_kernel`."""
        self._check(path=path, name=name, type=type)
        if len(self._known) >= MAX_SESSIONS:
            raise Busy(f"there are {MAX_SESSIONS} notebooks already; close one first")
        if kernel_id is None or kernel_id not in self._kernels:
            kernel_id = await self._kernels.start_kernel(kernel_name, name or path, kernel_id)
        session = JupyterSession(str(uuid.uuid4()), kernel_id, path or "", name or "", type or "")
        self._known[session.id] = session
        self._record()
        return self._model(session)

    async def start_kernel_for_session(self, session_id: str, **options: Any) -> str:
        """Start another kernel for an existing session; return the kernel's id."""
        name = options.get("name") or options.get("path")
        return await self._kernels.start_kernel(options.get("kernel_name"), name)

    async def update_session(self, session_id: str, **changes: Any) -> None:
        """Change a session's path, name, type or kernel id; None leaves a field unchanged."""
        changes = {field: value for field, value in changes.items() if value is not None}
        self._check(**changes)
        session = self._find(session_id)
        self._known[session.id] = session
        for field, value in changes.items():
            setattr(session, field, value)
        self._record()

    async def delete_session(self, session_id: str) -> None:
        """End a session and shut down its kernel."""
        session = self._find(session_id)
        self._known.pop(session.id, None)
        self._record()
        await self._kernels.shutdown_kernel(session.kernel_id)

    def _record(self) -> None:
        """Record all sessions for the next frontend."""
        if (records := self._kernels.records) is not None:
            records.write_gateway("notebooks", JupyterSessionRecords(list(self._known.values())))

    def _all(self) -> list[JupyterSession]:
        known = [session for session in self._known.values() if session.kernel_id in self._kernels]
        self._known = {session.id: session for session in known}
        used = {session.kernel_id for session in known}
        return known + [
            # The id stays the same, though the session is not remembered.
            JupyterSession(
                str(uuid.uuid5(uuid.NAMESPACE_OID, kernel.kernel_id)), kernel.kernel_id, name, name, "console"
            )
            for kernel in self._kernels.listed()
            if kernel.kernel_id not in used and (name := str(kernel.owt_session.name))
        ]

    def _find(self, session_id: str | None = None, path: str | None = None) -> JupyterSession:
        for session in self._all():
            if session.id == session_id or (session_id is None and session.path == path):
                return session
        raise HTTPError(404, "Session not found: %s", (session_id or path or "")[:80])

    def _model(self, session: JupyterSession) -> dict[str, Any]:
        model: dict[str, Any] = {
            "id": session.id,
            "path": session.path,
            "name": session.name,
            "type": session.type,
            "kernel": self._kernels.kernel_model(session.kernel_id),
        }
        if session.type == "notebook":
            # The older form, which some clients read.
            model["notebook"] = {"path": session.path, "name": session.name}
        return model

    @staticmethod
    def _check(**fields: Any) -> None:
        for field, value in fields.items():
            if not isinstance(value, str | None):
                raise BadRequest(field, "must be text", value)
            if len(value or "") > MAX_FIELD:
                raise BadRequest(field, f"must not be longer than {MAX_FIELD} characters", value)
