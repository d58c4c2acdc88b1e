"""The notebooks that the server serves (--notebook), and what waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from owt.errors import Busy, EndpointGone, MethodNotAllowed
from owt.frontend.endpoints import Endpoints, Match
from owt.frontend.notebooks.documents import Document
from owt.frontend.notebooks.notebook import Notebook
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.sessions import Sessions
from owt.wire.call import Call

log = logging.getLogger("owt.notebooks")

LOOK = 0.3
"""Seconds between two looks at the files (--watch)."""


class StillLoading(Exception):
    """What is at a path cannot be told before the notebooks are there: see `Notebooks.settled`."""


class Notebooks:
    """All notebooks of a server."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.all: list[Notebook] = []
        self._endpoints = endpoints
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._closed = False

    def open(
        self,
        documents: Sequence[Document],
        *,
        sessions: Sessions,
        submit: Callable[[Call], tuple[Run, str | None]],
    ) -> None:
        """Serve these. `submit` begins a call."""
        self.all += [
            Notebook(each, sessions=sessions, endpoints=self._endpoints, submit=submit, on_news=self._tell)
            for each in documents
        ]

    def start(self, *, watch: bool) -> None:
        """Begin to run all of them; with `watch`, also what changes in their files."""
        for notebook in self.all:
            notebook.start()
        if watch:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> None:
        """Run nothing more."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
        for notebook in self.all:
            notebook.close()
        self._tell()

    def of(self, session: str) -> Notebook | None:
        """The notebook that runs in the session of this name."""
        return next((each for each in self.all if each.name == session), None)

    def find(self, method: str, path: str) -> Match | None:
        """As `Endpoints.find`. Raises `StillLoading` where a notebook has yet to say what is there, and
        `Busy` where one cannot, because it failed."""
        try:
            found = self._endpoints.find(method, path)
        except (EndpointGone, MethodNotAllowed):
            self._check(self.all)
            raise
        if found is None:
            self._check(self.all)
            for notebook in self._incomplete(self.all):
                raise Busy(f"the notebook {notebook.path.name} has failed, {notebook.reason}", retry_after=5)
        elif (own := self.of(found.session)) is not None:
            # It may use what a later cell defines.
            self._check([own])
        return found

    async def settled(self) -> None:
        """Wait until a notebook is there, or has failed."""
        changed = self._changed
        if not self._closed:
            await changed.wait()

    def _check(self, notebooks: Sequence[Notebook]) -> None:
        if any(each.state == "loading" for each in self._incomplete(notebooks)):
            if self._closed:
                raise Busy("the server is ending; it takes no new calls")
            raise StillLoading

    def _incomplete(self, notebooks: Sequence[Notebook]) -> list[Notebook]:
        return [each for each in notebooks if not each.complete]

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            for notebook in self.all:
                try:
                    await notebook.look()
                except Exception:
                    log.exception("%s", notebook.path)
