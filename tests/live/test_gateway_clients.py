"""Jupyter's own programs as clients of the gateway: a Jupyter server, and nbclient."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from channels_client import ROOT, ChannelsClient, is_idle

from owt.testing import LiveServer, wait_until

TOKEN = "sesame-open-0123456789"
KNOWN = {"Authorization": f"token {TOKEN}"}

# A Jupyter server's settings are global, so this is a process of its own.
NBCLIENT = """
import json, sys
import nbformat
from jupyter_server.gateway.gateway_client import GatewayClient
from nbclient import NotebookClient

url, kernelspec, *cells = sys.argv[1:]
GatewayClient.instance(url=url)
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
notebook.metadata.kernelspec = {"name": kernelspec, "display_name": kernelspec}
# Jupyter's own manager would start python3, unless `execute` repeated the name.
NotebookClient(notebook, kernel_manager_class="owt.jupyter_extension.SessionKernelManager").execute()
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
    """Yield a client of a Jupyter server whose kernels are owt's."""
    home = tmp_path_factory.mktemp("jupyter")
    # As installed with owt.
    enabled = home / "config" / "jupyter_server_config.d" / "owt.json"
    enabled.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[2] / "kernels" / "jupyter_server_config.json", enabled)
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
        [file] = wait_until(lambda: list((home / "runtime").glob("jpserver-*.json")), 60)
        url = wait_until(lambda: file.read_text() and json.loads(file.read_text())["url"])
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


# The gateway's client for Python sends no token with the WebSocket, so this server requires none.
def test_nbclient_runs_a_notebook_in_an_existing_session(server, session):
    server.call("x = 41", session=session)
    cells = ["x += 1\nprint(x)", "x * 2", "import sys\nprint('oh', file=sys.stderr)"]
    kernelspec = f"owt-session.{session}"
    done = subprocess.run(
        [sys.executable, "-c", NBCLIENT, server.url + ROOT, kernelspec, *cells],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    [[printed], [result], [complained]] = json.loads(done.stdout)
    assert printed["text"] == "42\n"
    assert result["data"]["text/plain"] == "84"
    assert complained["text"] == "oh\n"
    # nbclient has shut down its kernel, which was only attached to the session.
    assert server.call("x", session=session).text == "42"


def test_jupyter_server_lists_kernelspecs_of_sessions(owt, jupyter):
    call(owt, "x = 1", "dev")
    listed = jupyter.get("api/kernelspecs").json()
    assert listed["kernelspecs"]["owt-session.dev"]["spec"]["display_name"] == "dev (owt session)"


def test_notebook_attaches_to_a_session_and_leaves_it(owt, jupyter):
    call(owt, "x = 1", "dev")
    model = {"path": "n.ipynb", "name": "n.ipynb", "type": "notebook", "kernel": {"name": "owt-session.dev"}}
    created = jupyter.post("api/sessions", json=model).json()
    assert created["kernel"]["session"] == "dev"
    assert jupyter.post(f"api/kernels/{created['kernel']['id']}/interrupt").status_code == 204
    assert [model["session"] for model in jupyter.get("api/kernels").json()] == ["dev"]
    assert jupyter.delete(f"api/sessions/{created['id']}").status_code == 204
    assert call(owt, "x", "dev") == "1"


def test_notebook_starts_a_session_and_ends_it(owt, jupyter):
    model = {"path": "new one.ipynb", "name": "new one.ipynb", "type": "notebook", "kernel": {"name": "owt"}}
    created = jupyter.post("api/sessions", json=model).json()
    assert created["kernel"]["session"] == "new-one"
    call(owt, "x = 1", "new-one")
    assert jupyter.post(f"api/kernels/{created['kernel']['id']}/restart").status_code == 200
    assert call(owt, "'x' in state", "new-one") == "False"
    assert jupyter.delete(f"api/sessions/{created['id']}").status_code == 204
    assert owt.ask("GET", "/_owt/sessions/new-one", headers=KNOWN).status_code == 404


ECHO = """
def on_open(comm, message):
    comm.on_msg(lambda message: comm.send({}, buffers=[bytes(part)[::-1] for part in message['buffers']]))
get_ipython().kernel.comm_manager.register_target('echo', on_open)
"""


def test_binary_messages_pass_a_jupyter_server_in_both_directions(owt, jupyter):
    call(owt, "x = 41", "dev")
    kernel = jupyter.post("api/kernels", json={"name": "owt-session.dev"}).json()["id"]
    server = SimpleNamespace(url=str(jupyter.base_url).rstrip("/"))
    with ChannelsClient(server, kernel, root="") as notebook:
        assert notebook.run(ECHO + "print(x)") == "41\n"
        notebook.send("comm_open", {"comm_id": "c", "target_name": "echo", "data": {}})
        # No UTF-8, and a text follows.
        notebook.send("comm_msg", {"comm_id": "c", "data": {}}, buffers=[b"\xff\x00\xfe", b"ab"])
        *_, echo = notebook.until(lambda message: message["msg_type"] == "comm_msg")
        assert [bytes(part) for part in echo["buffers"]] == [b"\xfe\x00\xff", b"ba"]
        assert notebook.run("print(x + 1)") == "42\n"
    jupyter.delete(f"api/kernels/{kernel}")


def test_restart_passes_a_jupyter_server_as_a_start(owt, jupyter):
    model = {"path": "r.ipynb", "name": "r.ipynb", "type": "notebook", "kernel": {"name": "owt"}}
    created = jupyter.post("api/sessions", json=model).json()
    server = SimpleNamespace(url=str(jupyter.base_url).rstrip("/"))
    with ChannelsClient(server, created["kernel"]["id"], root="") as notebook:
        notebook.run("x = 1")
        assert jupyter.post(f"api/kernels/{created['kernel']['id']}/restart").status_code == 200
        id = notebook.execute("print('x' in globals())")
        states = {
            message["content"].get("execution_state")
            for message in notebook.until(lambda message: is_idle(message, id))
        }
        assert "starting" in states
        assert "restarting" not in states
    jupyter.delete(f"api/sessions/{created['id']}")


def test_jupyter_server_reports_why_a_kernel_cannot_start(jupyter):
    model = {"path": "bad.ipynb", "name": "bad.ipynb", "type": "notebook", "kernel": {"name": "nothing"}}
    answer = jupyter.post("api/sessions", json=model)
    assert answer.status_code >= 400
    assert "no such kernelspec" in answer.json()["message"]
