"""owt.kernel.code.adaptor_files: adaptors that other processes import."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from session_sources import SessionSources

from owt.kernel.code.adaptor_files import AdaptorFolder

LOAD = """
import pickle, sys, traceback
value = pickle.load(sys.stdin.buffer)
try:
    print({})
except Exception:
    traceback.print_exc()
"""
"""Program that unpickles an object of an adaptor and prints the value of an expression with it.

It reports an exception as multiprocessing does."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "adaptors"


@pytest.fixture
def importable(
    kernel: SessionSources, path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SessionSources]:
    """Return the sources of a session whose adaptors are importable from `path`."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    return SessionSources(AdaptorFolder(str(path)))


def in_another_process(value: object, expression: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LOAD.format(expression)]
    result = subprocess.run(command, input=pickle.dumps(value), capture_output=True, check=False)
    return subprocess.CompletedProcess(
        command, result.returncode, result.stdout.decode().strip(), result.stderr.decode()
    )


NAMES = """
from __future__ import annotations
start = pipe
def run():
    try:
        return request.args
    except RuntimeError as error:
        return str(error), "model" in state, start is pipe
"""


@pytest.mark.parametrize(
    ("code", "expression", "expected"),
    [
        ("def run(x): return x + 1", "value(1)", "2"),
        ("def run(): return __name__\nif __name__ == '__main__': 1 / 0", "value() == value.__module__",
         "True"),
        ("# coding: latin-1\ndef run(): return 'ä\U0001f600\\n{x!r}'", "ascii(value())",
         r"'\xe4\U0001f600\n{x!r}'"),
        ("\ufeffdef run():\r\n    return '''a\r\nb'''\r\n", "repr(value())", r"'a\nb'"),
        (NAMES, "value()",
         "('there is no request: this code was not started by a call to owt', False, True)"),
        ("def run():\n    return 1  # one\n", "__import__('inspect').getsource(value)",
         "def run():\n    return 1  # one"),
        ("def run(): return set(globals()) - set(dir(__import__('colorsys')))", "value()", "{'run'}"),
    ],
    ids=["function", "guard", "characters", "line ends", "injected names", "source", "globals"],
)  # fmt: skip
def test_another_process_imports_a_function(
    importable: SessionSources, code: str, expression: str, expected: str
) -> None:
    result = in_another_process(importable.load(code), expression)
    assert (result.stdout, result.stderr) == (expected, "")


POINT = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Point:
    x: int
    def double(self):
        return self.x / 0  # a comment
def run(): return Point(3)
"""


def test_another_process_imports_the_class_of_an_object(importable: SessionSources) -> None:
    point = importable.load(POINT)()
    source = in_another_process(point, "value, __import__('inspect').getsource(type(value))")
    assert source.stdout.startswith("Point(x=3) @dataclass\nclass Point:\n")
    failed = in_another_process(point, "value.double()")
    assert failed.stderr.count("return self.x / 0  # a comment") == 1


def test_a_module_that_uses_no_injected_name_imports_nothing_of_owt(
    importable: SessionSources, path: Path
) -> None:
    importable.load("def run(): pass")
    [module] = path.glob("*.py")
    assert "owt import" not in module.read_text()


def test_a_top_level_that_runs_cannot_be_imported(importable: SessionSources) -> None:
    """Otherwise, each process that it starts could start others by the same top level."""
    code = """
import pickle, subprocess, sys
def run(): return outcome
outcome = subprocess.run([sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"],
                         input=pickle.dumps(run), capture_output=True)
"""
    outcome = importable.load(code)()
    last_line = outcome.stderr.decode().splitlines()[-1]
    assert last_line.startswith("RuntimeError: another process needs a function or an object of an adaptor")


def test_files_are_private_and_exist_as_long_as_the_module(importable: SessionSources, path: Path) -> None:
    umask = os.umask(0)
    try:
        importable.load("def run(): return 'secret'")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()] == [0o400]
    with pytest.raises(ZeroDivisionError):
        importable.load("def run(): pass\n1 / 0")
    assert len(list(path.glob("*.py"))) == 1
    importable.sources.forget("def run(): return 'secret'")
    assert list(path.iterdir()) == []


def test_a_module_that_replaced_a_forgotten_one_keeps_its_files(
    importable: SessionSources, path: Path
) -> None:
    code = "def run(): pass"
    importable.load(code)
    old = importable.program(code)
    importable.sources.forget(code)
    importable.load(code)
    old.drop()
    assert len(list(path.iterdir())) == 1


def test_a_file_that_is_left_is_replaced(importable: SessionSources, path: Path) -> None:
    code = "def run(): return 1"
    importable.load(code)
    del sys.modules[importable.program(code).name]
    importable.sources.forget(code)
    assert in_another_process(importable.load(code), "value()").stdout == "1"


def test_expressions_have_no_files(importable: SessionSources, path: Path) -> None:
    importable.load("lambda: 1")
    assert list(path.iterdir()) == []


def test_a_process_finds_modules_that_are_added_in_quick_succession(importable: SessionSources) -> None:
    """Its finder reads a folder again only if the time of the folder differs."""
    for number in range(50):
        code = f"def run(): return {number}"
        importable.load(code)
        assert PathFinder.find_spec(importable.program(code).name, [sys.path[-1]]) is not None


def test_a_folder_that_was_removed_is_made_again(importable: SessionSources, path: Path) -> None:
    path.rmdir()
    assert in_another_process(importable.load("def run(): return 5"), "value()").stdout == "5"


def test_uploaded_files_are_in_the_folder_if_it_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    folder = AdaptorFolder(str(tmp_path / "files"))
    assert Path(folder.new_folder()).parent == tmp_path / "files"
    shutil.rmtree(tmp_path / "files")
    assert Path(folder.new_folder()).parent == tmp_path / "files"
    shutil.rmtree(tmp_path / "files")
    (tmp_path / "files").touch()
    elsewhere = Path(folder.new_folder())
    assert elsewhere.parent == Path(tempfile.gettempdir())
    elsewhere.rmdir()


def test_a_folder_that_cannot_be_used_is_reported_once(
    kernel: SessionSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    blocker = tmp_path / "file"
    blocker.touch()
    sources = SessionSources(AdaptorFolder(str(blocker / "adaptors")))
    assert sources.load("def run(): return 1")() == 1
    assert sources.load("def run(): return 2")() == 2
    assert capfd.readouterr().err.count("owt: other processes cannot import the adaptors") == 1


def test_a_file_that_cannot_be_written_whole_is_removed(
    importable: SessionSources, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
        assert importable.load("def run(): return 1")() == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(path.glob("*.py")) == []


def test_the_folder_follows_the_paths_of_the_environment(importable: SessionSources, path: Path) -> None:
    assert sys.path[-1] == str(path)
    assert os.environ["PYTHONPATH"] == f"{os.getcwd()}{os.pathsep}{path}"
