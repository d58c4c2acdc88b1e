"""Steps that install packages."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import zipfile

import pytest

from owt.summat import InstallError, pipe
from owt.summat.commands import Finished


@pytest.fixture
def wheel(tmp_path):
    """A wheel with one module, written by hand (PEP 427)."""
    path = tmp_path / "summat_packed-1.0-py3-none-any.whl"
    info = "summat_packed-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("summat_packed.py", "answer = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: summat-packed\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/RECORD", f"summat_packed.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return path


@pytest.fixture
def pip(monkeypatch):
    """Recorded commands, and the result of each."""

    class Pip:
        def __init__(self):
            self.commands = []
            self.answers = []

        def __call__(self, command):
            self.commands.append(list(command))
            return self.answers.pop(0) if self.answers else Finished(0, b"", b"")

    fake = Pip()
    monkeypatch.setattr("owt.summat.commands.run_command", fake)
    monkeypatch.setattr("owt.summat.commands._installed", set())
    return fake


def test_package_is_installed_and_can_be_imported_at_once(wheel, tmp_path):
    program = (
        "from owt.summat import pipe\n"
        f"p = pipe().installing({str(wheel)!r}).importing('summat_packed').f(lambda: summat_packed.answer)\n"
        "print(p(), p())"
    )
    target = tmp_path / "target"
    target.mkdir()
    environment = {
        **os.environ,
        "PIP_TARGET": str(target),
        "PIP_NO_INDEX": "1",
        "PYTHONPATH": os.pathsep.join([str(target), *sys.path]),
    }
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("42 42\n", "")


def test_output_of_pip_is_in_the_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path))
    missing = f"{tmp_path}/nothing-1.0-py3-none-any.whl"
    with pytest.raises(InstallError, match="could not install") as caught:
        pipe().installing(missing)()
    assert "nothing-1.0" in caught.value.output
    assert "ERROR" in str(caught.value)
    assert ">>>.installing(" in caught.value.__notes__[0]


def test_pip_runs_with_this_interpreter_and_takes_no_package_for_an_option(pip):
    pipe().installing("a==1", "-r")()
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[-3:] == ["--", "a==1", "-r"]


def test_each_requirement_is_installed_once(pip):
    pipe().installing("a", "b")()
    pipe().installing("b", "c")()
    pipe().installing("a", "c")()
    assert [command[command.index("--") + 1 :] for command in pip.commands] == [["a", "b"], ["c"]]


def test_failed_attempt_is_repeated(pip):
    pip.answers = [Finished(1, b"", b"no network")]
    with pytest.raises(InstallError, match="status 1 and could not install a\nno network"):
        pipe().installing("a")()
    assert pipe().installing("a").const(5)() == 5
    assert len(pip.commands) == 2


def test_concurrent_runs_wait_for_one_pip(pip, monkeypatch):
    started, leave = threading.Event(), threading.Event()

    def slow(command):
        started.set()
        leave.wait()
        return pip(command)

    monkeypatch.setattr("owt.summat.commands.run_command", slow)
    threads = [threading.Thread(target=pipe().installing("a").done()) for _ in range(5)]
    for thread in threads:
        thread.start()
    started.wait()
    leave.set()
    for thread in threads:
        thread.join()
    assert len(pip.commands) == 1


def test_value_and_kwargs_stay_unchanged(pip):
    assert pipe().installing("a")(x=1) == {"x": 1}
    assert pipe().installing("a")(5) == 5
