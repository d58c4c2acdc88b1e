"""owt.testing: helpers for tests."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from owt.errors import ConfigError
from owt.frontend.kernels.kernel import Kernel
from owt.frontend.kernels.kernels import Kernels
from owt.testing import Bystander, Gate, LiveServer, wait_until
from owt.testing.kernel import ScriptedKernel, ScriptedKernels

# wait_until


def test_wait_until_returns_the_first_true_value() -> None:
    values = iter([None, 0, "", "found"])
    assert wait_until(lambda: next(values)) == "found"


def test_wait_until_times_out_with_the_last_value() -> None:
    with pytest.raises(TimeoutError, match=r"still \[\] after 0 s"):
        wait_until(list, timeout=0)


def test_wait_until_raises_an_error_of_the_condition() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0)


# Gate


def test_a_gate_holds_an_adaptor_until_it_is_opened(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    passed = threading.Event()

    def adaptor() -> None:
        with open(str(gate)) as file:
            file.read()
        passed.set()

    thread = threading.Thread(target=adaptor)
    thread.start()
    gate.reached()
    gate.reached()
    assert not passed.is_set()
    gate.open()
    thread.join()
    assert passed.is_set()


def test_a_gate_without_an_adaptor_is_not_reached(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        Gate(tmp_path, "other").reached(timeout=0)
    assert (tmp_path / "other").is_fifo()


# LiveServer


def test_live_server_responds_logs_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWT_MAX_SESSIONS", "rubbish of a developer's own")
    with LiveServer("-v", env={"OWT_QUEUE": "3", "OF_A_TEST": "1"}) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.call("import os\nos.environ['OF_A_TEST']", session="a").text == "1"
        assert server.call("x = 1", session="a", timeout=None).status_code == 200
        assert server.session("a")["state"] == "idle"
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            server.session("b")
        assert server.ask("GET", "/_owt/health/live").status_code == 200
        server.call("print('hello, log')")
        assert server.wait_for_log("hello, (log)") == "hello, log"
        with pytest.raises(TimeoutError, match=r"'never written' is not in the log:\n.*hello, log"):
            server.wait_for_log("never written", timeout=0)
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_live_server_raises_refused_settings() -> None:
    with pytest.raises(ConfigError, match="--queue"), LiveServer("--queue", "many"):
        pass


def test_live_server_fails_the_test_after_a_crash() -> None:
    server = LiveServer().start()
    # The server ends before the test stops it.
    server.send_signal(signal.SIGABRT)
    with pytest.raises(AssertionError, match="ended with status -6"):
        server.__exit__(None, None, None)


def test_live_server_accepts_a_kill_by_the_test() -> None:
    with LiveServer() as server:
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL


# Bystander


def test_a_bystander_calls_until_the_block_ends() -> None:
    with LiveServer() as server:
        with Bystander(server) as other:
            before = other.calls
            assert before > 0
            wait_until(lambda: other.calls > before + 2)
        after = other.calls
        assert server.session("bystander")["calls"] == after
        # Even a block that ends at once waits for a call.
        with Bystander(server) as other:
            before = other.calls
        assert other.calls > before


def test_a_bystander_with_a_failed_call_fails_the_test() -> None:
    with LiveServer() as server:
        with pytest.raises(AssertionError, match="of the bystander"), Bystander(server):
            server.stop(signal.SIGKILL)
        with pytest.raises(AssertionError, match="call 1 of the bystander"), Bystander(server):
            pass


# Scripted kernels


@pytest.mark.parametrize(
    ("fake", "real", "names"),
    [
        (ScriptedKernel, Kernel, "invoke bind credit ask stopped kill interrupt closed memory"),
        (ScriptedKernels, Kernels, "check_spec check_room"),
    ],
)
def test_scripted_kernels_have_the_methods_of_the_real_classes(fake: type, real: type, names: str) -> None:
    for name in names.split():
        assert inspect.signature(getattr(fake, name)) == inspect.signature(getattr(real, name)), name
        functions = getattr(fake, name), getattr(real, name)
        assert len({inspect.iscoroutinefunction(function) for function in functions}) == 1, name


def test_scripted_kernels_start_as_the_real_ones() -> None:
    starts = ScriptedKernels.start, Kernels.start
    assert inspect.signature(starts[0]).parameters == inspect.signature(starts[1]).parameters
