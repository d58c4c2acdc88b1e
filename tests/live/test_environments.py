"""Kernels of other environments: `owt kernel add`, their templates, and what they do not touch."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import second_environment

from owt.cli import main
from owt.testing import LiveServer, wait_until

MODEL = """
import os

COLOUR = os.environ["COLOUR"]
PROCESS = os.getpid()
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Folder of a model, with its virtual environment and its module `model_of_tests`."""
    folder = tmp_path_factory.mktemp("model")
    python = second_environment.make(folder / "venv")
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    # The environment's own package, by the name of one that the server has, wins.
    (site / "markupsafe").mkdir()
    (site / "markupsafe" / "__init__.py").write_text("def escape(text): return text\nMarkup = str\n")
    (folder / "model_of_tests.py").write_text(MODEL)
    return folder, python


@pytest.fixture(scope="module")
def models(environment, tmp_path_factory):
    """Server with the kernelspecs `model` and `loaded` (the model's module is preloaded)."""
    folder, python = environment
    data = str(tmp_path_factory.mktemp("jupyter"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", data)
        add = ["--python", str(python), "--cwd", str(folder), "--env", "COLOUR=red"]
        assert main.main(["kernel", "add", "model", *add]) == 0
        assert main.main(["kernel", "add", "loaded", *add, "--preload", "model_of_tests"]) == 0
    spec = json.loads(Path(data, "kernels", "model", "kernel.json").read_text())
    spec["argv"][0] = "/nonexistent/python"
    Path(data, "kernels", "gone").mkdir()
    Path(data, "kernels", "gone", "kernel.json").write_text(json.dumps(spec))
    variables = {"JUPYTER_DATA_DIR": data, "VIRTUAL_ENV": "/other"}
    with LiveServer("--template-idle", "0.2", env=variables) as server:
        yield server


@pytest.fixture
def session(models, request):
    """Name of a session that the test may create."""
    name = re.sub(r"\W", "-", request.node.name)[-60:]
    yield name
    models.ask("DELETE", f"/_owt/sessions/{name}")


def templates(server):
    """Return the command lines of the server's processes that fork kernels, by their ids."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return {int(pid): Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in children}


def template_of(server, session):
    """Return the parent of a session's kernel."""
    return int(Path(f"/proc/{server.session(session)['pid']}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_call_runs_in_the_interpreter_and_the_directory_of_its_kernelspec(models, environment, session):
    folder, python = environment
    values = "[sys.executable, os.getcwd(), model_of_tests.COLOUR, request.path]"
    code = f"import sys, os, model_of_tests\n{values}"
    expected = [str(python), str(folder), "red", "/"]
    assert models.call(code, session=session, kernel="model").json() == expected


def test_the_active_environment_of_the_server_is_not_that_of_the_kernel(models, session):
    code = "import os\nos.environ.get('VIRTUAL_ENV', 'none')"
    assert models.call(code, session=session, kernel="model").text == "none"


@pytest.mark.parametrize("env", ["{}", '{"OMP_NUM_THREADS": "2"}'], ids=["forked", "spawned"])
def test_pip_is_that_of_the_environment_and_there_are_no_arguments(models, environment, session, env):
    _, python = environment
    # The environment has no program of this name, and the server's has.
    code = "import sys\n[answer] = !pip --version 2>&1\n[answer, sys.argv]"
    expected = [f"{python}: No module named pip", [""]]
    assert models.call(code, session=session, kernel="model", env=env).json() == expected


def test_nothing_of_the_servers_environment_can_be_imported(models, session):
    models.call("import sys", session=session, kernel="model")
    assert models.call("__import__('tornado')", session=session).status_code == 200
    for package in ("click", "httpx", "numpy", "pandas"):
        assert models.call(f"import {package}", session=session).status_code == 500, package


def test_packages_of_the_environment_win(models, environment, session):
    models.call("import markupsafe", session=session, kernel="model")
    assert models.call("markupsafe.__file__", session=session).text.startswith(str(environment[0]))


def test_endpoints_and_uploads_need_no_package_of_the_environment(models, session):
    code = "@endpoint('/model-of-tests')\ndef f(n: int, x: bytes): return n + len(x)"
    assert models.call(code, session=session, kernel="model").status_code == 200
    assert models.ask("POST", "/model-of-tests", data={"n": "41"}, files={"x": b"x"}).text == "42"


def test_sessions_of_one_environment_are_forked_by_its_template(models, session):
    models.call("x = 1", session=session, kernel="model")
    template = template_of(models, session)
    assert "owt.host.template" in templates(models)[template]
    models.call("x = 2", session="model-2", kernel="model")
    models.call("x = 3", session="owt-3")
    assert template_of(models, "model-2") == template
    assert template_of(models, "owt-3") != template
    # Its exit status is known, so the template reports it.
    answer = models.call("import os\nos._exit(3)", session=session)
    assert "exited with status 3" in answer.text
    for name in ("model-2", "owt-3"):
        models.ask("DELETE", f"/_owt/sessions/{name}")


def test_kernels_have_what_their_kernelspec_preloads(models, session):
    code = "import sys\n'model_of_tests' in sys.modules"
    assert models.call(code, session=session, kernel="loaded").text == "True"
    assert models.call("sys.modules['model_of_tests'].COLOUR", session=session).text == "red"
    parent = template_of(models, session)
    assert models.call("sys.modules['model_of_tests'].PROCESS", session=session).json() == parent


def test_a_kernel_that_is_no_fork_has_what_its_kernelspec_preloads(models, session):
    code = "import sys, os\n[sys.modules['model_of_tests'].PROCESS == os.getpid(), sys.argv]"
    variables = {"env": '{"OMP_NUM_THREADS": "2"}'}
    assert models.call(code, session=session, kernel="loaded", **variables).json() == [True, [""]]
    assert template_of(models, session) == models.pid


def test_a_template_without_kernels_ends_and_another_one_starts_when_it_is_needed(models, session):
    models.call("x = 1", session=session, kernel="model")
    first = template_of(models, session)
    models.ask("DELETE", f"/_owt/sessions/{session}")
    wait_until(lambda: first not in templates(models))
    assert models.call("'x' in state", session=session, kernel="model").text == "False"
    assert template_of(models, session) != first


def test_kernels_survive_the_death_of_their_template(models, session):
    models.call("x = 1", session=session, kernel="model")
    os.kill(template_of(models, session), signal.SIGKILL)
    assert models.call("x", session=session).text == "1"
    assert models.call("'fine'", session="model-4", kernel="model").text == "fine"
    models.ask("DELETE", "/_owt/sessions/model-4")


def test_an_environment_that_is_gone_fails_with_its_path(models, session):
    answer = models.call("1", session=session, kernel="gone")
    assert answer.status_code == 502
    assert "/nonexistent/python" in answer.text
