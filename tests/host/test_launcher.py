"""owt.host.launcher: modules of owt in an interpreter whose environment does not have owt."""

import json
import subprocess
import sys
from pathlib import Path

import owt
from owt.frontend.kernels import environments
from owt.host import launcher

LAUNCHED = """
import json, os, sys
import code, owt
folders = [os.path.realpath(entry or os.getcwd()) for entry in sys.path]
print(json.dumps([folders, sys.argv, owt.__file__, code.__file__]))
"""


def test_the_folder_of_the_launcher_is_the_last_on_the_path(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "owt").symlink_to(Path(owt.__file__).parent)
    (tmp_path / "lib" / "launched.py").write_text(LAUNCHED)
    # A product of the same name.
    (tmp_path / "owt.py").write_text("raise ImportError('another owt')")
    program = tmp_path / "lib" / "owt" / "host" / "launcher.py"
    done = subprocess.run(
        [sys.executable, str(program), "launched", "-f", "x"], cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )
    folders, arguments, package, standard = json.loads(done.stdout)
    assert folders[0] == str(tmp_path.resolve())
    assert folders[-1] == str((tmp_path / "lib").resolve())
    assert not any(folder.endswith("/owt/host") for folder in folders)
    assert arguments[1:] == ["-f", "x"]
    assert package == str(tmp_path / "lib" / "owt" / "__init__.py")
    assert "/owt/" not in standard


def test_an_old_interpreter_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    try:
        launcher.main()
    except SystemExit as error:
        message = error.code
    assert message == f"owt: kernels need Python 3.9 or newer; {sys.executable} is Python 3.8.18"


def test_the_oldest_python_is_that_of_the_command():
    assert launcher.MINIMUM == environments.MINIMUM
