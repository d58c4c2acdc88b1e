"""One served notebook: its cells run in a session of its own, and again after a change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from itertools import takewhile

from msgspec import Struct

from owt.errors import Busy, OwtError
from owt.frontend.endpoints import Endpoints
from owt.frontend.logs import OutputLog
from owt.frontend.notebooks.documents import Contents, Document
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.events import KernelEvent
from owt.frontend.sessions.session import Session
from owt.frontend.sessions.sessions import Sessions
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


Registration = tuple[str, str, str]
"""A path, a method, and the edition of the endpoint that answers them."""


class _SavedRecord(Struct):
    """The record of the kernel with the id `kernel`, for the next frontend."""

    kernel: str
    ran: list[tuple[str, set[Registration]]]
    served: list[tuple[EndpointCell, set[Registration]]]
    dropped: set[Registration]


class _KernelRecord:
    """Record of one kernel: which parts of the notebook are in effect there. A new kernel gets a new one."""

    def __init__(self, saved: _SavedRecord | None = None) -> None:
        """`saved` is the record that an earlier frontend had, when all cells were in effect."""
        self.complete = self.in_folder = saved is not None
        # The meanings of the cells in effect, in their order, and what each registered.
        self.ran: list[tuple[str, set[Registration]]] = [] if saved is None else saved.ran
        self.served: dict[EndpointCell, set[Registration]] = {} if saved is None else dict(saved.served)
        # Registrations of cells that are no longer in effect.
        self.dropped: set[Registration] = set() if saved is None else saved.dropped

    def saved(self, kernel: str) -> _SavedRecord:
        """Return what the next frontend needs to know of this kernel."""
        return _SavedRecord(kernel, self.ran, list(self.served.items()), self.dropped)

    def first_change(self, contents: Contents) -> int:
        """Return the index of the first cell that has to run for these contents."""
        pairs = zip(self.ran, contents.meanings, strict=False)
        return len(list(takewhile(lambda pair: pair[0][0] == pair[1], pairs)))

    def truncate(self, length: int) -> None:
        """Record that only the first `length` cells are still in effect."""
        for _, registered in self.ran[length:]:
            self.dropped |= registered
        del self.ran[length:]

    def withdraw(self, cell: EndpointCell) -> None:
        """Record that an endpoint cell is no longer in effect."""
        self.dropped |= self.served.pop(cell)


class Notebook:
    """A session that follows a notebook file.

    All cells run at the start, and again in each new kernel of the session; after a change of the file, the
    first changed cell and all cells below it. A failing cell ends the load; it runs again when the file
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
        self._record = _KernelRecord()
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
            self._session.observers.remove(self)

    def update(self, contents: Contents) -> None:
        """Request a load of these contents of the file if its cells have changed, or the last load failed."""
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
        records, session = self._sessions.records, self._session
        if records is not None and session is not None and session.kernel is not None:
            records.write_notebook(self.name, self._record.saved(session.kernel.id))
        self._on_settled()

    def _fail(self, reason: str) -> None:
        self._load_requested.clear()
        self.state, self.reason = NotebookState.FAILED, reason
        self._on_settled()

    def _reset_record(self) -> None:
        self._record = _KernelRecord()

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
            # Jupyter Kernel Gateway's notebooks look for this variable.
            session = session or self._sessions.create(self.name, env={"KERNEL_GATEWAY": "1"})
            session.observers.add(self)
            self._session = session
            self._sessions.kept.add(self.name)
            self._reset_record()
            self._restore_record(session)

    def _restore_record(self, session: Session) -> None:
        """Go on with the kernel in which the notebook ran for an earlier frontend, if the session has it."""
        if self._sessions.records is not None and session.kernel is not None:
            saved = self._sessions.records.read_notebook(self.name, _SavedRecord)
            if saved is not None and saved.kernel == session.kernel.id:
                self._record = _KernelRecord(saved)

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
        first = record.first_change(contents)
        log.info("%s: running %d of %d cells", self.path, len(contents.cells) - first, len(contents.cells))
        if not record.in_folder:
            await self._run("the folder", operation=ChangeDirectory(str(self.path.resolve().parent)))
            record.in_folder = True
        for index in range(first, len(contents.cells)):
            cell = contents.cells[index]
            try:
                registered = await self._run(
                    cell.label, cell.code, cell=NotebookCell(), may_fail=cell.may_fail
                )
            except _CellFailed as error:
                # Code with a syntax error has not run: the earlier version of the cell is still in effect.
                if not error.syntax:
                    record.truncate(index)
                raise
            record.truncate(index)
            record.ran.append((contents.meanings[index], registered))
            if self._load_requested.is_set():
                return
        record.truncate(len(contents.cells))
        for gone in record.served.keys() - set(contents.endpoint_cells):
            record.withdraw(gone)
        for new in contents.endpoint_cells:
            if new not in record.served:
                annotation = NotebookCell(new.method, new.path, new.names, new.raw_path, new.response)
                record.served[new] = await self._run(
                    new.label, new.code, cell=annotation, may_fail=new.may_fail
                )
        await self._remove_orphans(record)
        if not self._load_requested.is_set():
            self._loaded()

    async def _remove_orphans(self, record: _KernelRecord) -> None:
        """Remove the endpoints whose cells no longer exist or register another route. If a remaining cell had
        the route before, request a load that begins with that cell, which then has it again."""
        record.dropped &= self._registered()
        routes = {(path, method) for path, method, _ in record.dropped}

        def is_heir(registered: set[Registration]) -> bool:
            return any((path, method) in routes for path, method, _ in registered)

        heirs = [index for index, (_, registered) in enumerate(record.ran) if is_heir(registered)]
        served = [cell for cell, registered in record.served.items() if is_heir(registered)]
        if heirs or served:
            record.truncate(min(heirs, default=len(record.ran)))
            for cell in served:
                record.withdraw(cell)
            self._load_requested.set()
            return
        for path, method in routes:
            await self._run(path, operation=RemoveEndpoint(path, method))
        record.dropped.clear()

    def _registered(self) -> set[Registration]:
        """Return the registrations of the session's endpoints that answer."""
        return {
            (entry.endpoint.path, method, entry.edition)
            for entry in self._endpoints.all()
            if entry.session == self.name and entry.gone is None
            for method in entry.endpoint.methods
        }

    async def _run(
        self,
        label: str,
        code: str | None = None,
        *,
        operation: ChangeDirectory | RemoveEndpoint | None = None,
        cell: NotebookCell | None = None,
        may_fail: bool = False,
    ) -> set[Registration]:
        """Run code or an operation in the session, and return what it registered.

        Raises `_CellFailed` and `_KernelReplaced`.
        """
        record = self._record
        before = self._registered()
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
        registered = self._registered() - before
        if failure is None or may_fail:
            return registered
        record.dropped |= registered
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
        output_log = OutputLog(run.id)
        try:
            while chunks := await reader.next():
                output_log.write(chunks)
        finally:
            output_log.close()
            reader.close()
        return run.failure

    def _failed(self, label: str, failure: Failed) -> _CellFailed:
        reason = f"{failure.exception or failure.title}: {failure.detail}"
        log.error("%s, %s: %s", self.path, label, failure.traceback or reason)
        return _CellFailed(f"{label}: {reason}", syntax=failure.type == "syntax")


class _KernelReplaced(Exception):
    """The kernel of the load is no longer the session's."""


class _CellFailed(Exception):
    """A cell failed; the message says which one and why. With `syntax`, it has not begun to run."""

    def __init__(self, message: str, *, syntax: bool) -> None:
        super().__init__(message)
        self.syntax = syntax
