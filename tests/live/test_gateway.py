"""The Jupyter gateway: its REST API, its WebSocket, and who may use them."""

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


@pytest.fixture
def kernel(server, session):
    """The kernel id of a session that has x = 41."""
    server.call("x = 41", session=session)
    return kernel_of(server, session)


@pytest.fixture
def notebook(server, kernel):
    with ChannelsClient(server, kernel) as client:
        yield client


# REST ----------------------------------------------------------------------------------------------


def test_it_looks_like_a_jupyter_server(server):
    assert set(server.ask("GET", f"{ROOT}/api").json()) == {"version"}
    assert set(server.ask("GET", f"{ROOT}/api/status").json()) == {
        "started", "last_activity", "kernels", "connections",
    }
    assert server.ask("GET", f"{ROOT}/api/me").json()["identity"]["username"] == "owt"


def test_what_is_not_a_kernels_is_not_there(server):
    answer = server.ask("GET", f"{ROOT}/api/contents")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert "/api/contents" in answer.json()["message"]


def test_the_kernelspecs_are_those_of_this_machine_and_one_for_each_session(server, kernel, session):
    document = server.ask("GET", f"{ROOT}/api/kernelspecs").json()
    assert document["default"] == "owt"
    assert document["kernelspecs"]["owt"]["spec"]["language"] == "python"
    live = document["kernelspecs"][f"owt-session.{session}"]
    assert live["spec"]["display_name"] == f"{session} (owt session)"
    assert server.ask("GET", f"{ROOT}/api/kernelspecs/owt-session.{session}").json() == live
    assert server.ask("GET", f"{ROOT}/api/kernelspecs/nothing").status_code == 404


def test_a_session_is_a_kernel_and_a_session_of_jupyters(server, kernel, session):
    model = server.ask("GET", f"{KERNELS}/{kernel}").json()
    assert (model["name"], model["execution_state"], model["session"]) == ("owt", "idle", session)
    [found] = [each for each in server.ask("GET", f"{ROOT}/api/sessions").json() if each["name"] == session]
    assert (found["path"], found["type"], found["kernel"]["id"]) == (session, "console", kernel)
    assert server.ask("GET", f"{ROOT}/api/sessions/{found['id']}").json() == found


def test_kernels_of_the_pool_are_not_listed(server):
    assert server.call("1").text == "1"
    names = {each["session"] for each in server.ask("GET", KERNELS).json()}
    assert None not in names


def test_a_kernel_that_is_started_is_a_session(server):
    model = server.ask("POST", KERNELS, json={"name": "owt", "path": "a/My first.ipynb"}).json()
    assert server.session("My-first")["state"] == "idle"
    again = server.ask("POST", KERNELS, json={"env": {"JPY_SESSION_NAME": "/b/My first.ipynb"}}).json()
    assert again["session"] == "My-first-2"
    for each in (model, again):
        assert server.ask("DELETE", f"{KERNELS}/{each['id']}").status_code == 204
    assert server.ask("GET", "/_owt/sessions/My-first").status_code == 404


def test_a_notebooks_session_keeps_its_path_and_name(server):
    wanted = {"path": "x/story.ipynb", "name": "story.ipynb", "type": "notebook", "kernel": {"name": "owt"}}
    made = server.ask("POST", f"{ROOT}/api/sessions", json=wanted).json()
    assert (made["kernel"]["session"], made["notebook"]["path"]) == ("story", "x/story.ipynb")
    assert server.ask("POST", f"{ROOT}/api/sessions", json=wanted).json()["id"] == made["id"]
    own = f"{ROOT}/api/sessions/{made['id']}"
    assert server.ask("PATCH", own, json={"path": "y.ipynb"}).json()["path"] == "y.ipynb"
    assert server.ask("DELETE", own).status_code == 204
    assert server.ask("GET", own).status_code == 404
    assert server.ask("GET", "/_owt/sessions/story").status_code == 404


def test_a_guest_leaves_and_the_session_lives_on(server, kernel, session):
    guest = server.ask("POST", KERNELS, json={"name": f"owt-session.{session}"}).json()
    assert guest["session"] == session
    assert guest["id"] != kernel
    with ChannelsClient(server, guest["id"]) as notebook:
        assert notebook.run("print(x)") == "41\n"
    assert server.ask("DELETE", f"{KERNELS}/{guest['id']}").status_code == 204
    assert server.call("x", session=session).text == "41"


def test_the_kernelspec_of_a_session_that_has_ended_makes_it_again(server, session):
    made = server.ask("POST", KERNELS, json={"name": f"owt-session.{session}"})
    assert (made.status_code, made.json()["session"]) == (201, session)
    assert server.session(session)["state"] == "idle"


def test_a_restart_keeps_the_kernels_id_and_not_its_variables(server, kernel, session):
    pid = server.session(session)["pid"]
    assert server.ask("POST", f"{KERNELS}/{kernel}/restart").json()["id"] == kernel
    assert server.session(session)["pid"] != pid
    assert server.call("'x' in state", session=session).text == "False"


def test_an_interrupt_ends_a_cell_before_the_calls_behind_it(server, kernel, session, tmp_path):
    gate = Gate(tmp_path)
    with ChannelsClient(server, kernel) as notebook:
        id = notebook.execute(f"open({str(gate)!r}).read()\nwhile True: pass")
        gate.reached()
        call = threading.Thread(target=server.call, args=("y = x + 1",), kwargs={"session": session})
        call.start()
        wait_until(lambda: server.session(session)["runs"])
        gate.open()
        assert server.ask("POST", f"{KERNELS}/{kernel}/interrupt").status_code == 204
        seen = notebook.until(lambda each: is_idle(each, id))
        assert [each["content"]["ename"] for each in seen if each["msg_type"] == "error"] == [
            "KeyboardInterrupt"
        ]
        call.join()
    assert server.call("y", session=session).text == "42"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"[1]", 400, "must be a JSON object"),
        (b'{"name": ' + b"[" * 100_000, 400, "not JSON"),
        (b'{"name": 5}', 400, "name: must be text"),
        (b'{"name": "nothing"}', 400, "no such kernelspec"),
        (b'{"kernel_id": "x"}', 400, "must look like a UUID"),
    ],
)
def test_what_cannot_be_started_is_told_as_jupyter_tells_errors(server, body, status, words):
    answer = server.ask("POST", KERNELS, content=body)
    assert answer.status_code == status
    assert words in answer.json()["message"]


def test_a_kernel_that_is_there_already_is_a_conflict(server, kernel):
    answer = server.ask("POST", KERNELS, json={"kernel_id": kernel})
    assert (answer.status_code, answer.json()["message"]) == (409, f"Kernel already exists: {kernel}")


def test_what_there_is_not_is_a_404(server, session, kernel):
    for method, path in (
        ("GET", "api/kernels/1-2-3-4-5"),
        ("DELETE", "api/kernels/1-2-3-4-5"),
        ("POST", "api/kernels/1-2-3-4-5/interrupt"),
        ("POST", "api/kernels/1-2-3-4-5/restart"),
        ("GET", "api/kernels/1-2-3-4-5/channels"),
        ("GET", "api/sessions/1-2-3-4-5"),
        ("GET", f"kernelspecs/owt-session.{session}/logo-64x64.png"),
    ):
        answer = server.ask(method, f"{ROOT}/{path}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "Not Found"), path


@pytest.mark.parametrize("id", ["é", "x" * 256])
def test_a_session_id_that_cannot_be_is_refused(server, kernel, id):
    answer = server.ask("GET", f"{KERNELS}/{kernel}/channels", params={"session_id": id})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:owt:bad-request")
    assert answer.json()["message"].startswith("session_id: must have at most 255 characters")


def test_a_limit_is_told_as_jupyter_tells_errors():
    with LiveServer("--max-sessions", "1") as server:
        assert server.ask("POST", KERNELS, json={"name": "owt"}).status_code == 201
        notebook = {"path": "n.ipynb", "type": "notebook", "kernel": {"name": "owt"}}
        for answer in (
            server.ask("POST", KERNELS, json={"name": "owt"}),
            server.ask("POST", f"{ROOT}/api/sessions", json=notebook),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "--max-sessions 1" in answer.json()["message"]


def test_without_the_packages_the_gateway_says_what_to_install(tmp_path):
    # A package of this name that is no package hides the real one.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'jupyter_server' else find(name, *more)\n"
    )
    with LiveServer(env={"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}) as server:
        answer = server.ask("GET", KERNELS)
        assert answer.status_code == 501
        assert "pip install 'owt[notebook]'" in answer.text


def test_the_server_loads_jupyter_server_when_it_is_asked_for_and_ipython_never():
    with LiveServer() as server:
        def loaded() -> str:
            return "".join(each.path for each in psutil.Process(server.pid).memory_maps())

        server.ask("GET", "/_owt/health")
        # Of what it brings along, this is the part that is a library of its own.
        assert "markupsafe" not in loaded()
        assert server.ask("GET", KERNELS).json() == []
        assert "markupsafe" in loaded()


# The WebSocket -------------------------------------------------------------------------------------


def test_cells_and_calls_share_the_namespace(server, session, notebook):
    assert notebook.run("x += 1; print(x)") == "42\n"
    assert server.call("x", session=session).text == "42"


def test_a_call_is_seen_with_what_it_prints(server, session, notebook):
    notebook.run("")
    code = "def run():\n    print('from the call')\n    display({'text/plain': 'shown'}, raw=True)\n    1 / 0"
    run = server.call("from IPython.display import display\n" + code, session=session).headers["owt-run"]
    # The reply to the empty cell, on another channel, may come as late as now.
    messages = notebook.until(lambda each: is_idle(each, run))
    seen = [each for each in messages if each["parent_header"].get("msg_id") == run]
    assert [about(each) for each in seen] == [
        ("status", "busy"), ("execute_input", None), ("stream", None), ("display_data", None),
        ("error", None), ("status", "idle"),
    ]
    assert all(each["metadata"]["owt"] == {"run": run} for each in seen)
    assert seen[1]["content"]["code"].endswith(code)
    assert seen[2]["content"] == {"name": "stdout", "text": "from the call\n"}
    assert seen[3]["content"]["data"] == {"text/plain": "shown"}
    assert seen[4]["content"]["ename"] == "ZeroDivisionError"


def test_a_notebook_opens_while_a_call_runs_and_sees_the_rest(server, session, kernel, tmp_path):
    gate = Gate(tmp_path)
    code = "def run(path):\n    yield open(path).read()\n    print('late')"
    fields = {"session": session, "kwargs": json.dumps({"path": str(gate)})}
    call = threading.Thread(target=server.call, args=(code,), kwargs=fields)
    call.start()
    gate.reached()
    run = server.session(session)["current_run"]
    with ChannelsClient(server, kernel) as notebook:
        notebook.until(lambda each: state(each) == "busy" and not each["parent_header"])
        gate.open()
        seen = notebook.until(lambda each: is_idle(each, run))
        assert [each["msg_type"] for each in seen if each["msg_type"] not in ("status", "iopub_welcome")] == [
            "execute_input", "stream",
        ]
    call.join()


def test_a_kernels_death_is_told_in_the_notebook_and_to_the_caller(server, session, notebook):
    notebook.run("")
    answer = server.call("import os; os.kill(os.getpid(), 9)", session=session)
    assert answer.status_code == 502
    notebook.until(lambda each: state(each) == "restarting")
    assert notebook.run("print('x' in globals())") == "False\n"


def test_a_cell_that_ends_its_kernel_is_told_of_it(server, notebook):
    notebook.execute("import os; os.kill(os.getpid(), 9)")
    notebook.until(lambda each: state(each) == "restarting")
    assert notebook.run("print('again')") == "again\n"


def test_a_session_that_ends_is_a_dead_kernel(server, session, notebook):
    notebook.run("")
    server.ask("DELETE", f"/_owt/sessions/{session}")
    notebook.until(lambda each: state(each) == "dead")
    assert notebook.read() is None


def test_the_server_ends_with_a_notebook_open():
    with LiveServer() as server:
        server.call("x = 1", session="s")
        with ChannelsClient(server, kernel_of(server, "s")) as notebook:
            assert notebook.run("print(x)") == "1\n"
            assert server.stop(signal.SIGTERM) == 0
            notebook.until(lambda each: state(each) == "dead")


def test_what_is_no_message_ends_the_connection_and_nothing_else(server, session, kernel):
    with ChannelsClient(server, kernel) as notebook:
        notebook.socket.send("no message")
        with pytest.raises(AssertionError, match="the connection ended"):
            notebook.until(lambda each: False)
    assert server.call("x", session=session).text == "41"


@pytest.mark.parametrize("protocol", [None, "v1.kernel.websocket.jupyter.org"])
def test_rubbish_ends_the_connection_and_holds_up_nobody(server, session, kernel, protocol):
    with ChannelsClient(server, kernel, protocol=protocol) as notebook:
        # In either protocol its first bytes are the number of those that follow.
        notebook.socket.send_binary(b"\x7frubbish" * 3)
        assert notebook.ended()
    assert server.call("x", session=session).text == "41"


def test_what_is_for_iopub_is_no_request(server, notebook):
    notebook.send("kernel_info_request", {}, channel="iopub")
    assert notebook.ended()


def test_the_log_does_not_show_a_message_that_names_no_channel(server, notebook):
    header = {"msg_id": "m", "msg_type": "execute_request", "session": notebook.session, "version": "5.3"}
    content = {"code": "print('sesame' + 'street')"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    notebook.socket.send(json.dumps(message))
    seen = notebook.until(lambda each: is_idle(each, "m"))
    assert "sesamestreet\n" in [each["content"].get("text") for each in seen]
    assert "I owt.jupyter: No channel specified, assuming shell: (a dict)" in server.log()
    assert "'street'" not in server.log()


def test_a_cell_makes_the_session_busy_and_used(server, session, notebook, tmp_path):
    before = server.session(session)["last_used"]
    gate = Gate(tmp_path)
    id = notebook.execute(f"open({str(gate)!r}).read()")
    gate.reached()
    assert server.session(session)["state"] == "busy"
    gate.open()
    notebook.until(lambda each: is_idle(each, id))
    wait_until(lambda: server.session(session)["state"] == "idle")
    assert server.session(session)["last_used"] > before


def test_a_client_that_reads_nothing_costs_the_server_little():
    amount, size = 250, 200_000
    with LiveServer("--window", "256KiB") as server:
        server.call("from IPython.display import display", session="s")
        kernel = kernel_of(server, "s")
        process = psutil.Process(server.pid)
        with ChannelsClient(server, kernel) as slow:
            slow.run("")
            before = process.memory_info().rss
            # A call that is not held up, whose displays go to nobody but the notebook.
            code = f"for n in range({amount}): display({{'text/plain': 'x' * {size}}}, raw=True)"
            assert server.call(code, session="s").status_code == 200
            with ChannelsClient(server, kernel) as other:
                # By now the kernel has sent all that it could.
                assert other.run("print('here')") == "here\n"
            # A hundred messages wait in the server, and the rest in the kernel.
            grown = process.memory_info().rss - before
            assert grown < (100 + 50) * size
            assert slow.socket.connected


# Who may use it ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded():
    with LiveServer("--token", TOKEN, "--base-url", "/owt") as server:
        yield server


def test_the_doors_are_owts(guarded):
    assert guarded.ask("GET", KERNELS).status_code == 401
    for scheme in ("Bearer", "token"):
        headers = {"Authorization": f"{scheme} {TOKEN}"}
        assert guarded.ask("GET", KERNELS, headers=headers).status_code == 200
    headers |= {"Sec-Fetch-Site": "cross-site"}
    assert guarded.ask("GET", KERNELS, headers=headers).status_code == 403


def test_a_websocket_wants_a_token_and_is_no_other_pages(guarded):
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


def test_it_lies_under_the_base_url(guarded):
    headers = {"Authorization": f"token {TOKEN}"}
    made = guarded.ask("POST", KERNELS, headers=headers)
    assert made.headers["location"] == f"/owt{KERNELS}/{made.json()['id']}"


def test_it_is_there_on_a_unix_socket(tmp_path):
    with LiveServer("--unix-socket", str(tmp_path / "s")) as server:
        assert server.ask("GET", KERNELS).json() == []


def test_a_body_has_the_limit_that_all_have():
    with LiveServer("--max-body", "1KiB") as server:
        answer: httpx.Response = server.ask("POST", KERNELS, content=b'{"name": "' + b"x" * 2000 + b'"}')
        assert answer.status_code == 413
        assert "--max-body" in answer.json()["message"]
