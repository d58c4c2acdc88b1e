"""All notebooks that the server runs (--notebook), and the lookup of endpoints that waits for them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from enum import Enum

from owt.errors import Busy, EndpointGone, MethodNotAllowed, NotebookError
from owt.frontend.endpoints import Endpoints, Match
from owt.frontend.kernels.recovery import Recovery
from owt.frontend.notebooks.documents import Contents, Document
from owt.frontend.notebooks.notebook import Notebook, NotebookState
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.sessions import Sessions
from owt.wire.call import Call

log = logging.getLogger("owt.notebooks")

WATCH_INTERVAL = 0.3
"""Seconds between two checks of the files (--watch). Python has no portable notification of file changes."""


class Lookup(Enum):
    """Results of a lookup other than an endpoint."""

    PENDING = "pending"
    """The result depends on a notebook that is still loading, or a kernel of an earlier frontend."""


class Notebooks:
    """All notebooks of a server."""

    def __init__(self, endpoints: Endpoints, recovery: Recovery) -> None:
        self.all: list[Notebook] = []
        self._endpoints = endpoints
        self._recovery = recovery
        self._settled = asyncio.Event()
        self._closed = threading.Event()

    def start(
        self,
        documents: Sequence[Document],
        *,
        sessions: Sessions,
        submit: Callable[[Call], tuple[Run, str | None]],
        watch: bool,
    ) -> None:
        """Begin to run these notebooks; with `watch`, also check their files for changes. `submit` begins a
        call."""
        self.all += [
            Notebook(
                document,
                sessions=sessions,
                endpoints=self._endpoints,
                submit=submit,
                on_settled=self._notify,
            )
            for document in documents
        ]
        for notebook in self.all:
            notebook.start()
            if watch:
                arguments = (notebook, asyncio.get_running_loop())
                threading.Thread(target=self._watch, args=arguments, name="watch", daemon=True).start()

    def close(self) -> None:
        """Run no more cells, and end the lookups that wait."""
        self._closed.set()
        for notebook in self.all:
            notebook.close()
        self._notify()

    def of(self, session: str) -> Notebook | None:
        """Return the notebook that runs in the session of this name."""
        return next((notebook for notebook in self.all if notebook.name == session), None)

    async def match(self, method: str, path: str) -> Match | None:
        """Return the endpoint that answers a request, as `Endpoints.find` does. Waits for notebooks that are
        loading, and for kernels of an earlier frontend, if the result depends on them.

        Raises `MethodNotAllowed`, `EndpointGone`, and `Busy` if a notebook that may define it has failed, or
        the server is shutting down.
        """
        while (match := self.match_now(method, path)) is Lookup.PENDING:
            if self._recovery.is_pending:
                await self._recovery.wait_until(lambda: self.match_now(method, path) is not Lookup.PENDING)
            else:
                await self._settled.wait()
        return match

    def match_now(self, method: str, path: str) -> Match | Lookup | None:
        """Return the result of `match`, or `PENDING` where `match` would wait. Raises as `match` does."""
        recovering = self._recovery.is_pending
        if not (self.all or recovering):
            return self._endpoints.find(method, path)
        try:
            match = self._endpoints.find(method, path)
        except (EndpointGone, MethodNotAllowed):
            if recovering or self._is_loading(self.all):
                return Lookup.PENDING
            raise
        if match is not None:
            # Its own notebook may define in a later cell what it uses.
            own = [notebook for notebook in self.all if notebook.name == match.session]
            return Lookup.PENDING if self._is_loading(own) else match
        if recovering or self._is_loading(self.all):
            return Lookup.PENDING
        for notebook in self.all:
            if not notebook.complete:
                raise Busy(f"the notebook {notebook.path.name} has failed, {notebook.reason}", retry_after=5)
        return None

    def _is_loading(self, notebooks: Sequence[Notebook]) -> bool:
        if not any(item.state is NotebookState.LOADING and not item.complete for item in notebooks):
            return False
        if self._closed.is_set():
            raise Busy("the server is shutting down; it accepts no new calls")
        return True

    def _notify(self) -> None:
        """Wake the lookups that wait; each looks again."""
        self._settled.set()
        self._settled = asyncio.Event()

    def _watch(self, notebook: Notebook, loop: asyncio.AbstractEventLoop) -> None:
        """Read a notebook's file again whenever it changes, until `close`.

        This runs in a thread, for which neither the event loop nor the end of the process waits: a file
        system may not respond.
        """
        while not self._closed.wait(WATCH_INTERVAL):
            try:
                if notebook.file.changed():
                    loop.call_soon_threadsafe(notebook.update, Contents.of(notebook.path))
            except NotebookError as error:
                log.warning("%s; the earlier version stays in effect", error)
            except Exception:
                # The event loop may have ended meanwhile.
                if not self._closed.is_set():
                    log.exception("%s", notebook.path)
