"""Kernels are real Jupyter kernels, of any Python kernelspec; broken kernelspecs fail at once."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from jupyter_client.blocking import BlockingKernelClient

from owt.testing import Gate, LiveServer, wait_until
from owt.wire.sse import Decoder

WAIT = "def run(path): return open(path).read()"

BROKEN = {
    "exits": [sys.executable, "-c", "raise SystemExit(3)"],
    "exits-well": [sys.executable, "-c", ""],
    "killed": [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"],
    "missing": ["/nonexistent/python", "-f", "{connection_file}"],
    "directory": ["/tmp"],
    "no-argv": [],
    "complains": [sys.executable, "-m", "owt.kernel", "--no-such-option=1", "-f"],
    "without-owt": [sys.executable, "-c", "import sys; sys.modules['owt'] = None; sys.argv[1:] = "
                    "['-f', r'{connection_file}']; from ipykernel.kernelapp import main; main()"],
    "old-python": [sys.executable, "-c", "import sys; sys.modules['owt'] = None; sys.argv[1:] = "
                   "['-f', r'{connection_file}']; from ipykernel.ipkernel import IPythonKernel; "
                   "IPythonKernel.language_info['version'] = '3.8.18'; "
                   "from ipykernel.kernelapp import main; main()"],
    "without-input": [
        "sh", "-c", f"exec {sys.executable} -m owt.kernel -f $0 </dev/null", "{connection_file}"
    ],
    "stock-without-input": [
        "sh", "-c", f"exec {sys.executable} -m ipykernel_launcher -f $0 </dev/null", "{connection_file}"
    ],
}

# Like `conda run`: a parent process that starts the kernel and closes inherited descriptors.
WRAPPER = [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"]
WRAPPED = {
    "wrapped": [*WRAPPER, sys.executable, "-m", "owt.kernel", "-f", "{connection_file}"],
    "stock-wrapped": [*WRAPPER, sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
}


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """Server whose kernelspecs include broken ones."""
    folder = tmp_path_factory.mktemp("jupyter")
    for name, argv in (BROKEN | WRAPPED).items():
        (folder / "kernels" / name).mkdir(parents=True)
        spec = {"argv": argv, "display_name": name, "language": "python"}
        (folder / "kernels" / name / "kernel.json").write_text(json.dumps(spec))
    (folder / "kernels" / "rubbish").mkdir()
    (folder / "kernels" / "rubbish" / "kernel.json").write_text("{")
    (folder / "kernels" / "configured").mkdir()
    (folder / "kernels" / "configured" / "kernel.json").write_text(json.dumps({
        "argv": ["python", "-m", "owt.kernel", "-f", "{connection_file}"],
        "display_name": "configured", "language": "python", "env": {"PYTHONHASHSEED": "0", "COLOUR": "red"},
    }))
    with LiveServer("--preload", "colorsys", env={"JUPYTER_PATH": str(folder)}) as server:
        yield server


@pytest.fixture
def stock(specs):
    """Session with the stock IPython kernel."""
    yield "stock"
    specs.ask("DELETE", "/_owt/sessions/stock")


def test_a_stock_kernel_serves_calls(specs, stock):
    assert specs.call("x = 41", session=stock, kernel="python3").text == ""
    assert specs.call("x + 1", session=stock).text == "42"
    assert specs.call("def run(): return state.x", session=stock).text == "41"
    assert specs.call("files = !echo one\nfiles[0]", session=stock).text == "one"
    assert specs.call("import sys\nasync def run(): return 'ipykernel_launcher' in ' '.join(sys.orig_argv)",
                      session=stock).text == "True"
    assert specs.session(stock)["kernel"] == "python3"
    request = "get_ipython().kernel.control_handlers['create_subshell_request'].__qualname__"
    assert specs.call(request, session=stock).text == "OwtKernel.create_subshell_request"
    answer = specs.call(
        "def run():\n    print('one')\n    display({'text/plain': 'shown'}, raw=True)\n    yield 'two'\n"
        "    print('three')\n    yield 'four'",
        session=stock, stream="sse",
    )
    events = [(event.event, event.data) for event in Decoder().feed(answer.content)]
    assert events[:-1] == [
        ("stdout", "one\n"), ("display", events[1][1]), ("message", "two"), ("stdout", "three\n"),
        ("message", "four"),
    ]
    assert json.loads(events[1][1]) == {"text/plain": "shown"}
    assert events[-1][0] == "done"


def test_a_stock_kernel_is_interrupted_timed_out_and_replaced(specs, stock):
    specs.call("x = 1", session=stock, kernel="python3")
    assert specs.call("while True: pass", session=stock, timeout=0.2).status_code == 504
    assert specs.call("x", session=stock).text == "1"
    answer = specs.call("import os\nos._exit(3)", session=stock)
    assert answer.status_code == 502
    assert "exited with status 3" in answer.text
    assert specs.call("'x' in state", session=stock).text == "False"


def test_a_crash_report_of_a_stock_kernel_is_in_the_failure(specs, stock):
    code = "import ctypes\ndef run():\n    print('before')\n    ctypes.string_at(0)"
    answer = specs.call(code, session=stock, kernel="python3")
    assert answer.status_code == 502
    assert "before\n" in answer.text
    assert "Fatal Python error: Segmentation fault" in answer.text
    assert ", line 4 in run\n" in answer.text


def test_a_stock_kernel_overlaps_calls(specs):
    specs.ask("PUT", "/_owt/sessions/wide", json={"kernel": "python3", "concurrency": 3})
    specs.call("import threading\nbarrier = threading.Barrier(3)", session="wide")
    with ThreadPoolExecutor(3) as threads:
        code = "def run(): state.barrier.wait(10); return 'met'"
        calls = [threads.submit(specs.call, code, session="wide") for _ in range(3)]
        assert [call.result().text for call in calls] == ["met"] * 3
    specs.ask("DELETE", "/_owt/sessions/wide")


@pytest.mark.parametrize("spec", WRAPPED)
def test_a_kernel_may_be_started_by_a_wrapper(specs, spec):
    assert specs.call("6 * 7", session=spec, kernel=spec).text == "42"
    answer = specs.call("import os\nos._exit(3)", session=spec)
    assert answer.status_code == 502
    assert "exited with status 3" in answer.text
    assert specs.call("import sys\nsys.stdin.read()", session=spec).text == ""
    specs.ask("DELETE", f"/_owt/sessions/{spec}")


def test_the_environment_of_a_kernelspec_is_applied(specs):
    code = "import os, sys\ndef run(): return [os.environ['COLOUR'], sys.flags.hash_randomization]"
    assert specs.call(code, session="configured", kernel="configured").json() == ["red", 0]
    specs.ask("DELETE", "/_owt/sessions/configured")


@pytest.mark.parametrize(
    ("kernel", "env"),
    [("owt", "{}"), ("owt", '{"OMP_NUM_THREADS": "2"}'), ("configured", "{}"), ("python3", "{}")],
    ids=["forked", "spawned", "of-another-template", "stock"],
)
def test_every_kernel_has_its_modules_no_arguments_and_its_own_pip(specs, kernel, env):
    # A line of a shell, as `!pip` is.
    code = "import os, sys\n[path] = !command -v pip\n[path, sys.argv, 'colorsys' in sys.modules]"
    own = os.path.join(os.path.dirname(sys.executable), "pip")
    try:
        assert specs.call(code, session="any", kernel=kernel, env=env).json() == [own, [""], True]
    finally:
        specs.ask("DELETE", "/_owt/sessions/any")


def test_another_kernelspec_than_the_sessions_is_refused(specs, stock):
    specs.call("1", session=stock, kernel="python3")
    answer = specs.call("1", session=stock, kernel="owt")
    assert answer.status_code == 400
    assert "kernel" in answer.text
    assert "python3" in answer.text


def test_an_unknown_kernelspec_is_refused_with_the_known_names(specs):
    answer = specs.call("1", session="unknown", kernel="nosuch")
    assert answer.status_code == 400
    assert "'nosuch'" in answer.text
    assert "python3" in answer.text
    assert specs.ask("GET", "/_owt/sessions/unknown").status_code == 404


@pytest.mark.parametrize(
    ("kernel", "status", "reason"),
    [
        ("exits", 502, "exited with status 3 before it was ready"),
        ("exits-well", 502, "owt kernel check exits-well"),
        ("exits-well", 502, "exited with status 0 before it was ready"),
        ("killed", 502, "killed by SIGKILL"),
        ("missing", 502, "/nonexistent/python"),
        ("directory", 502, "Permission denied"),
        ("complains", 502, "exited with status"),
        ("without-owt", 502, "owt can be imported"),
        ("old-python", 502, "is Python 3.8.18, and kernels need Python 3.9 or newer; make an environment"),
        ("without-input", 502, "exited with status 1 before it was ready"),
        ("stock-without-input", 502, "must pass its standard input on to the kernel"),
        ("no-argv", 400, "argv"),
        ("rubbish", 400, "kernel.json"),
    ],
)
def test_a_broken_kernelspec_fails_at_once_with_the_reason(specs, kernel, status, reason):
    created = specs.ask("PUT", "/_owt/sessions/broken", json={"kernel": kernel})
    called = specs.call("1", session="broken", kernel=kernel)
    for answer in (created, called):
        assert answer.status_code == status
        assert reason in answer.text
        # The message of a start that timed out.
        assert "was not ready" not in answer.text
    # No session keeps the name.
    assert specs.call("'fine'", session="broken").text == "fine"
    specs.ask("DELETE", "/_owt/sessions/broken")


def test_a_server_with_a_broken_default_kernelspec_fails_calls_and_continues(tmp_path):
    (tmp_path / "kernels" / "exits").mkdir(parents=True)
    spec = {"argv": BROKEN["exits"], "display_name": "exits", "language": "python"}
    (tmp_path / "kernels" / "exits" / "kernel.json").write_text(json.dumps(spec))
    with LiveServer("--kernel", "exits", env={"JUPYTER_PATH": str(tmp_path)}) as server:
        for _ in range(2):
            answer = server.call("1")
            assert answer.status_code == 502
            assert "exited with status 3" in answer.text
        # The server responds, and reports that it cannot run calls.
        assert server.ask("GET", "/_owt/health/live").status_code == 200
        ready = server.ask("GET", "/_owt/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "no-kernel")
        assert "exited with status 3" in ready.json()["reason"]


# Notebooks and consoles attach ---------------------------------------------------------------------


@pytest.fixture
def notebook(server, session):
    """Jupyter client that is attached to the session's kernel."""
    server.call("x = 41", session=session)
    client = BlockingKernelClient(connection_file=server.session(session)["connection_file"])
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=20)
    yield client
    client.stop_channels()


def output(client, code):
    printed = []
    reply = client.execute_interactive(
        code, timeout=20, output_hook=lambda message: printed.append(message["content"])
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(part.get("text") or part.get("data", {}).get("text/plain", "") for part in printed)


def test_kernel_info_has_a_field_owt(server, session, notebook):
    info = notebook.kernel_info(reply=True, timeout=20)["content"]
    assert info["implementation"] == "ipython"
    assert info["owt"]["session"] == session
    assert info["owt"]["url"] == server.url
    assert info["owt"]["protocol"] >= 1


def test_cells_and_calls_share_the_namespace(server, session, notebook):
    assert output(notebook, "print(x)") == "41\n"
    assert output(notebook, "y = x + 1\ny") == "42"
    assert server.call("y", session=session).text == "42"
    output(notebook, "def greet(name): return f'Hi {name}'")
    assert server.call(session=session, fn_name="greet", kwargs='{"name": "owt"}').text == "Hi owt"
    server.call("def run(): state.model = 'loaded'", session=session)
    assert output(notebook, "model") == "'loaded'"


def test_a_call_waits_for_a_cell(server, session, notebook, tmp_path):
    gate = Gate(tmp_path)
    notebook.execute(f"order = ['cell']\nopen({str(gate)!r}).read()\norder.append('end of cell')")
    gate.reached()
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, "state.order.append('call')", session=session)
        wait_until(lambda: server.session(session)["runs"])
        gate.open()
        assert call.result().status_code == 200
    assert server.call("order", session=session).json() == ["cell", "end of cell", "call"]


def test_a_cell_waits_for_a_call(server, session, notebook, tmp_path):
    gate = Gate(tmp_path)
    server.call("order = []", session=session)
    with ThreadPoolExecutor() as threads:
        code = "def run(path):\n    state.order.append('call')\n    open(path).read()\n" \
               "    state.order.append('end of call')"
        call = threads.submit(server.call, code, session=session, kwargs=repr({"path": str(gate)}))
        gate.reached()
        request = notebook.execute("order.append('cell')")
        gate.open()
        assert call.result().status_code == 200
        while True:
            reply = notebook.get_shell_msg(timeout=20)
            if reply["parent_header"]["msg_id"] == request:
                break
    assert server.call("order", session=session).json() == ["call", "end of call", "cell"]


def test_an_async_call_and_a_cell_do_not_overlap(server, session, notebook, tmp_path):
    gate = Gate(tmp_path)
    code = "import asyncio\nasync def run(path):\n    state.order = ['call']\n    open(path).read()\n" \
           "    while 'go' not in state:\n        await asyncio.sleep(0.001)\n" \
           "    state.order.append('end of call')"
    fields = {"session": session, "timeout": 0.5, "kwargs": repr({"path": str(gate)})}
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, code, **fields)
        gate.reached()
        # The cell would end the loop of the call, but it waits for the end of the call.
        notebook.execute("go = 1; order.append('cell')")
        gate.open()
        assert call.result().status_code == 504
    wait_until(lambda: server.call("order", session=session).json() == ["call", "cell"])


def test_a_kernel_has_no_subshells(server, session, notebook):
    # Cells of subshells run in threads of their own, without the lock between cells and calls.
    assert notebook.kernel_info(reply=True, timeout=20)["content"]["supported_features"] == ["debugger"]
    notebook.control_channel.send(notebook.session.msg("create_subshell_request", {}))
    while (reply := notebook.get_control_msg(timeout=20))["msg_type"] != "create_subshell_reply":
        pass
    assert reply["content"]["status"] == "error"
    assert "no subshells" in reply["content"]["evalue"]


def test_a_client_that_is_gone_is_not_asked(server, session):
    server.call("x = 1", session=session)
    console = BlockingKernelClient(connection_file=server.session(session)["connection_file"])
    console.load_connection_file()
    # To the kernel it is the same: it has no connection to ask on.
    console.start_channels(stdin=False)
    try:
        console.wait_for_ready(timeout=20)
        console.execute("try: input()\nexcept EOFError as error: why = str(error)", allow_stdin=True)
        assert console.get_shell_msg(timeout=20)["content"]["status"] == "ok"
    finally:
        console.stop_channels()
    assert server.call("why", session=session).text == "the client that runs this cell has disconnected"


def history(client, **options):
    reply = client.history(reply=True, timeout=20, **{"output": False, "raw": True, **options})
    return [entry[2] for entry in reply["content"]["history"]]


def test_history_has_the_cells_of_the_kernel(server, session, notebook):
    for cell in ("first = 1", "second = 2", "first = 1", "7 * 6"):
        output(notebook, cell)
    assert history(notebook, hist_access_type="tail", n=3) == ["second = 2", "first = 1", "7 * 6"]
    assert history(notebook, hist_access_type="tail", n=1, output=True) == [["7 * 6", "42"]]
    assert history(notebook, hist_access_type="search", pattern="f*") == ["first = 1", "first = 1"]
    assert history(notebook, hist_access_type="search", pattern="*=*", unique=True) == [
        "second = 2", "first = 1",
    ]
    assert history(notebook, hist_access_type="range", start=1, stop=3) == ["first = 1", "second = 2"]


def test_a_comm_of_a_call_reaches_the_notebook(server, session, notebook):
    # A widget consists of such messages.
    code = "def run():\n    import comm\n    comm.create_comm('t', data={'x': 1}, buffers=[b'abc'])"
    run = server.call(code, session=session).headers["owt-run"]
    while (message := notebook.get_iopub_msg(timeout=20))["msg_type"] != "comm_open":
        pass
    assert message["content"]["data"] == {"x": 1}
    assert bytes(message["buffers"][0]) == b"abc"
    assert message["parent_header"]["msg_id"] == run


def test_progress_as_text_has_no_warning(server):
    # The warning of tqdm.auto without ipywidgets.
    code = "import warnings; warnings.warn('IProgress not found. Please update jupyter and ipywidgets.')"
    assert "event: stderr" not in server.ask(
        "POST", "/", data={"code": code}, headers={"Accept": "text/event-stream"}
    ).text


def test_a_notebook_can_set_breakpoints_in_a_session(server, session, notebook):
    def ask(command, **arguments):
        message = notebook.session.msg(
            "debug_request", {"type": "request", "seq": 1, "command": command, "arguments": arguments}
        )
        notebook.control_channel.send(message)
        while (reply := notebook.get_control_msg(timeout=20))["parent_header"]["msg_id"] != message["msg_id"]:
            pass
        return reply["content"]

    assert ask("initialize", clientID="test", adapterID="")["success"]
    assert ask("attach")["success"]
    code = "def double(x):\n    y = 2 * x\n    return y"
    source = ask("dumpCell", code=code)["body"]["sourcePath"]
    [point] = ask("setBreakpoints", source={"path": source}, breakpoints=[{"line": 2}])["body"]["breakpoints"]
    assert point["verified"]
    assert ask("disconnect", restart=False, terminateDebuggee=False)["success"]
    assert server.call("1 + 1", session=session).text == "2"


def test_an_interrupt_of_the_session_ends_a_cell(server, session, notebook, tmp_path):
    gate = Gate(tmp_path)
    request = notebook.execute(f"open({str(gate)!r}).read()\nwhile True: pass")
    gate.open()
    assert server.ask("POST", f"/_owt/sessions/{session}/interrupt").json()["interrupted"] is True
    while True:
        reply = notebook.get_shell_msg(timeout=20)
        if reply["parent_header"]["msg_id"] == request:
            break
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert server.call("x", session=session).text == "41"


def test_cells_print_to_the_notebook_and_calls_to_their_responses(server, session, notebook):
    id = server.call("def run(): print('from the call')", session=session).headers["owt-run"]
    assert server.ask("GET", f"/_owt/runs/{id}").json()["stdout"] == "from the call\n"
    assert output(notebook, "print('from the cell')") == "from the cell\n"


def test_a_notebook_receives_a_calls_output_marked_with_its_run(server, session, notebook):
    id = server.call("def run(): print('from the call')", session=session).headers["owt-run"]
    seen = []
    while not seen or seen[-1]["content"].get("execution_state") != "idle":
        message = notebook.get_iopub_msg(timeout=20)
        if message["parent_header"].get("msg_id") == id:
            seen.append(message)
    kinds = [message["msg_type"] for message in seen]
    assert kinds == ["status", "execute_input", "stream", "status"]
    assert all(message["metadata"]["owt"]["run"] == id for message in seen)
    assert seen[2]["content"]["text"] == "from the call\n"


def test_attaching_and_detaching_does_not_disturb_a_call(server, session, tmp_path):
    gate = Gate(tmp_path)
    code = "def run(path=None):\n    if path:\n        open(path).read()\n    for n in range(300):\n" \
           "        print(n)\n        yield {'n': n}\n"
    server.call("x = 1", session=session)
    file = server.session(session)["connection_file"]

    def attach():
        client = BlockingKernelClient(connection_file=file)
        client.load_connection_file()
        client.start_channels()
        return client

    with ThreadPoolExecutor() as threads:
        waits = {"kwargs": repr({"path": str(gate)})}
        calls = [
            threads.submit(server.call, code, session=session, stream="sse", **fields)
            for fields in (waits, {}, {})
        ]
        gate.reached()
        client = attach()
        # The kernel answers this request while a call runs.
        client.control_channel.send(client.session.msg("kernel_info_request"))
        client.get_control_msg(timeout=20)
        gate.open()
        client.stop_channels()
        while not all(call.done() for call in calls):
            client = attach()
            client.wait_for_ready(timeout=20)
            client.stop_channels()
        texts = [call.result().text for call in calls]
    for text in texts:
        events = list(Decoder().feed(text.encode()))
        numbers = [json.loads(event.data)["n"] for event in events if event.event == "message"]
        assert numbers == list(range(300))
        printed = "".join(event.data for event in events if event.event == "stdout")
        assert printed.split() == [str(n) for n in range(300)]


def test_a_notebook_that_does_not_read_delays_no_call(server, session, notebook):
    # More messages than ZeroMQ's queues hold: excess messages are dropped, for the notebook only.
    code = "def run():\n    for n in range(5000):\n        yield n\n        print(n, flush=True)\n"
    answer = server.call(code, session=session, stream="sse")
    events = list(Decoder().feed(answer.text.encode()))
    assert [int(event.data) for event in events if event.event == "message"] == list(range(5000))
    assert events[-1].event == "done"
    assert server.call("x", session=session).text == "41"


def test_a_shutdown_by_a_notebook_counts_as_a_death(server, session, notebook):
    notebook.shutdown()
    wait_until(lambda: server.session(session)["restarts"] == 1)
    assert server.call("'x' in state", session=session).text == "False"


NOTE_THE_ORDER = """
def run(path):
    kernel = get_ipython().kernel
    thread = kernel.iopub_thread.thread
    join = thread.join

    def noted(timeout=None):
        open(path, "w").write(f"control lives: {kernel.control_thread.is_alive()}")
        join(timeout)

    thread.join = noted
"""


@pytest.mark.parametrize("kernel", ["owt", "python3"])
def test_the_control_thread_ends_before_the_iopub_thread(
    server, session, kernel, tmp_path
):
    # In the other order, the first thread would sometimes wait for the other for 20 s or forever.
    path = tmp_path / "order"
    server.call(NOTE_THE_ORDER, kwargs=json.dumps({"path": str(path)}), session=session, kernel=kernel)
    client = BlockingKernelClient(connection_file=server.session(session)["connection_file"])
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=20)
        client.shutdown()
        wait_until(lambda: server.session(session)["restarts"] == 1)
    finally:
        client.stop_channels()
    assert path.read_text() == "control lives: False"


def test_the_kernelspec_works_for_any_jupyter_program():
    code = (
        "from jupyter_client.manager import start_new_kernel\n"
        "manager, client = start_new_kernel(kernel_name='owt', startup_timeout=30)\n"
        "reply = client.execute_interactive('print(6 * 7)', timeout=30)\n"
        "info = client.kernel_info(reply=True, timeout=30)['content']\n"
        "print(reply['content']['status'], 'owt' in info)\n"
        "names = 'from owt import request\\n@endpoint(\"/x\")\\ndef f(): return state.y, pipe'\n"
        "for code in (names, 'y = 8; print(f()[0])', 'print(request.path)'):\n"
        "    content = client.execute_interactive(code, timeout=30)['content']\n"
        "print(content['evalue'])\n"
        "client.stop_channels(); manager.shutdown_kernel(now=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    # Cells have the injected names; `endpoint` marks functions, and there is no request.
    assert done.stdout.splitlines() == [
        "42", "ok False", "8", "there is no request: this code was not started by a call to owt",
    ]
