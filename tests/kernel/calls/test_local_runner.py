"""owt.kernel.calls.local_runner: calls in this process."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import flask
import pytest
from runner_bench import bodies, call

from owt.errors import BadRequest, SyntaxFault
from owt.kernel import context
from owt.kernel.calls.local_runner import LocalResult, LocalRunner
from owt.wire.chunk import Chunk, Data, Head


class Ran:
    """Local runner that keeps the chunks of its calls."""

    def __init__(self, shell: Any) -> None:
        self.names = shell.user_ns
        self.runner = LocalRunner(shell)
        self.chunks: list[Chunk] = []

    def __call__(self, code: str, **fields: Any) -> LocalResult:
        self.chunks.clear()
        return self.runner.run(call(code, **fields), self.chunks.append)

    def text(self, code: str, **fields: Any) -> str:
        ended = self(code, **fields)
        assert ended.error is None
        return b"".join(bodies(self.chunks)).decode()


@pytest.fixture
def ran(shell: Any) -> Ran:
    return Ran(shell)


def test_a_local_call_passes_its_arguments(ran):
    assert ran.text("def run(n): return n + 1", kwargs='{"n": 1}') == "2"


def test_flasks_request_ends_with_a_local_call(ran):
    ran.names["flask"] = flask
    for path in ("/a", "/b"):
        assert ran.text("flask.request.path", path=path) == path
        assert not flask.has_request_context()


@pytest.mark.parametrize(
    "code",
    [
        "request.path",
        "path().last()",
        "pipe().const('a')",
        "def run(): return state.letter",
        "async def run(): return 'a'",
        "letter",
        "x = 1\nletter",
        "def run():\n    import asyncio\n    async def a(): return 'a'\n    return asyncio.run(a())",
    ],
)
def test_a_local_call_accepts_every_kind_of_code(ran, code):
    ran.names["letter"] = "a"
    assert ran.text(code, path="/a").removeprefix("/") == "a"


def test_a_local_cell_runs_in_the_notebooks_namespace(ran):
    assert ran("left = 41").error is None
    assert ran.names["left"] == 41


def test_a_local_stream_passes_each_item_on_before_the_next(ran):
    seen: list[int] = []
    ran.names["seen"] = lambda: seen.append(len(ran.chunks))
    assert ran("def run():\n    for n in range(3):\n        state.seen()\n        yield str(n)").error is None
    # The head is sent with the first item.
    assert seen == [0, 2, 3]


@pytest.mark.parametrize("kind", ["", "async "])
def test_a_local_call_works_inside_of_a_running_event_loop(ran, kind):
    async def cell() -> str:
        loop = asyncio.get_running_loop()
        text = ran.text(f"{kind}def run():\n    yield 'a'\n    yield 'b'")
        assert asyncio.get_running_loop() is loop
        return text

    assert asyncio.run(cell()) == "ab"


def test_a_local_error_has_only_the_adaptors_frames(ran):
    ended = ran("def run():\n    return inner()\ndef inner():\n    return 1 / 0")
    assert isinstance(ended.error, ZeroDivisionError)
    frames = traceback.extract_tb(ended.error.__traceback__)
    assert [(frame.name, frame.line) for frame in frames] == [
        ("run", "return inner()"),
        ("inner", "return 1 / 0"),
    ]


def test_a_local_error_of_an_async_adaptor_has_only_its_frames(ran):
    ended = ran("import asyncio\nasync def run():\n    await asyncio.sleep(0)\n    raise KeyboardInterrupt")
    assert isinstance(ended.error, KeyboardInterrupt)
    assert [frame.name for frame in traceback.extract_tb(ended.error.__traceback__)] == ["run"]


def test_a_local_call_that_is_impossible_returns_the_error(ran):
    assert isinstance(ran("def run(:").error, SyntaxFault)
    assert isinstance(ran("def run(a): pass", kwargs='{"b": 1}').error, BadRequest)


def test_a_local_call_returns_status_and_headers(ran):
    assert ran("def run(): return 'tea', 418, {'Content-Type': 'text/plain'}") == LocalResult(418)
    match ran.chunks:
        case [Head(status=418, headers=headers), Data(body=b"tea")]:
            assert ("Content-Type", "text/plain") in headers
        case _:
            pytest.fail(str(ran.chunks))


def test_no_run_is_current_in_on_chunk_and_after_a_local_call(ran, shell):
    runs = []
    LocalRunner(shell).run(call("'a'"), lambda chunk: runs.append(context.running()))
    assert runs == [None, None]
    assert context.running() is None
