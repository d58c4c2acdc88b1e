"""Kernels that need more memory than --kernel-memory allows."""

import asyncio
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from owt.frontend import app
from owt.frontend.config.settings import Settings
from owt.frontend.descriptors import Descriptors
from owt.testing import Bystander, LiveServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory so")

LIMIT = "this kernel may allocate 64 MiB (--kernel-memory)"


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """Server whose kernels may allocate 64 MiB."""
    with LiveServer("--kernel-memory", "64MiB") as server:
        yield server


TOO_MUCH = {
    "at once": "def run(): return bytearray(10**9)",
    "bit by bit": "def run():\n    held = []\n    while True: held.append(bytearray(1000))",
    "small objects": "def run():\n    held = []\n    while True: held.append(str(len(held)) * 9)",
    "async": "async def run():\n    held = []\n    while True: held.append(bytearray(1000))",
    "cell": "held = [0]\nwhile True: held.append(bytearray(10**6))",
    "kept": "def run():\n    state.held = []\n    while True: state.held.append(bytearray(1000))",
}


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("kind", TOO_MUCH)
def test_a_call_that_allocates_too_much_fails_and_keeps_its_kernel(server, session, kind):
    server.call("x = 1", session=session)
    answer = server.ask(
        "POST", "/", data={"code": TOO_MUCH[kind], "session": session}, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 500
    problem = answer.json()
    assert problem["exception"] == "MemoryError"
    assert problem["detail"] == LIMIT
    assert problem["traceback"].endswith(f"MemoryError\n{LIMIT}\n")
    # After its objects are freed, the memory is available again.
    assert server.call("state.held = held = None", session=session).status_code == 200
    assert server.call("def run(): return len(bytearray(30 << 20))", session=session).text == str(30 << 20)
    assert server.call("x", session=session).text == "1"
    assert server.session(session)["restarts"] == 0


@pytest.mark.usefixtures("bystander")
def test_a_crash_of_native_code_without_memory_names_the_limit(server, session):
    code = (
        "import ctypes\n"
        "def run():\n"
        "    libc = ctypes.CDLL(None)\n"
        "    libc.malloc.restype = ctypes.c_void_p\n"
        "    ctypes.memset(libc.malloc(ctypes.c_size_t(10**9)), 0, 1)\n"
    )
    answer = server.call(code, session=session)
    assert answer.status_code == 502
    assert "crashed with SIGSEGV (a fault in native code, or by the 64 MiB of --kernel-memory)" in answer.text
    assert server.call("2", session=session).text == "2"


@pytest.mark.usefixtures("bystander")
def test_a_call_larger_than_the_limit_ends_only_its_kernel(server, session):
    server.call("x = 1", session=session)
    code = "def run(text): return len(text)"
    answer = server.ask(
        "POST", "/", json={"session": session, "code": code, "kwargs": {"text": "x" * (70 << 20)}}
    )
    assert answer.status_code == 502
    assert "by the 64 MiB of --kernel-memory" in answer.text
    assert server.call("2", session=session).text == "2"


def test_a_body_larger_than_the_limit_ends_only_its_call(server, session):
    server.call("x = 1", session=session)
    answer = server.ask(
        "POST", "/", params={"session": session, "code": "data().f(len)"}, content=b"x" * (70 << 20),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 500
    assert LIMIT in answer.text
    assert server.call("x", session=session).text == "1"


@pytest.mark.usefixtures("bystander")
def test_a_stream_that_runs_out_of_memory_ends_with_an_error_event(server, session):
    code = "def run():\n    yield 'first'\n    bytearray(10**9)"
    events = server.call(code, session=session, stream="sse").text
    assert "event: error" in events
    assert LIMIT in events


def test_forked_and_spawned_kernels_have_the_limit(server):
    code = "import resource as r\nsoft, hard = r.getrlimit(r.RLIMIT_DATA)\n[soft == hard, 0 < hard < 2**31]"
    server.ask("PUT", "/_owt/sessions/threads", json={"concurrency": 4}).raise_for_status()
    spawned = {"session": "spawned", "kernel": "python3"}
    for fields in ({}, {"session": "forked"}, spawned, {"session": "threads"}):
        assert server.call(code, **fields).json() == [True, True], fields


def test_the_limit_holds_without_forks_and_is_off_by_default():
    code = "import resource\nresource.getrlimit(resource.RLIMIT_DATA)[1] < 2**31"
    with LiveServer("--no-fork", "--kernel-memory", "64MiB") as server, Bystander(server) as other:
        assert server.call(code).text == "True"
        assert server.call("bytearray(10**9)").status_code == 500
    assert other.calls > 0


def test_a_system_that_cannot_limit_memory_is_named_in_the_log(monkeypatch, caplog):
    async def serve() -> None:
        settings = Settings(port=0, pool_min=0, kernel_memory=1 << 30)
        frontend = app.Frontend(settings, dict(os.environ), Descriptors())
        await frontend.start()
        await frontend.stop(0)

    darwin = SimpleNamespace(platform="darwin", maxsize=sys.maxsize, executable=sys.executable)
    monkeypatch.setattr(app, "sys", darwin)
    asyncio.run(serve())
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("--kernel-memory has no effect here")


def test_edits_of_an_adaptor_do_not_accumulate_its_models(server, session):
    for edit in range(8):
        code = f"model = bytearray(b'x') * (40 << 20)\ndef run(): return {edit}"
        assert server.call(code, session=session).text == str(edit)
