"""The output of a kernel that dies: all that was written before, in the events and in the failure."""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from owt.testing import Gate, wait_until
from owt.wire.sse import Decoder

pytestmark = pytest.mark.usefixtures("bystander")

PRINTS = "    print('1'); print('2'); print('3', end='')\n"
# Of two pipes, it is not known which was written first.
LINES = PRINTS + "    print()\n"

DEATHS = {
    "os._exit": (PRINTS + "    os._exit(9)", "1\n2\n3", ""),
    "many-lines": (
        "    for number in range(100): print(number)\n    os._exit(9)",
        "".join(f"{number}\n" for number in range(100)), "",
    ),
    "SIGKILL": (PRINTS + "    os.kill(os.getpid(), 9)", "1\n2\n3", ""),
    "abort": (PRINTS + "    os.abort()", "1\n2\n3", "Fatal Python error: Aborted"),
    "segmentation-fault": (
        PRINTS + "    ctypes.string_at(0)", "1\n2\n3", "Fatal Python error: Segmentation fault",
    ),
    "descriptors": (
        LINES + "    os.write(1, b'4\\n'); os.write(2, b'error\\n')\n    os._exit(9)",
        "1\n2\n3\n4\n", "error\n",
    ),
    "child-process": (
        LINES + "    os.system('echo 4; echo error >&2')\n    os._exit(9)", "1\n2\n3\n4\n", "error\n",
    ),
    "stderr": (
        PRINTS + "    print('error', file=sys.stderr)\n    os._exit(9)", "1\n2\n3", "error\n",
    ),
    "thread": (
        PRINTS + "    threading.Thread(target=os._exit, args=(9,)).start()\n    time.sleep(60)",
        "1\n2\n3", "",
    ),
}
if sys.version_info < (3, 12):
    DEATHS["native-stack"] = (
        PRINTS + "    sys.setrecursionlimit(10**8)\n    class Deep:\n"
        "        def __repr__(self): return repr(self)\n    repr(Deep())",
        "1\n2\n3", "Fatal Python error: Segmentation fault",
    )
IMPORTS = "import ctypes, os, sys, threading, time\n"


def texts(answer):
    """Return the text of stdout and of stderr, and the failure, in an event stream."""
    text = {"stdout": "", "stderr": ""}
    failure = {}
    for event in Decoder().feed(answer.content):
        if event.event in text:
            text[event.event] += event.data
        elif event.event == "error":
            failure = json.loads(event.data)
    return text["stdout"], text["stderr"], failure


@pytest.mark.parametrize("kind", DEATHS)
def test_all_that_was_written_before_the_death_arrives(server, session, kind):
    body, stdout, stderr = DEATHS[kind]
    answer = server.call(f"{IMPORTS}def run():\n{body}", session=session, stream="sse")
    out, err, failure = texts(answer)
    assert out == stdout
    assert err.startswith(stderr)
    assert failure["status"] == 502
    assert failure["detail"].startswith("the kernel ")
    # The failure repeats the last lines, for callers who get no events.
    assert all(line in failure["detail"] for line in (out + err).splitlines()[-10:])


def test_a_crash_report_names_the_line_of_the_adaptor(server, session):
    code = "import ctypes\ndef crash():\n    ctypes.string_at(0)\ndef run(): crash()"
    answer = server.call(code, session=session)
    assert answer.status_code == 502
    assert "crashed with SIGSEGV (a fault in native code); its last output:\n" in answer.text
    assert "Fatal Python error: Segmentation fault" in answer.text
    assert ", line 3 in crash\n" in answer.text


def test_a_detached_run_keeps_the_output_of_its_death(server, session):
    run = server.call(f"{IMPORTS}def run():\n{PRINTS}    os._exit(9)", session=session, detach="true")
    path = f"/_owt/runs/{run.headers['owt-run']}"
    ended = wait_until(lambda: (facts := server.ask("GET", path).json())["ended"] and facts)
    assert ended["stdout"] == "1\n2\n3"
    assert "its last output:\n1\n2\n3" in ended["failure"]["detail"]


def test_concurrent_runs_get_their_own_text_and_the_report_of_the_death(server, session, tmp_path):
    gate = Gate(tmp_path)
    wait = f"def run():\n    print('ada 1')\n    print('ada 2')\n    open({str(gate)!r}).read()"
    crash = f"{IMPORTS}def run():\n    print('bob 1')\n    print('bob 2')\n    ctypes.string_at(0)"
    server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": 2})
    fields = {"session": session, "stream": "sse"}
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(server.call, wait, **fields)
        gate.reached()
        crashed = server.call(crash, **fields)
        for answer, name in ((waiting.result(), "ada"), (crashed, "bob")):
            out, err, failure = texts(answer)
            assert out == f"{name} 1\n{name} 2\n"
            assert "Fatal Python error: Segmentation fault" in err
            assert failure["status"] == 502


def test_text_that_a_stuck_kernel_could_not_send_arrives_when_it_is_killed(server, session, tmp_path):
    # None of these calls releases the interpreter's lock, so that no other thread sends what waits.
    code = (
        "import ctypes, re\n"
        "create = ctypes.PyDLL(None).creat\n"
        "def run(path):\n"
        "    try:\n"
        "        print('1')\n"
        "        print('2')\n"
        "        create(path.encode(), 0o600)\n"
        "    finally:\n"
        "        re.match('(a+)+b', 'a' * 40)\n"
    )
    mark = tmp_path / "printed"
    fields = {"session": session, "stream": "sse", "kwargs": repr({"path": str(mark)})}
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, code, **fields)
        wait_until(mark.exists)
        server.ask("POST", f"/_owt/sessions/{session}/interrupt")
        out, _, failure = texts(call.result())
    assert out == "1\n2\n"
    assert failure["status"] == 499


def test_the_log_has_the_report_of_a_kernel_that_crashed_without_a_call(server, session):
    server.call("1", session=session)
    os.kill(server.session(session)["pid"], signal.SIGSEGV)
    wait_until(lambda: server.session(session)["restarts"] == 1)
    assert "Segmentation fault\n" in server.log()
