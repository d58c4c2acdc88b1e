"""One notebook that the server serves: its cells run in a session of its own, also after a change."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Hashable
from typing import Literal

from owt.errors import Busy, NotebookError, OwtError
from owt.frontend.endpoints import Endpoints
from owt.frontend.logs import tell
from owt.frontend.notebooks.documents import Document
from owt.frontend.notebooks.owners import Owners
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.observers import KernelEvent
from owt.frontend.sessions.session import Session
from owt.frontend.sessions.sessions import Sessions
from owt.notebook.annotations import Annotated
from owt.notebook.contents import Contents
from owt.notebook.progress import Progress
from owt.wire.call import Call, NotebookCell, RequestFacts
from owt.wire.chunk import Failed

log = logging.getLogger("owt.notebooks")

State = Literal["loading", "ready", "failed"]

MOST_LOST = 3
"""Kernels in a row that may die of the notebook before it counts as failed."""
BUSY = 1.0
"""Seconds until a cell is tried again that could not be taken because the server had too much to do."""

LOST = Failed(502, "kernel-died", "the kernel died", "its kernel died while it ran")

REMOVE = "__import__('owt').endpoint.remove"
ENTER = "__import__('os').chdir"


class Notebook:
    """Keeps a session as the notebook in a file says.

    All cells run when it starts, and again in each fresh kernel of the session; when the file has changed,
    those that `owt.notebook.changes` names. They stop at one that fails, which is tried again when the file
    changes. `complete` is True while all of it, or of an earlier version, is in effect.
    """

    def __init__(
        self,
        document: Document,
        *,
        sessions: Sessions,
        endpoints: Endpoints,
        submit: Callable[[Call], tuple[Run, str | None]],
        on_news: Callable[[], None],
    ) -> None:
        """`submit` begins a call, and `on_news` is called when the notebook is there, or has failed."""
        self.path = document.file.path
        self.name = document.name
        self.state: State = "loading"
        self.reason: str | None = None
        self.complete = False
        self._file = document.file
        self._contents = document.contents
        self._sessions = sessions
        self._endpoints = endpoints
        self._submit = submit
        self._on_news = on_news
        self._wanted = asyncio.Event()
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._loading = False
        self._lost = 0
        self._given_up = False
        self._forget()

    def start(self) -> None:
        """Begin to run the cells."""
        self._load_soon()
        self._task = asyncio.get_running_loop().create_task(self._keep_loading())

    def close(self) -> None:
        """Run nothing more, and cancel what runs."""
        if self._task is not None:
            self._task.cancel()
        if self._session is not None:
            self._session.observers.remove(self._hear)

    async def look(self) -> None:
        """See whether the file has been saved, and have what changed run if it was."""
        if not self._file.changed():
            return
        try:
            contents = await asyncio.to_thread(Contents.of, self.path)
        except NotebookError as error:
            log.warning("%s; what it was before stays", error)
            return
        same = contents.same(self._contents)
        # Also where nothing has to run: the next kernel's tracebacks are to fit the file.
        self._contents = contents
        if self.state == "failed" or not same:
            log.info("%s has been saved%s", self.path, " again" if self._loading else "")
            self._lost = 0
            self._load_soon()

    def show(self) -> dict[str, object]:
        """Its state as JSON."""
        return {"path": str(self.path), "session": self.name, "state": self.state, "reason": self.reason}

    # What its session says -------------------------------------------------------------------------

    def _attach(self) -> None:
        session = self._sessions.named.get(self.name)
        if session is None or session is not self._session:
            session = session or self._sessions.create(self.name)
            session.observers.add(self._hear)
            self._session = session
            self._sessions.kept.add(self.name)
            self._forget()

    def _hear(self, news: KernelEvent) -> None:
        match news:
            case "restarting":
                # The next death is not the notebook's fault.
                self._lost = -1
            case "died":
                if not self._loading:
                    self._lost = 0
                self._forget()
                self._load_soon()
            case "given-up":
                self._given_up = True
            case "started" if self._given_up:
                self._given_up = False
                self._load_soon()
            case "closed":
                self._session = None
                self._forget()
                self._fail("its session was deleted; it runs again when the server starts, or sees it saved")

    def _forget(self) -> None:
        """The kernel is another one, which has nothing of the notebook."""
        self.complete = False
        # Another object for each kernel.
        self._era = object()
        self._entered = False
        self._progress = Progress()
        self._owners = Owners(self._endpoints, self.name)
        self._served: set[Hashable] = set()

    def _fail(self, reason: str) -> None:
        self._wanted.clear()
        self.state, self.reason = "failed", reason
        self._on_news()

    # Running it ------------------------------------------------------------------------------------

    def _load_soon(self) -> None:
        self.state, self.reason = "loading", None
        self._wanted.set()

    async def _keep_loading(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._loading = True
            try:
                self._attach()
                await self._load(self._contents)
            except _Overtaken:
                pass
            except _Failed as error:
                # Unless it has been saved meanwhile.
                if not self._wanted.is_set():
                    self._fail(str(error))
            except OwtError as error:
                log.error("%s: %s", self.path, error)
                self._fail(str(error))
            except Exception as error:
                log.exception("%s", self.path)
                self._fail(repr(error))
            finally:
                self._loading = False

    async def _load(self, contents: Contents) -> None:
        """Bring what is there up to date, or as far as it goes before there is something newer to do.

        Raises `_Failed`."""
        due = self._progress.begin(contents)
        log.info("%s: %d of %d cells are to run", self.path, len(due), len(contents.cells))
        if not self._entered:
            await self._run("the folder", ENTER, {"path": str(self.path.resolve().parent)})
            self._entered = True
        for at in due:
            await self._run_cell(contents, at)
            self._progress.ran(contents.meanings[at])
            if self._wanted.is_set():
                return
        for each in contents.marked:
            if each not in self._served:
                await self._run_marked(each)
                self._served.add(each)
        self._served &= set(contents.marked)
        self._progress.end(contents)
        await self._remove_orphans(contents)
        if not self._wanted.is_set():
            self.complete, self._lost = True, 0
            self.state = "ready"
            self._on_news()

    async def _remove_orphans(self, contents: Contents) -> None:
        """What only cells have registered that have gone, or now register something else, goes too. A cell
        that had its place before has it again."""
        cells = {*contents.meanings, *contents.marked}
        for place, edition, heir in self._owners.orphans(cells):
            if isinstance(heir, Annotated):
                await self._run_marked(heir)
            elif heir is not None:
                await self._run_cell(contents, contents.meanings.index(heir))
            if self._owners.places().get(place) == edition:
                await self._run(place[0], REMOVE, {"path": place[0], "methods": [place[1]]})
        self._owners.keep(cells)

    async def _run_cell(self, contents: Contents, at: int) -> None:
        cell, key = contents.cells[at], contents.meanings[at]
        await self._run(cell.label, cell.code, cell=NotebookCell(), key=key, may_fail=cell.may_fail)

    async def _run_marked(self, each: Annotated) -> None:
        told = NotebookCell(each.method, each.path, each.names, each.shown, each.response)
        await self._run(each.label, each.code, cell=told, key=each)

    async def _run(
        self,
        label: str,
        code: str,
        kwargs: object = None,
        *,
        cell: NotebookCell | None = None,
        key: Hashable = None,
        may_fail: bool = False,
    ) -> None:
        """Run code in the session, and note the endpoints that it registers as the cell's, `key`. Raises
        `_Failed`."""
        before, era = self._owners.places(), self._era
        call = Call(
            RequestFacts("GET", "/", "", (), b"", "localhost"),
            code=code,
            kwargs=None if kwargs is None else json.dumps(kwargs),
            session=self.name,
            cell=cell,
        )
        failure = await self._outcome(call, era)
        if era is not self._era:
            # The kernel has died, and its successor is to have all of it.
            self._lost += 1
            if self._lost < MOST_LOST or self._session is None:
                raise _Overtaken
            self._wanted.clear()
            raise self._failed(label, failure or LOST)
        if key is not None:
            self._owners.note(key, before)
        if failure is None or may_fail:
            return
        if failure.type != "syntax":
            self._progress.spoilt(self._contents)
        raise self._failed(label, failure)

    async def _outcome(self, call: Call, era: object) -> Failed | None:
        """Why the call failed, if it did; in another era it is not even tried."""
        while True:
            if era is not self._era:
                return None
            try:
                run, _ = self._submit(call)
                break
            except Busy as error:
                log.warning("%s: %s", self.path, error)
                await asyncio.sleep(BUSY)
        reader = run.follow()
        try:
            while chunks := await reader.next():
                if log.isEnabledFor(logging.INFO):
                    tell(run.id, chunks)
        finally:
            reader.close()
        return run.failure

    def _failed(self, label: str, failure: Failed) -> _Failed:
        why = f"{failure.exception or failure.title}: {failure.detail}"
        log.error("%s, %s: %s", self.path, label, failure.traceback or why)
        return _Failed(f"{label}: {why}")


class _Overtaken(Exception):
    """The kernel is another one."""


class _Failed(Exception):
    """A cell has failed: says which, and why."""
