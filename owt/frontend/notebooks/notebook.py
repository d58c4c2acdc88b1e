"""One served notebook: its cells run in a session of its own, and again after a change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Mapping
from enum import StrEnum
from typing import NamedTuple

from owt.errors import Busy, NotebookError, OwtError
from owt.frontend.endpoints import Endpoints
from owt.frontend.logs import log_output
from owt.frontend.notebooks.documents import Document
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.session import KernelEvent, Session
from owt.frontend.sessions.sessions import Sessions
from owt.notebook.changes import Contents, Progress
from owt.notebook.endpoint_cells import EndpointCell
from owt.wire.call import Call, ChangeDirectory, NotebookCell, RemoveEndpoint, RequestFacts
from owt.wire.chunk import Failed

log = logging.getLogger("owt.notebooks")

MAX_DEATHS = 3
"""Kernels in a row that may die while they run the notebook before it counts as failed."""
BUSY_DELAY = 1.0
"""Seconds until a cell is submitted again that the server refused at one of its limits."""

LOST = Failed(502, "kernel-died", "the kernel died", "its kernel died while it ran")


class NotebookState(StrEnum):
    """States of a notebook."""

    LOADING = "loading"
    """Cells run, or are about to."""
    READY = "ready"
    """All cells are in effect."""
    FAILED = "failed"
    """A cell failed, or there is no kernel. A change of the file or another kernel leads to LOADING."""


Route = tuple[str, str]
"""A path and a method."""


class Orphan(NamedTuple):
    """An endpoint whose cell no longer exists, with the cell that had registered its route before."""

    route: Route
    edition: str
    heir: Hashable | None


class EndpointOwners:
    """The endpoints that one session's kernel has, and the cells that registered them."""

    def __init__(self, endpoints: Endpoints, session: str) -> None:
        self._endpoints = endpoints
        self._session = session
        # The editions that cells registered, the one in effect last.
        self._owners: dict[Route, dict[Hashable, str]] = {}

    def editions(self) -> dict[Route, str]:
        """Return the edition of each of the session's endpoints that answers."""
        return {
            (entry.endpoint.path, method): entry.edition
            for entry in self._endpoints.all()
            if entry.session == self._session and entry.gone is None
            for method in entry.endpoint.methods
        }

    def add(self, cell: Hashable, before: Mapping[Route, str]) -> None:
        """Record this cell as owner of the editions that differ from those `before` it ran."""
        for route, edition in self.editions().items():
            if before.get(route) != edition:
                owners = self._owners.setdefault(route, {})
                owners.pop(cell, None)
                owners[cell] = edition

    def orphans(self, cells: Collection[Hashable]) -> list[Orphan]:
        """Return the endpoints in effect whose owner is a cell other than these."""
        editions = self.editions()
        orphans = []
        for route, owners in self._owners.items():
            last, edition = next(reversed(owners.items()))
            if last not in cells and editions.get(route) == edition:
                heir = next((cell for cell in reversed(owners) if cell in cells), None)
                orphans.append(Orphan(route, edition, heir))
        return orphans

    def keep(self, cells: Collection[Hashable]) -> None:
        """Forget all cells but these."""
        kept = {
            route: {cell: edition for cell, edition in owners.items() if cell in cells}
            for route, owners in self._owners.items()
        }
        self._owners = {route: owners for route, owners in kept.items() if owners}


class _KernelRecord:
    """Record of one kernel: which parts of the notebook are in effect there. A new kernel gets a new one."""

    def __init__(self, endpoints: Endpoints, session: str) -> None:
        self.complete = False
        self.in_folder = False
        self.progress = Progress()
        self.owners = EndpointOwners(endpoints, session)
        self.served: set[EndpointCell] = set()


class Notebook:
    """A session that follows a notebook file.

    All cells run at the start, and again in each new kernel of the session; after a change of the file, the
    cells that `owt.notebook.changes` selects. A failing cell ends the load; it runs again when the file
    changes. One task runs the cells, one load after another; events of the session and changes of the file
    only request a load.
    """

    def __init__(
        self,
        document: Document,
        *,
        sessions: Sessions,
        endpoints: Endpoints,
        submit: Callable[[Call], tuple[Run, str | None]],
        on_settled: Callable[[], None],
    ) -> None:
        """`submit` begins a call; `on_settled` is called when the state becomes READY or FAILED."""
        self.file = document.file
        self.path = document.file.path
        self.name = document.name
        self.state = NotebookState.LOADING
        self.reason: str | None = None
        self._contents = document.contents
        self._sessions = sessions
        self._endpoints = endpoints
        self._submit = submit
        self._on_settled = on_settled
        self._load_requested = asyncio.Event()
        self._loader: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._record = _KernelRecord(endpoints, self.name)
        self._deaths = 0
        self._without_kernel = False

    @property
    def complete(self) -> bool:
        """True while all of the notebook, or of an earlier version of it, is in effect."""
        return self._record.complete

    def start(self) -> None:
        """Begin to run the cells."""
        self._request_load()
        self._loader = asyncio.get_running_loop().create_task(self._load_on_request())

    def close(self) -> None:
        """Cancel the running load and start no more."""
        if self._loader is not None:
            self._loader.cancel()
        if self._session is not None:
            self._session.remove_observer(self)

    async def reload(self) -> None:
        """Read the file again and request a load if its cells have changed, or the last load failed."""
        try:
            contents = await asyncio.to_thread(Contents.of, self.path)
        except NotebookError as error:
            log.warning("%s; the earlier version stays in effect", error)
            return
        same = contents.same(self._contents)
        # Even if nothing has to run: the next kernel's tracebacks shall fit the file.
        self._contents = contents
        if self.state is NotebookState.FAILED or not same:
            again = " again" if self.state is NotebookState.LOADING else ""
            log.info("%s has been saved%s", self.path, again)
            self._deaths = 0
            self._request_load()

    def show(self) -> dict[str, object]:
        """Return the state as JSON."""
        return {"path": str(self.path), "session": self.name, "state": self.state, "reason": self.reason}

    # Transitions -------------------------------------------------------------------------------------

    def _request_load(self) -> None:
        self.state, self.reason = NotebookState.LOADING, None
        self._load_requested.set()

    def _loaded(self) -> None:
        self._record.complete, self._deaths = True, 0
        self.state = NotebookState.READY
        self._on_settled()

    def _fail(self, reason: str) -> None:
        self._load_requested.clear()
        self.state, self.reason = NotebookState.FAILED, reason
        self._on_settled()

    def _reset_record(self) -> None:
        self._record = _KernelRecord(self._endpoints, self.name)

    def kernel_changed(self, event: KernelEvent) -> None:
        """Run the cells again in a new kernel."""
        match event:
            case KernelEvent.RESTARTING:
                # The death that follows was requested, and is not counted.
                self._deaths = -1
            case KernelEvent.DIED:
                if self.state is not NotebookState.LOADING:
                    self._deaths = 0
                self._reset_record()
                self._request_load()
            case KernelEvent.FAILED:
                self._without_kernel = True
            case KernelEvent.STARTED if self._without_kernel:
                # A call has started another kernel.
                self._without_kernel = False
                self._reset_record()
                self._request_load()
            case KernelEvent.CLOSED:
                self._session = None
                self._reset_record()
                self._fail(
                    "its session was deleted; it runs again after a change of its file, or a new start of "
                    "the server"
                )

    def _attach(self) -> None:
        """Observe the session of this name, which is created if there is none."""
        session = self._sessions.named.get(self.name)
        if session is None or session is not self._session:
            session = session or self._sessions.create(self.name)
            session.add_observer(self)
            self._session = session
            self._sessions.kept.add(self.name)
            self._reset_record()

    # Loading -----------------------------------------------------------------------------------------

    async def _load_on_request(self) -> None:
        while True:
            await self._load_requested.wait()
            self._load_requested.clear()
            try:
                self._attach()
                await self._load(self._contents)
            except _KernelReplaced:
                # Its death has requested the next load.
                pass
            except _CellFailed as error:
                # A change during the load has requested the next one.
                if not self._load_requested.is_set():
                    self._fail(str(error))
            except OwtError as error:
                log.error("%s: %s", self.path, error)
                self._fail(str(error))
            except Exception as error:
                log.exception("%s", self.path)
                self._fail(repr(error))

    async def _load(self, contents: Contents) -> None:
        """Bring the kernel up to date, unless another load is requested meanwhile.

        Raises `_CellFailed` and `_KernelReplaced`.
        """
        record = self._record
        due = record.progress.begin(contents)
        log.info("%s: running %d of %d cells", self.path, len(due), len(contents.cells))
        if not record.in_folder:
            await self._run("the folder", operation=ChangeDirectory(str(self.path.resolve().parent)))
            record.in_folder = True
        for index in due:
            await self._run_cell(contents, index)
            record.progress.ran(contents.meanings[index])
            if self._load_requested.is_set():
                return
        for cell in contents.endpoint_cells:
            if cell not in record.served:
                await self._run_endpoint_cell(cell)
                record.served.add(cell)
        record.served &= set(contents.endpoint_cells)
        record.progress.end(contents)
        await self._remove_orphans(contents)
        if not self._load_requested.is_set():
            self._loaded()

    async def _remove_orphans(self, contents: Contents) -> None:
        """Remove the endpoints whose cells no longer exist or register another route. A remaining cell that
        had the route before runs again, and has it again."""
        owners = self._record.owners
        cells = {*contents.meanings, *contents.endpoint_cells}
        for route, edition, heir in owners.orphans(cells):
            if isinstance(heir, EndpointCell):
                await self._run_endpoint_cell(heir)
            elif heir is not None:
                await self._run_cell(contents, contents.meanings.index(heir))
            if owners.editions().get(route) == edition:
                path, method = route
                await self._run(path, operation=RemoveEndpoint(path, method))
        owners.keep(cells)

    async def _run_cell(self, contents: Contents, index: int) -> None:
        cell, key = contents.cells[index], contents.meanings[index]
        await self._run(cell.label, cell.code, cell=NotebookCell(), key=key, may_fail=cell.may_fail)

    async def _run_endpoint_cell(self, cell: EndpointCell) -> None:
        annotation = NotebookCell(cell.method, cell.path, cell.names, cell.raw_path, cell.response)
        await self._run(cell.label, cell.code, cell=annotation, key=cell)

    async def _run(
        self,
        label: str,
        code: str | None = None,
        *,
        operation: ChangeDirectory | RemoveEndpoint | None = None,
        cell: NotebookCell | None = None,
        key: Hashable = None,
        may_fail: bool = False,
    ) -> None:
        """Run code or an operation in the session; record the endpoints that it registers for the cell `key`.

        Raises `_CellFailed` and `_KernelReplaced`.
        """
        record = self._record
        before = record.owners.editions()
        call = Call(
            RequestFacts("GET", "/", "", (), b"", "localhost"),
            code=code,
            session=self.name,
            operation=operation,
            cell=cell,
        )
        failure = await self._submit_and_wait(call, record)
        if record is not self._record:
            self._deaths += 1
            if self._deaths < MAX_DEATHS or self._session is None:
                raise _KernelReplaced
            self._load_requested.clear()
            raise self._failed(label, failure or LOST)
        if key is not None:
            record.owners.add(key, before)
        if failure is None or may_fail:
            return
        if failure.type != "syntax":
            record.progress.spoil(self._contents)
        raise self._failed(label, failure)

    async def _submit_and_wait(self, call: Call, record: _KernelRecord) -> Failed | None:
        """Return the failure of the call, if it fails; it is not submitted once the kernel is another one."""
        while True:
            if record is not self._record:
                return None
            try:
                run, _ = self._submit(call)
                break
            except Busy as error:
                log.warning("%s: %s", self.path, error)
                await asyncio.sleep(BUSY_DELAY)
        reader = run.follow()
        try:
            while chunks := await reader.next():
                if log.isEnabledFor(logging.INFO):
                    log_output(run.id, chunks)
        finally:
            reader.close()
        return run.failure

    def _failed(self, label: str, failure: Failed) -> _CellFailed:
        reason = f"{failure.exception or failure.title}: {failure.detail}"
        log.error("%s, %s: %s", self.path, label, failure.traceback or reason)
        return _CellFailed(f"{label}: {reason}")


class _KernelReplaced(Exception):
    """The kernel of the load is no longer the session's."""


class _CellFailed(Exception):
    """A cell failed; the message says which one and why."""
