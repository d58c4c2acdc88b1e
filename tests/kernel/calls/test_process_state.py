"""owt.kernel.calls.process_state: environment and directory of a call are restored."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from runner_bench import RunnerBench

from owt.kernel.calls.process_state import ProcessState
from owt.server.server import RUN_VARIABLE


def variables() -> dict[str, str]:
    """Return the environment without the variables that name the current test and the current run."""
    changing = ("PYTEST_CURRENT_TEST", RUN_VARIABLE)
    return {name: value for name, value in os.environ.items() if name not in changing}


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessState]:
    monkeypatch.setenv("OWT_TEST_KEPT", "before")
    monkeypatch.delenv("OWT_TEST_NEW", raising=False)
    directory, environment = os.getcwd(), variables()
    for name in ("putenv", "unsetenv"):
        monkeypatch.setattr(os, name, getattr(os, name))
    yield ProcessState()
    assert variables() == environment
    assert os.getcwd() == directory


def test_changes_of_variables_are_undone(state: ProcessState) -> None:
    state.begin()
    os.environ["OWT_TEST_NEW"] = "1"
    os.environ["OWT_TEST_NEW"] = "2"
    os.environ.update({"OWT_TEST_KEPT": "changed"})
    del os.environ["OWT_TEST_KEPT"]
    os.environ.setdefault("OWT_TEST_KEPT", "again")
    state.restore()


def test_a_cleared_environment_is_restored(state: ProcessState) -> None:
    state.begin()
    os.environ.clear()
    state.restore()


@pytest.mark.parametrize("name", ["OWT_TEST_KEPT", b"OWT_TEST_KEPT", "OWT_TEST_NEW"])
def test_changes_past_the_mapping_are_undone(state: ProcessState, name: str | bytes) -> None:
    def in_process() -> str | None:
        return subprocess.run(["printenv", name], stdout=subprocess.PIPE, text=True).stdout.strip() or None

    before = in_process()
    for change in (partial(os.putenv, name, "changed"), partial(os.unsetenv, name)):
        state.begin()
        change()
        assert in_process() != before or (before is None and change.func is not os.putenv)
        state.restore()
        assert in_process() == before


def test_the_directory_is_restored(state: ProcessState, tmp_path: Path) -> None:
    state.begin()
    os.chdir(tmp_path)
    state.restore()


def test_arguments_and_streams_are_restored(state: ProcessState) -> None:
    arguments, streams = [*sys.argv], (sys.stdin, sys.stdout, sys.stderr)
    state.begin()
    sys.argv.append("--left")
    sys.argv = ["other"]
    sys.stdout = sys.stderr = io.StringIO()
    del sys.stdin
    state.restore()
    assert sys.argv == arguments
    assert (sys.stdin, sys.stdout, sys.stderr) == streams


def test_changes_outside_of_a_call_stay(state: ProcessState, monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ["OWT_TEST_NEW"] = "outside"
    state.begin()
    state.restore()
    assert os.environ.pop("OWT_TEST_NEW") == "outside"


@pytest.mark.parametrize("leave", ["return 1", "raise ValueError", "yield 1"])
def test_a_call_of_the_pool_leaves_nothing_to_the_next(
    state: ProcessState, bench: RunnerBench, leave: str
) -> None:
    bench.runner.endpoints.session = None
    bench.ask(f"import os\ndef run():\n    os.environ['OWT_TEST_NEW'] = 'x'\n    os.chdir('/')\n    {leave}")
    assert "OWT_TEST_NEW" not in os.environ


def test_a_call_of_a_session_leaves_its_changes(
    state: ProcessState, bench: RunnerBench, tmp_path: Path
) -> None:
    directory = os.getcwd()
    bench.ask(f"import os\ndef run():\n    os.environ['OWT_TEST_NEW'] = 'x'\n    os.chdir({str(tmp_path)!r})")
    assert os.environ.pop("OWT_TEST_NEW") == "x"
    assert Path.cwd() == tmp_path
    os.chdir(directory)
