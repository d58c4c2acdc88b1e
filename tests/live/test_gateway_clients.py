"""Jupyter's own programs on the gateway: a Jupyter server that has its kernels from it, and nbclient."""

import json
import os
import subprocess
import sys

import httpx
import pytest
from channels_client import ROOT

from owt.testing import LiveServer, wait_until

TOKEN = "sesame-open-0123456789"
KNOWN = {"Authorization": f"token {TOKEN}"}

# A Jupyter server's settings are a process's own, so this is a process.
NBCLIENT = """
import json, sys
import nbformat
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelManager
from nbclient import NotebookClient

url, kernelspec, *cells = sys.argv[1:]
GatewayClient.instance(url=url)
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
NotebookClient(notebook, kernel_manager_class=GatewayKernelManager).execute(kernel_name=kernelspec)
print(json.dumps([cell.outputs for cell in notebook.cells]))
"""


@pytest.fixture(scope="module")
def owt():
    with LiveServer("--token", TOKEN) as server:
        yield server


def call(owt, code, session):
    return owt.ask("POST", "/", data={"code": code, "session": session}, headers=KNOWN).text


@pytest.fixture(scope="module")
def jupyter(owt, tmp_path_factory):
    """A client of a Jupyter server whose kernels are owt's."""
    home = tmp_path_factory.mktemp("jupyter")
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.port=0",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        f"--ServerApp.root_dir={home}",
        f"--gateway-url={owt.url}{ROOT}",
        f"--GatewayClient.auth_token={TOKEN}",
        "--GatewayClient.allowed_envs=JPY_SESSION_NAME",
    ]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *options],
            env={**os.environ, **folders},
            stdout=log,
            stderr=log,
        )
    try:
        [told] = wait_until(lambda: list((home / "runtime").glob("jpserver-*.json")), 60)
        url = wait_until(lambda: told.read_text() and json.loads(told.read_text())["url"])
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


# The gateway's client for Python programs gives no token to the WebSocket, so this server wants none.
def test_nbclient_runs_a_notebook_on_a_live_session(server, session):
    server.call("x = 41", session=session)
    cells = ["x += 1\nprint(x)", "x * 2", "import sys\nprint('oh', file=sys.stderr)"]
    done = subprocess.run(
        [sys.executable, "-c", NBCLIENT, server.url + ROOT, f"owt-session.{session}", *cells],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    [[printed], [result], [complained]] = json.loads(done.stdout)
    assert printed["text"] == "42\n"
    assert result["data"]["text/plain"] == "84"
    assert complained["text"] == "oh\n"
    # nbclient has shut its kernel down, and the session was there before.
    assert server.call("x", session=session).text == "42"


def test_a_jupyter_server_lists_owts_kernelspecs_and_sessions(owt, jupyter):
    call(owt, "x = 1", "dev")
    found = jupyter.get("api/kernelspecs").json()
    assert found["kernelspecs"]["owt-session.dev"]["spec"]["display_name"] == "dev (owt session)"


def test_a_notebook_of_a_jupyter_server_opens_a_live_session_and_leaves_it(owt, jupyter):
    call(owt, "x = 1", "dev")
    wanted = {"path": "n.ipynb", "name": "n.ipynb", "type": "notebook", "kernel": {"name": "owt-session.dev"}}
    made = jupyter.post("api/sessions", json=wanted).json()
    assert made["kernel"]["session"] == "dev"
    assert jupyter.post(f"api/kernels/{made['kernel']['id']}/interrupt").status_code == 204
    assert [each["session"] for each in jupyter.get("api/kernels").json()] == ["dev"]
    assert jupyter.delete(f"api/sessions/{made['id']}").status_code == 204
    assert call(owt, "x", "dev") == "1"


def test_a_notebook_of_a_jupyter_server_starts_a_session_and_ends_it(owt, jupyter):
    wanted = {"path": "new one.ipynb", "name": "new one.ipynb", "type": "notebook", "kernel": {"name": "owt"}}
    made = jupyter.post("api/sessions", json=wanted).json()
    assert made["kernel"]["session"] == "new-one"
    call(owt, "x = 1", "new-one")
    assert jupyter.post(f"api/kernels/{made['kernel']['id']}/restart").status_code == 200
    assert call(owt, "'x' in state", "new-one") == "False"
    assert jupyter.delete(f"api/sessions/{made['id']}").status_code == 204
    assert owt.ask("GET", "/_owt/sessions/new-one", headers=KNOWN).status_code == 404


def test_a_jupyter_server_says_why_a_kernel_cannot_be_started(jupyter):
    wanted = {"path": "bad.ipynb", "name": "bad.ipynb", "type": "notebook", "kernel": {"name": "nothing"}}
    answer = jupyter.post("api/sessions", json=wanted)
    assert answer.status_code >= 400
    assert "no such kernelspec" in answer.json()["message"]
