"""owt.kernel.flask_requests: Flask's request in a run, and its end with the run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator

import pytest
from runner_bench import RunnerBench

SEEN = "state.seen.append(weakref.ref(flask.request._get_current_object()))"
BODY = b"x" * 100_000


@pytest.fixture(params=[1, 2], ids=["alone", "in-a-thread"])
def flask_bench(
    new_bench: Callable[..., RunnerBench], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunnerBench]:
    """Return a runner in whose process Flask is loaded, without garbage collection."""
    monkeypatch.setitem(sys.modules, "flask", sys)
    del sys.modules["flask"]
    bench = new_bench(concurrency=request.param)
    bench.ask("import flask, weakref\nseen = []")
    gc.collect()
    gc.disable()
    yield bench
    gc.enable()


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (f"def run():\n    {SEEN}\n    return flask.request.path", b"/path"),
        (f"def run():\n    {SEEN}\n    yield flask.request.path", b"/path"),
        (f"async def run():\n    {SEEN}\n    return flask.request.path", b"/path"),
        (f"async def run():\n    {SEEN}\n    yield flask.request.path", b"/path"),
        (f"def run():\n    {SEEN}\n    raise ValueError", b""),
        (f"async def run():\n    {SEEN}\n    raise ValueError", b""),
        (f"def run():\n    {SEEN}\n    flask.abort(404)", None),
        (f"{SEEN}\nflask.request.path", b"/path"),
    ],
    ids=["plain", "generator", "async", "async-generator", "failure", "async-failure", "abort", "cell"],
)
def test_flasks_request_is_freed_with_its_run(
    flask_bench: RunnerBench, code: str, answer: bytes | None
) -> None:
    for number in (1, 2):
        text = flask_bench.text(code, path="/path", body=BODY)
        assert answer is None or text == answer.decode()
        seen = flask_bench.names["seen"]
        assert len(seen) == number
        assert [reference() for reference in seen] == [None] * number


def test_a_request_that_an_adaptor_has_pushed_ends_with_its_run(flask_bench: RunnerBench) -> None:
    code = "def run():\n    yield flask.request.path\n    flask.Flask('x').test_request_context('/x').push()"
    assert [flask_bench.text(code, path=path) for path in ("/a", "/b")] == ["/a", "/b"]


def test_flasks_g_belongs_to_one_run(flask_bench: RunnerBench) -> None:
    code = "async def run():\n    count = flask.g.setdefault('n', 0)\n    flask.g.n += 1\n    return count"
    assert [flask_bench.text(code) for _ in range(3)] == ["0", "0", "0"]
