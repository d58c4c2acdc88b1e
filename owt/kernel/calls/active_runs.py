"""Active runs of a kernel: those that have arrived and not ended, and those withdrawn before they arrive."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator

from owt.kernel import context
from owt.kernel.body import Items
from owt.kernel.calls.input import RunInput
from owt.kernel.calls.kept_runs import KeptRun
from owt.wire import messages

MAX_WITHDRAWN = 1000
"""Maximum number of runs that are withdrawn before they arrive; of more, the oldest is forgotten."""


class ActiveRun(context.Run):
    """Run that has arrived and not ended.

    `number` is that of its message; `thread` is the id of its own thread, if it has one; `exit` is the
    SystemExit or KeyboardInterrupt of a task or a callback that it has started; `failing` is set while its
    exception is described; `cancelled` is set once its task has been cancelled;
    `opened_input` is its input, if there is one yet; `kept` is what outlives the frontend, if anything does.
    """

    number = 0
    begun = False
    failing = False
    compiling = False
    cancelled = False
    exit: BaseException | None = None
    task: asyncio.Task[None] | None = None
    thread: int | None = None
    opened_input: RunInput | None = None
    kept: KeptRun | None = None

    @property
    def asks_client(self) -> bool:
        """True if the run's client gets the questions of `input()`."""
        return self.call.sse or self.call.sse_streams or self.call.detach

    @property
    def _has_source(self) -> bool:
        """True if a client can send input before the answer begins: it has the run's id, or the input is what
        its connection brings."""
        facts = self.call.request
        if self.asks_client or facts.scheme in ("ws", "wss"):
            return True
        has_id = any(name.lower() == "owt-run" for name, _ in facts.headers)
        return has_id or (facts.input_size != 0 and not self.call.body_parsed)

    @property
    def input(self) -> RunInput:
        """Input of the run, made at the first look of either side."""
        if self.opened_input is None:
            # Atomic: the control thread and threads of the run may come at once.
            after_body = self.call.body_parsed and self.call.request.input_size > 0
            input = RunInput(self.sender, after_body=after_body, has_source=self._has_source)
            vars(self).setdefault("opened_input", input)
        assert self.opened_input is not None
        return self.opened_input

    @property
    def body(self) -> Items:
        """The request's body, if it is, or begins, the run's input."""
        return self.input.body


class RunTable:
    """Active runs by id. Each begins once or is withdrawn before, whichever thread comes first.

    Runs whose messages have a number below `first_number` are of a frontend that is gone.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.first_number = 0
        self._runs: dict[str, ActiveRun] = {}
        self._begun = 0
        self._withdrawn: dict[str, None] = {}
        self._kept: dict[str, KeptRun] = {}

    def add(self, run: ActiveRun) -> bool:
        """Add a run that has arrived. Returns False if it was withdrawn before, its frontend is gone, or an
        earlier frontend has sent it, too."""
        with self.lock:
            if run.number < self.first_number or run.id in self._kept:
                return False
            if run.id in self._withdrawn:
                del self._withdrawn[run.id]
                return False
            self._runs[run.id] = run
            if run.kept is not None:
                self._kept[run.id] = run.kept
            return True

    def forget_frontend(self) -> list[ActiveRun]:
        """Add no more runs of the frontend, which is gone, and return those that have arrived."""
        with self.lock:
            self.first_number = sys.maxsize
            self._withdrawn.clear()
            return list(self._runs.values())

    def inventory(self) -> tuple[messages.KeptRun, ...]:
        """Return the runs for the next frontend, in order. Call it while nothing can be sent."""
        with self.lock:
            inputs = {run.id: run.opened_input for run in self._runs.values() if run.opened_input is not None}
            kept = [kept.describe(inputs.get(id)) for id, kept in self._kept.items()]
            others = [
                messages.KeptRun(run.id, run.call.outline(), started=time.time())
                for run in self._runs.values()
                if run.kept is None and run.begun and not run.sender.closed
            ]
        return (*kept, *others)

    def outputs(self) -> Iterator[messages.Message]:
        """Yield what is kept of the runs, and the credit of their input, for the next frontend. Call it while
        nothing can be sent."""
        for kept in list(self._kept.values()):
            yield from kept.outputs()
        for run in self.all():
            credit = None if run.opened_input is None else run.opened_input.credit
            if run.kept is not None and credit is not None:
                yield messages.Credit(run.id, max(0, credit))

    def limit(self, id: str, size: int) -> None:
        """Keep at most so many bytes of the output of this run. Call it while nothing can be sent."""
        if (kept := self._kept.get(id)) is not None:
            kept.limit(size)

    def forget(self, id: str) -> None:
        """Keep the output of this run no longer, if it has ended or was withdrawn."""
        with self.lock:
            if id in self._kept and (id not in self._runs or self._kept[id].ended):
                del self._kept[id]

    def get(self, id: str) -> ActiveRun | None:
        """Return the run; None before it arrives and after it has ended."""
        return self._runs.get(id)

    def all(self) -> list[ActiveRun]:
        """Return every active run."""
        return list(self._runs.values())

    def count_begun(self) -> int:
        """Return the number of active runs that have begun."""
        return self._begun

    def __contains__(self, run: ActiveRun) -> bool:
        return self._runs.get(run.id) is run

    def begin(self, run: ActiveRun) -> bool:
        """Mark a run as begun. Returns False if it was withdrawn."""
        with self.lock:
            # A run that was withdrawn may have been sent again, under the same id.
            run.begun = self._runs.get(run.id) is run
            self._begun += run.begun
            return run.begun

    def withdraw(self, id: str) -> tuple[bool, ActiveRun | None]:
        """Keep a run from beginning. Returns False if it has begun; and the run, if it has arrived."""
        with self.lock:
            run = self._runs.get(id)
            if run is not None and run.begun:
                return False, run
            if run is None:
                self._withdrawn[id] = None
                if len(self._withdrawn) > MAX_WITHDRAWN:
                    self._withdrawn.pop(next(iter(self._withdrawn)))
            else:
                del self._runs[id]
            return True, run

    def remove(self, run: ActiveRun) -> None:
        """Remove a run that has begun and whose end has been sent."""
        # The task's context refers to the run: such a cycle keeps the request's body until it is collected.
        run.task = None
        if run.kept is not None and run.opened_input is not None:
            run.kept.input_at_end = run.opened_input.received, run.opened_input.ended
        with self.lock:
            self._begun -= 1
            del self._runs[run.id]
