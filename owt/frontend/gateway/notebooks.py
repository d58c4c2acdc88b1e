"""What Jupyter calls sessions: which notebook, or console, has which kernel.

Not to be confused with owt's sessions, which are the kernels here.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from tornado.web import HTTPError

from owt.errors import BadRequest, Busy
from owt.frontend.gateway.kernels import SessionKernels

MOST = 1000
"""Notebooks that are remembered."""
LONGEST = 4096
"""Characters of a notebook's path, name or type."""


@dataclass
class Notebook:
    """One notebook, by its path."""

    id: str
    kernel_id: str
    path: str
    name: str
    type: str


class Notebooks:
    """What jupyter_server's handlers ask of a `SessionManager`.

    An owt session that no notebook has is listed as well, as a console of the session's name, so that it can
    be found.
    """

    def __init__(self, kernels: SessionKernels) -> None:
        self._kernels = kernels
        self._known: dict[str, Notebook] = {}

    def list_sessions(self) -> list[dict[str, Any]]:
        """All of them."""
        return [self._model(each) for each in self._all()]

    def session_exists(self, path: str) -> bool:
        """Whether there is one with this path."""
        return any(each.path == path for each in self._all())

    async def get_session(self, session_id: str | None = None, path: str | None = None) -> dict[str, Any]:
        """The one with this id or path. Raises a 404."""
        return self._model(self._find(session_id, path))

    async def create_session(
        self,
        path: str | None = None,
        name: str | None = None,
        type: str | None = None,
        kernel_name: str | None = None,
        kernel_id: str | None = None,
    ) -> dict[str, Any]:
        """A notebook on the kernel of this id, or on a new one. Raises as `start_kernel` does."""
        self._check(path=path, name=name, type=type)
        if len(self._known) >= MOST:
            raise Busy(f"there are {MOST} notebooks already; close one first")
        if kernel_id is None or kernel_id not in self._kernels:
            kernel_id = await self._kernels.start_kernel(kernel_name, name or path, kernel_id)
        new = Notebook(str(uuid.uuid4()), kernel_id, path or "", name or "", type or "")
        self._known[new.id] = new
        return self._model(new)

    async def start_kernel_for_session(self, session_id: str, **wanted: Any) -> str:
        """Another kernel for a notebook that there is."""
        name = wanted.get("name") or wanted.get("path")
        return await self._kernels.start_kernel(wanted.get("kernel_name"), name)

    async def update_session(self, session_id: str, **changes: Any) -> None:
        """Give it another path, name, type or kernel id. What is None stays."""
        changes = {field: value for field, value in changes.items() if value is not None}
        self._check(**changes)
        notebook = self._find(session_id)
        self._known[notebook.id] = notebook
        for field, value in changes.items():
            setattr(notebook, field, value)

    async def delete_session(self, session_id: str) -> None:
        """End it, and its kernel."""
        notebook = self._find(session_id)
        self._known.pop(notebook.id, None)
        await self._kernels.shutdown_kernel(notebook.kernel_id)

    def _all(self) -> list[Notebook]:
        known = [each for each in self._known.values() if each.kernel_id in self._kernels]
        self._known = {each.id: each for each in known}
        taken = {each.kernel_id for each in known}
        return known + [
            Notebook(_derived(each.kernel_id), each.kernel_id, name, name, "console")
            for each in self._kernels.own()
            if each.kernel_id not in taken and (name := str(each.live.name))
        ]

    def _find(self, session_id: str | None = None, path: str | None = None) -> Notebook:
        for each in self._all():
            if each.id == session_id or (session_id is None and each.path == path):
                return each
        raise HTTPError(404, "Session not found: %s", (session_id or path or "")[:80])

    def _model(self, notebook: Notebook) -> dict[str, Any]:
        model: dict[str, Any] = {
            "id": notebook.id,
            "path": notebook.path,
            "name": notebook.name,
            "type": notebook.type,
            "kernel": self._kernels.kernel_model(notebook.kernel_id),
        }
        if notebook.type == "notebook":
            # The older form, which some clients read.
            model["notebook"] = {"path": notebook.path, "name": notebook.name}
        return model

    @staticmethod
    def _check(**fields: Any) -> None:
        for field, value in fields.items():
            if not isinstance(value, str | None):
                raise BadRequest(field, "must be text", value)
            if len(value or "") > LONGEST:
                raise BadRequest(field, f"must not be longer than {LONGEST} characters", value)


def _derived(kernel_id: str) -> str:
    """An id that stays, for what is not remembered."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, kernel_id))
