"""--journal-total limits what the kernels keep of all runs together."""

from __future__ import annotations

import random
from typing import cast

import pytest

from owt.frontend.runs.runs import Run, RunKernel
from owt.frontend.runs.table import Runs
from owt.kernel.calls.kept_runs import KeptRun
from owt.kernel.calls.output_sender import OutputSender
from owt.testing.kernel import new_call
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Done, Head, size
from owt.wire.messages import ControlMessage, Forget, JournalLimit, Output

RUN_JOURNAL = 100_000
TOTAL = 1_000_000
DETACHED = new_call(detach=True)
PLAIN = new_call()


class Sender:
    """Credit without end."""

    granted = 1 << 60


class Kernel:
    """Kernel that keeps runs as a real one does."""

    id = "k1"

    def __init__(self) -> None:
        self.runs: dict[str, KeptRun] = {}

    def credit(self, run: str, size: int) -> None:
        pass

    def ask(self, message: ControlMessage) -> None:
        if isinstance(message, Forget):
            del self.runs[message.run]
        elif isinstance(message, JournalLimit):
            self.runs[message.run].limit(message.size)

    def invoke(self, run: Run) -> None:
        assert run.keep is not None
        self.runs[run.id] = KeptRun(run.id, run.call, run.keep, cast("OutputSender", Sender()))
        run.start(cast(RunKernel, self))

    def send(self, run: Run, *chunks: Chunk, to_frontend: bool = True) -> None:
        output = self.runs[run.id].add(Output(run.id, chunks)) if run.id in self.runs else Output("", chunks)
        if to_frontend:
            run.feed(output.chunks)

    @property
    def size(self) -> int:
        """Size of all that is kept."""
        outputs = (output for run in self.runs.values() for output in run.outputs())
        return sum(size(chunk) for output in outputs for chunk in output.chunks)

    @property
    def limits(self) -> int:
        """Size of all that could be kept."""
        return sum(run.keep.journal for run in self.runs.values())


def new_runs() -> Runs:
    return Runs(retention=60, journal=RUN_JOURNAL, journal_total=TOTAL, window=1000, outlive=True)


def begin(runs: Runs, kernel: Kernel, call: Call = DETACHED) -> Run:
    run = runs.create(call)
    if call.detach:
        kernel.invoke(run)
    return run


@pytest.mark.parametrize("plain", [0, 50])
def test_journals_of_many_live_and_ended_runs_stay_within_the_total(plain: int) -> None:
    runs, kernel, random_ = new_runs(), Kernel(), random.Random(7)
    for _ in range(plain):
        begin(runs, kernel, PLAIN)
    live: list[Run] = []
    for _ in range(600):
        live.append(begin(runs, kernel))
        for _ in range(5):
            run = random_.choice(live)
            kernel.send(run, Data(b"x" * random_.choice((10, 1000, 20_000)), "text"))
        if random_.random() < 0.9 and len(live) > 40:
            run = live.pop(random_.randrange(len(live)))
            kernel.send(run, Head(200, ()), Done(200, 1.0))
        assert kernel.size <= 1.2 * TOTAL
    assert len(kernel.runs) > 50


def test_journals_that_grow_without_a_frontend_stay_near_the_total() -> None:
    runs, kernel = new_runs(), Kernel()
    live = [begin(runs, kernel) for _ in range(100)]
    for run in live:
        for _ in range(20):
            kernel.send(run, Data(b"x" * 10_000, "text"), to_frontend=False)
    assert kernel.size <= kernel.limits <= 1.5 * TOTAL


def test_a_run_gets_its_whole_journal_again_when_there_are_fewer() -> None:
    runs, kernel = new_runs(), Kernel()
    first, *others = [begin(runs, kernel) for _ in range(100)]
    assert kernel.runs[first.id].keep.journal < 30_000
    for run in others:
        kernel.send(run, Done(200, 1.0))
    kernel.send(first, Data(b"x" * 90_000, "text"), Data(b"y", "text"))
    assert kernel.runs[first.id].keep.journal == RUN_JOURNAL
