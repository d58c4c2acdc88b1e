"""owt.kernel.calls.figures: figures of pyplot are closed at the end of their run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import matplotlib.pyplot as plt
import pytest
from runner_bench import RunnerBench, bodies, call

PLOT = "import matplotlib.pyplot as plt\n"
LINES = "len(plt.gca().lines)"


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    before = plt.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.fixture(params=[1, 2], ids=["in turn", "overlapping"])
def bench(request: pytest.FixtureRequest, new_bench: Callable[..., RunnerBench]) -> RunnerBench:
    return new_bench(concurrency=request.param)


@pytest.mark.parametrize(
    "code",
    [
        f"def run():\n    plt.plot([1])\n    return {LINES}",
        f"async def run():\n    plt.plot([1])\n    return {LINES}",
        f"def run():\n    plt.plot([1])\n    yield {LINES}",
        f"async def run():\n    plt.plot([1])\n    yield {LINES}",
        f"plt.plot([1])\n{LINES}",
        f"await __import__('asyncio').sleep(0)\nplt.plot([1])\n{LINES}",
    ],
    ids=["plain", "async", "generator", "async generator", "cell", "async cell"],
)
def test_a_call_does_not_draw_into_the_figure_of_an_earlier_one(bench: RunnerBench, code: str) -> None:
    for _ in range(3):
        assert bench.text(PLOT + code).strip() == "1"
        assert plt.get_fignums() == []


def test_figures_of_a_run_that_fails_are_closed(bench: RunnerBench) -> None:
    bench.ask(PLOT + "def run():\n    plt.figure()\n    1 / 0")
    assert plt.get_fignums() == []


def test_a_figure_that_exists_before_the_run_stays_open(bench: RunnerBench) -> None:
    figure = plt.figure()
    bench.ask(PLOT + "def run(): plt.figure()")
    assert plt.get_fignums() == [figure.number]


def test_a_figure_in_the_state_can_be_drawn_by_a_later_call(bench: RunnerBench) -> None:
    bench.ask(PLOT + "def run():\n    state.figure = plt.figure()")
    text = bench.text("def run():\n    import io\n    state.figure.savefig(io.BytesIO())\n    return 'drawn'")
    assert text == "drawn"


def test_overlapping_runs_close_their_own_figures_only(new_bench: Callable[..., RunnerBench]) -> None:
    bench = new_bench(concurrency=2)
    first = "import threading\nstate.opened, state.ended = threading.Event(), threading.Event()\n"
    bench.ask(first)
    keeper = (
        PLOT + "def run():\n    figure = plt.figure()\n    state.opened.set()\n    state.ended.wait(20)\n"
        "    return plt.fignum_exists(figure.number)"
    )
    other = PLOT + "def run():\n    state.opened.wait(20)\n    return plt.figure().number"

    async def main() -> None:
        bench.runner.accept("keeper", call(keeper))
        (number,) = bodies((await bench.serve(other=call(other)))["other"])
        assert not plt.fignum_exists(int(number))
        bench.names["ended"].set()
        await bench.ended("keeper")

    bench.loops.run(main())
    assert bodies(bench.chunks("keeper")) == [b"True"]
    assert plt.get_fignums() == []


def test_figures_are_closed_if_matplotlib_has_forgotten_the_hook(bench: RunnerBench) -> None:
    bench.ask(PLOT + "def run():\n    plt.rcdefaults()\n    plt.figure()")
    assert plt.get_fignums() == []


def test_figures_are_closed_while_the_next_run_waits_for_its_turn(
    new_bench: Callable[..., RunnerBench],
) -> None:
    code = PLOT + f"def run():\n    plt.rcdefaults()\n    plt.plot([1])\n    return {LINES}"
    chunks = new_bench().run(a=call(code), b=call(code))
    assert bodies(chunks["a"]) == bodies(chunks["b"]) == [b"1"]
