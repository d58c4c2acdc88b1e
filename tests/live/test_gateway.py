"""The Jupyter gateway: its REST API, its WebSocket, and access control."""

import json
import os
import signal
import threading

import httpx
import psutil
import pytest
from channels_client import ROOT, ChannelsClient, about, is_idle, kernel_of, state
from websocket import WebSocketBadStatusException

from owt.testing import Gate, LiveServer, wait_until

KERNELS = f"{ROOT}/api/kernels"
TOKEN = "sesame-open-0123456789"
NO_KERNELS = ("--pool-min", "0", "--no-fork")
"""Options of a server without kernels, which starts quickly."""


@pytest.fixture
def kernel(server, session):
    """Return the kernel id of a session that has x = 41."""
    server.call("x = 41", session=session)
    return kernel_of(server, session)


@pytest.fixture
def notebook(server, kernel):
    with ChannelsClient(server, kernel) as client:
        yield client


# REST ----------------------------------------------------------------------------------------------


def test_version_status_and_identity_are_those_of_a_jupyter_server(server):
    assert set(server.ask("GET", f"{ROOT}/api").json()) == {"version"}
    assert set(server.ask("GET", f"{ROOT}/api/status").json()) == {
        "started", "last_activity", "kernels", "connections",
    }
    assert server.ask("GET", f"{ROOT}/api/me").json()["identity"]["username"] == "owt"


def test_other_apis_of_a_jupyter_server_are_404(server):
    answer = server.ask("GET", f"{ROOT}/api/contents")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert "/api/contents" in answer.json()["message"]


def test_kernelspecs_include_one_for_each_session(server, kernel, session):
    document = server.ask("GET", f"{ROOT}/api/kernelspecs").json()
    assert document["default"] == "owt"
    assert document["kernelspecs"]["owt"]["spec"]["language"] == "python"
    live = document["kernelspecs"][f"owt-session.{session}"]
    assert live["spec"]["display_name"] == f"{session} (owt session)"
    assert server.ask("GET", f"{ROOT}/api/kernelspecs/owt-session.{session}").json() == live
    assert server.ask("GET", f"{ROOT}/api/kernelspecs/nothing").status_code == 404


def test_logo_of_the_kernelspec_is_also_that_of_its_sessions(server, kernel, session):
    for name in ("owt", f"owt-session.{session}"):
        resources = server.ask("GET", f"{ROOT}/api/kernelspecs/{name}").json()["resources"]
        kinds = {"logo-32x32": b"\x89PNG", "logo-64x64": b"\x89PNG", "logo-svg": b"<svg"}
        for resource, start in kinds.items():
            answer = server.ask("GET", resources[resource])
            assert answer.content.startswith(start)
            assert "no-store" not in answer.headers.get("cache-control", "")


def test_answers_of_the_api_are_not_stored(server, kernel):
    for path in ("api", "api/kernels", "api/sessions", "api/kernelspecs", "api/kernels/1-2-3-4-5"):
        assert server.ask("GET", f"{ROOT}/{path}").headers["cache-control"] == "no-store", path


def test_environment_of_a_client_reaches_its_kernels(server):
    env = {"KERNEL_USERNAME": "ada", "OTHER": "x", "JPY_SESSION_NAME": "/b/with env.ipynb"}
    model = server.ask("POST", KERNELS, json={"env": env}).json()
    code = "import os; [os.environ.get(name) for name in ('KERNEL_USERNAME', 'OTHER')]"
    try:
        for _ in range(2):
            assert server.call(code, session=model["session"]).json() == ["ada", None]
            server.ask("POST", f"{KERNELS}/{model['id']}/restart")
    finally:
        server.ask("DELETE", f"{KERNELS}/{model['id']}")


def test_kernel_name_python_is_the_native_kernel(server):
    spec = server.ask("GET", f"{ROOT}/api/kernelspecs/python").json()
    assert spec["spec"] == server.ask("GET", f"{ROOT}/api/kernelspecs/python3").json()["spec"]
    model = server.ask("POST", KERNELS, json={"name": "python"}).json()
    assert model["name"] == "python3"
    assert server.call("6 * 7", session=model["session"]).text == "42"
    server.ask("DELETE", f"{KERNELS}/{model['id']}")


def test_session_is_listed_as_a_kernel_and_as_a_jupyter_session(server, kernel, session):
    model = server.ask("GET", f"{KERNELS}/{kernel}").json()
    assert (model["name"], model["execution_state"], model["session"]) == ("owt", "idle", session)
    sessions = server.ask("GET", f"{ROOT}/api/sessions").json()
    [listed] = [item for item in sessions if item["name"] == session]
    assert (listed["path"], listed["type"], listed["kernel"]["id"]) == (session, "console", kernel)
    assert server.ask("GET", f"{ROOT}/api/sessions/{listed['id']}").json() == listed


def test_kernels_of_the_pool_are_not_listed(server):
    assert server.call("1").text == "1"
    names = {model["session"] for model in server.ask("GET", KERNELS).json()}
    assert None not in names


def test_started_kernel_is_a_session(server):
    model = server.ask("POST", KERNELS, json={"name": "owt", "path": "a/My first.ipynb"}).json()
    assert server.session("My-first")["state"] == "idle"
    again = server.ask("POST", KERNELS, json={"env": {"JPY_SESSION_NAME": "/b/My first.ipynb"}}).json()
    assert again["session"] == "My-first-2"
    for kernel in (model, again):
        assert server.ask("DELETE", f"{KERNELS}/{kernel['id']}").status_code == 204
    assert server.ask("GET", "/_owt/sessions/My-first").status_code == 404


def test_jupyter_session_keeps_its_path_and_name(server):
    request = {"path": "x/story.ipynb", "name": "story.ipynb", "type": "notebook", "kernel": {"name": "owt"}}
    created = server.ask("POST", f"{ROOT}/api/sessions", json=request).json()
    assert (created["kernel"]["session"], created["notebook"]["path"]) == ("story", "x/story.ipynb")
    assert server.ask("POST", f"{ROOT}/api/sessions", json=request).json()["id"] == created["id"]
    own = f"{ROOT}/api/sessions/{created['id']}"
    assert server.ask("PATCH", own, json={"path": "y.ipynb"}).json()["path"] == "y.ipynb"
    assert server.ask("DELETE", own).status_code == 204
    assert server.ask("GET", own).status_code == 404
    assert server.ask("GET", "/_owt/sessions/story").status_code == 404


def test_attached_kernel_can_be_deleted_without_ending_the_session(server, kernel, session):
    attached = server.ask("POST", KERNELS, json={"name": f"owt-session.{session}"}).json()
    assert attached["session"] == session
    assert attached["id"] != kernel
    for path in ("api/kernels", "api/sessions"):
        models = [model.get("kernel", model) for model in server.ask("GET", f"{ROOT}/{path}").json()]
        assert [model["id"] for model in models if model["session"] == session] == [attached["id"]]
    with ChannelsClient(server, attached["id"]) as notebook:
        assert notebook.run("print(x)") == "41\n"
    assert server.ask("DELETE", f"{KERNELS}/{attached['id']}").status_code == 204
    assert server.call("x", session=session).text == "41"


def test_kernelspec_of_an_ended_session_creates_it_again(server, session):
    created = server.ask("POST", KERNELS, json={"name": f"owt-session.{session}"})
    assert (created.status_code, created.json()["session"]) == (201, session)
    assert server.session(session)["state"] == "idle"


def test_restart_keeps_the_kernel_id_and_clears_variables(server, kernel, session):
    pid = server.session(session)["pid"]
    assert server.ask("POST", f"{KERNELS}/{kernel}/restart").json()["id"] == kernel
    assert server.session(session)["pid"] != pid
    assert server.call("'x' in state", session=session).text == "False"


def test_interrupt_ends_a_cell_and_the_queued_call_follows(server, kernel, session, tmp_path):
    gate = Gate(tmp_path)
    with ChannelsClient(server, kernel) as notebook:
        id = notebook.execute(f"open({str(gate)!r}).read()\nwhile True: pass")
        gate.reached()
        call = threading.Thread(target=server.call, args=("y = x + 1",), kwargs={"session": session})
        call.start()
        wait_until(lambda: server.session(session)["runs"])
        gate.open()
        assert server.ask("POST", f"{KERNELS}/{kernel}/interrupt").status_code == 204
        seen = notebook.until(lambda message: is_idle(message, id))
        assert [item["content"]["ename"] for item in seen if item["msg_type"] == "error"] == [
            "KeyboardInterrupt"
        ]
        call.join()
    assert server.call("y", session=session).text == "42"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "not JSON"),
        (b"[1]", 400, "must be a JSON object"),
        (b'{"name": ' + b"[" * 100_000, 400, "not JSON"),
        (b'{"name": 5}', 400, "name: must be text"),
        (b'{"name": "nothing"}', 400, "no such kernelspec"),
        (b'{"kernel_id": "x"}', 400, "must look like a UUID"),
        (b'{"env": ["KERNEL_A"]}', 400, "env must be a JSON object"),
    ],
)
def test_invalid_kernel_request_gets_an_error_in_jupyters_form(server, body, status, message):
    answer = server.ask("POST", KERNELS, content=body)
    assert answer.status_code == status
    assert message in answer.json()["message"]


def test_kernel_id_in_use_is_a_conflict(server, kernel):
    answer = server.ask("POST", KERNELS, json={"kernel_id": kernel})
    assert (answer.status_code, answer.json()["message"]) == (409, f"Kernel already exists: {kernel}")


def test_unknown_kernels_sessions_and_resources_are_404(server, session, kernel):
    for method, path in (
        ("GET", "api/kernels/1-2-3-4-5"),
        ("DELETE", "api/kernels/1-2-3-4-5"),
        ("POST", "api/kernels/1-2-3-4-5/interrupt"),
        ("POST", "api/kernels/1-2-3-4-5/restart"),
        ("GET", "api/kernels/1-2-3-4-5/channels"),
        ("GET", "api/sessions/1-2-3-4-5"),
        ("GET", "kernelspecs/owt-session.nothing/logo-64x64.png"),
        ("GET", f"kernelspecs/owt-session.{session}/nothing.png"),
    ):
        answer = server.ask(method, f"{ROOT}/{path}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "Not Found"), path


@pytest.mark.parametrize("id", ["é", "x" * 256])
def test_invalid_session_id_is_refused(server, kernel, id):
    answer = server.ask("GET", f"{KERNELS}/{kernel}/channels", params={"session_id": id})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:owt:bad-request")
    assert answer.json()["message"].startswith("session_id: must have at most 255 characters")


def test_limit_of_sessions_is_an_error_in_jupyters_form():
    with LiveServer("--max-sessions", "1") as server:
        assert server.ask("POST", KERNELS, json={"name": "owt"}).status_code == 201
        notebook = {"path": "n.ipynb", "type": "notebook", "kernel": {"name": "owt"}}
        for answer in (
            server.ask("POST", KERNELS, json={"name": "owt"}),
            server.ask("POST", f"{ROOT}/api/sessions", json=notebook),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "--max-sessions 1" in answer.json()["message"]


def test_missing_packages_get_501_with_the_command_to_install(tmp_path):
    # The interpreter of the server does not find the package.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'jupyter_server' else find(name, *more)\n"
    )
    variables = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    with LiveServer(*NO_KERNELS, env=variables) as server:
        answer = server.ask("GET", KERNELS)
        assert answer.status_code == 501
        assert "pip install 'owt-server[notebook]'" in answer.text


def test_jupyter_server_is_loaded_with_the_first_request():
    with LiveServer(*NO_KERNELS) as server:
        def loaded() -> str:
            return "".join(region.path for region in psutil.Process(server.pid).memory_maps())

        server.ask("GET", "/_owt/health")
        # A dependency of jupyter_server with a library of its own.
        assert "markupsafe" not in loaded()
        assert server.ask("GET", KERNELS).json() == []
        assert "markupsafe" in loaded()


# The WebSocket -------------------------------------------------------------------------------------


def test_cells_and_calls_share_the_namespace(server, session, notebook):
    assert notebook.run("x += 1; print(x)") == "42\n"
    assert server.call("x", session=session).text == "42"


def test_call_is_mirrored_with_its_output(server, session, notebook):
    notebook.run("")
    code = "def run():\n    print('from the call')\n    display({'text/plain': 'shown'}, raw=True)\n    1 / 0"
    run = server.call("from IPython.display import display\n" + code, session=session).headers["owt-run"]
    # The reply to the empty cell, on another channel, may still follow.
    messages = notebook.until(lambda message: is_idle(message, run))
    seen = [item for item in messages if item["parent_header"].get("msg_id") == run]
    assert [about(item) for item in seen] == [
        ("status", "busy"), ("execute_input", None), ("stream", None), ("display_data", None),
        ("error", None), ("status", "idle"),
    ]
    assert all(item["metadata"]["owt"] == {"run": run} for item in seen)
    assert seen[1]["content"]["code"].endswith(code)
    assert seen[2]["content"] == {"name": "stdout", "text": "from the call\n"}
    assert seen[3]["content"]["data"] == {"text/plain": "shown"}
    assert seen[4]["content"]["ename"] == "ZeroDivisionError"


def test_notebook_attached_during_a_call_receives_the_rest(server, session, kernel, tmp_path):
    gate = Gate(tmp_path)
    code = "def run(path):\n    yield open(path).read()\n    print('late')"
    fields = {"session": session, "kwargs": json.dumps({"path": str(gate)})}
    call = threading.Thread(target=server.call, args=(code,), kwargs=fields)
    call.start()
    gate.reached()
    run = server.session(session)["current_run"]
    with ChannelsClient(server, kernel) as notebook:
        # The state at the beginning; as all messages on IOPub it has a parent with a type.
        [*_, first] = notebook.until(lambda message: message["msg_type"] == "status")
        assert (state(first), first["parent_header"]["msg_type"]) == ("busy", "kernel_info_request")
        gate.open()
        seen = notebook.until(lambda message: is_idle(message, run))
        assert [item["msg_type"] for item in seen if item["msg_type"] not in ("status", "iopub_welcome")] == [
            "execute_input", "stream",
        ]
    call.join()


def test_death_of_a_kernel_reaches_the_notebook_and_the_caller(server, session, notebook):
    notebook.run("")
    answer = server.call("import os; os.kill(os.getpid(), 9)", session=session)
    assert answer.status_code == 502
    notebook.until(lambda message: state(message) == "restarting")
    assert notebook.run("print('x' in globals())") == "False\n"


def test_notebook_continues_with_the_next_kernel_after_a_cell_killed_it(server, notebook):
    notebook.execute("import os; os.kill(os.getpid(), 9)")
    notebook.until(lambda message: state(message) == "restarting")
    assert notebook.run("print('again')") == "again\n"


def test_crash_report_of_a_cell_reaches_the_notebook_as_its_stderr(server, notebook):
    cell = notebook.execute("import ctypes\nctypes.string_at(0)")
    seen = notebook.until(lambda message: state(message) == "restarting")
    [report] = [item for item in seen if item["msg_type"] == "stream"]
    assert report["content"]["name"] == "stderr"
    assert report["content"]["text"].startswith("Fatal Python error: Segmentation fault")
    assert report["parent_header"]["msg_id"] == cell


@pytest.mark.parametrize("path", [f"{KERNELS}/{{kernel}}/restart", "/_owt/sessions/{session}/restart"])
def test_restart_on_request_is_shown_as_a_start(server, session, kernel, notebook, path):
    # JupyterLab reports the state `restarting` as a crash.
    notebook.run("")
    assert server.ask("POST", path.format(kernel=kernel, session=session)).status_code == 200
    id = notebook.execute("print('x' in globals())")
    states = [state(message) for message in notebook.until(lambda message: is_idle(message, id))]
    assert "starting" in states
    assert "restarting" not in states
    server.call("import os; os.kill(os.getpid(), 9)", session=session)
    notebook.until(lambda message: state(message) == "restarting")


ASKING = """
import builtins, getpass
names = []
for ask in (input, getpass.getpass, input):
    try:
        ask('? ')
    except EOFError as error:
        names.append(str(error))
"""


def test_prompt_ends_when_the_client_that_was_asked_disconnects(server, session, kernel):
    with ChannelsClient(server, kernel) as notebook:
        notebook.execute(ASKING)
        notebook.until(lambda message: message["msg_type"] == "input_request")
    assert server.call("names", session=session).json() == ["", "", ""]


def test_cell_whose_client_has_gone_cannot_ask(server, session, kernel, tmp_path):
    gate = Gate(tmp_path)
    with ChannelsClient(server, kernel) as notebook:
        notebook.execute(f"open({str(gate)!r}).read()\n{ASKING}")
        gate.reached()
    wait_until(lambda: not server.ask("GET", f"{KERNELS}/{kernel}").json()["connections"])
    gate.open()
    assert len(server.call("names", session=session).json()) == 3


def test_client_that_comes_back_is_asked(server, session, kernel, tmp_path):
    gate = Gate(tmp_path)
    with ChannelsClient(server, kernel) as notebook:
        notebook.execute(f"open({str(gate)!r}).read()\nname = input()")
        gate.reached()
    with ChannelsClient(server, kernel, session=notebook.session) as again:
        again.until(lambda message: message["msg_type"] == "status")
        gate.open()
        again.until(lambda message: message["msg_type"] == "input_request")
        again.send("input_reply", {"status": "ok", "value": "here"}, channel="stdin")
        assert server.call("name", session=session).text == "here"


def test_prompt_follows_a_client_whose_earlier_connection_is_still_open(server, session, kernel):
    with ChannelsClient(server, kernel) as silent:
        silent.execute("name = input('who? ')")
        silent.until(lambda message: message["msg_type"] == "input_request")
        # The network has failed: neither side has seen the end of the connection.
        with ChannelsClient(server, kernel, session=silent.session) as again:
            prompt = again.until(lambda message: message["msg_type"] == "input_request")[-1]
            assert prompt["content"]["prompt"] == "who? "
            again.send("input_reply", {"status": "ok", "value": "me"}, channel="stdin")
            again.until(lambda message: message["msg_type"] == "execute_reply")
            assert server.call("name", session=session).text == "me"


def test_client_that_was_answered_may_disconnect(server, session, kernel):
    with ChannelsClient(server, kernel) as notebook, ChannelsClient(server, kernel) as other:
        notebook.execute("first = input()")
        notebook.until(lambda message: message["msg_type"] == "input_request")
        notebook.send("input_reply", {"status": "ok", "value": "one"}, channel="stdin")
        notebook.until(lambda message: message["msg_type"] == "execute_reply")
        other.execute("second = input()")
        other.until(lambda message: message["msg_type"] == "input_request")
        notebook.socket.close()
        other.send("input_reply", {"status": "ok", "value": "two"}, channel="stdin")
        assert server.call("[first, second]", session=session).json() == ["one", "two"]


def test_end_of_the_session_is_a_dead_kernel(server, session, notebook):
    notebook.run("")
    server.ask("DELETE", f"/_owt/sessions/{session}")
    notebook.until(lambda message: state(message) == "dead")
    assert notebook.read() is None


def test_server_stops_with_a_notebook_attached():
    with LiveServer() as server:
        server.call("x = 1", session="s")
        with ChannelsClient(server, kernel_of(server, "s")) as notebook:
            assert notebook.run("print(x)") == "1\n"
            assert server.stop(signal.SIGTERM) == 0
            notebook.until(lambda message: state(message) == "dead")


def test_server_stops_without_an_error_while_a_notebook_waits_for_its_kernel():
    with LiveServer() as server:
        pid = int(server.call("import os\nos.getpid()", session="s").text)
        os.kill(pid, signal.SIGSTOP)
        with ChannelsClient(server, kernel_of(server, "s")):
            assert server.stop(signal.SIGTERM) == 0
        assert "exception was never retrieved" not in server.log()


def test_invalid_text_closes_only_the_websocket(server, session, kernel):
    with ChannelsClient(server, kernel) as notebook:
        notebook.socket.send("no message")
        with pytest.raises(AssertionError, match="the connection ended"):
            notebook.until(lambda message: False)
    assert server.call("x", session=session).text == "41"


@pytest.mark.parametrize("protocol", [None, "v1.kernel.websocket.jupyter.org"])
def test_invalid_frame_closes_only_the_websocket(server, session, kernel, protocol):
    with ChannelsClient(server, kernel, protocol=protocol) as notebook:
        # In both protocols the first bytes are the number of offsets.
        notebook.socket.send_binary(b"\x7frubbish" * 3)
        assert notebook.is_closed()
    assert server.call("x", session=session).text == "41"


def test_message_for_iopub_closes_the_websocket(server, notebook):
    notebook.send("kernel_info_request", {}, channel="iopub")
    assert notebook.is_closed()


def test_message_without_a_channel_is_for_shell_and_not_logged(server, notebook):
    header = {"msg_id": "m", "msg_type": "execute_request", "session": notebook.session, "version": "5.3"}
    content = {"code": "print('sesame' + 'street')"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    notebook.socket.send(json.dumps(message))
    seen = notebook.until(lambda message: is_idle(message, "m"))
    assert "sesamestreet\n" in [item["content"].get("text") for item in seen]
    assert "'street'" not in server.log()


def test_cell_counts_as_use_of_the_session(server, session, notebook, tmp_path):
    before = server.session(session)["last_used"]
    gate = Gate(tmp_path)
    id = notebook.execute(f"open({str(gate)!r}).read()")
    gate.reached()
    assert server.session(session)["state"] == "busy"
    gate.open()
    notebook.until(lambda message: is_idle(message, id))
    wait_until(lambda: server.session(session)["state"] == "idle")
    assert server.session(session)["last_used"] > before


# Access control ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded():
    with LiveServer("--token", TOKEN, "--base-url", "/owt") as server:
        yield server


def test_rest_api_has_owts_access_control(guarded):
    assert guarded.ask("GET", KERNELS).status_code == 401
    for scheme in ("Bearer", "token"):
        headers = {"Authorization": f"{scheme} {TOKEN}"}
        assert guarded.ask("GET", KERNELS, headers=headers).status_code == 200
    headers |= {"Sec-Fetch-Site": "cross-site"}
    assert guarded.ask("GET", KERNELS, headers=headers).status_code == 403


def test_websocket_requires_a_token_and_the_servers_origin(guarded):
    known = {"Authorization": f"token {TOKEN}"}
    guarded.ask("PUT", "/_owt/sessions/s", headers=known)
    kernels = guarded.ask("GET", KERNELS, headers=known).json()
    for headers, status in (
        ({}, 401),
        ({**known, "Origin": "https://evil.example"}, 403),
        ({**known, "host": "evil.example"}, 403),
    ):
        with pytest.raises(WebSocketBadStatusException) as refused:
            ChannelsClient(guarded, kernels[0]["id"], **headers)
        assert refused.value.status_code == status
    with ChannelsClient(guarded, kernels[0]["id"], **known) as notebook:
        assert notebook.run("print(6 * 7)") == "42\n"


def test_gateway_is_below_the_base_url(guarded):
    headers = {"Authorization": f"token {TOKEN}"}
    created = guarded.ask("POST", KERNELS, headers=headers)
    assert created.headers["location"] == f"/owt{KERNELS}/{created.json()['id']}"


def test_gateway_is_served_on_a_unix_socket_with_a_limit_of_bodies(tmp_path):
    with LiveServer(*NO_KERNELS, "--unix-socket", str(tmp_path / "s"), "--max-body", "1KiB") as server:
        assert server.ask("GET", KERNELS).json() == []
        answer: httpx.Response = server.ask("POST", KERNELS, content=b'{"name": "' + b"x" * 2000 + b'"}')
        assert answer.status_code == 413
        assert "--max-body" in answer.json()["message"]
