"""Calls that close or flood stdout and stderr, or leave threads and processes that write to them."""

import os
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from owt.testing import Gate, wait_until
from owt.wire.sse import Decoder

pytestmark = pytest.mark.usefixtures("bystander")

MIB = 1 << 20
EVERY_WAY = (
    "import os, subprocess, sys\n"
    "def run():\n"
    "    print('printed')\n"
    "    os.write(1, b'written\\n')\n"
    "    subprocess.run(['echo', 'echoed'])\n"
    "    print('printed', file=sys.stderr)\n"
    "    os.write(2, b'written\\n')\n"
    "    os.system('echo echoed >&2')\n"
)
ALL = ["echoed", "printed", "written"]


def events(server, code, **fields):
    answer = server.call(code, stream="sse", **fields)
    return Decoder().feed(answer.content)


def lines(received, name):
    """Return the sorted lines of one stream; pipes keep no order between them."""
    return sorted("".join(event.data for event in received if event.event == name).split())


CLOSING = {
    "close": "sys.stdout.close(); sys.stderr.close()",
    "descriptors": "os.close(1); os.close(2)",
    "all-descriptors": "os.closerange(0, 3)",
    "None": "sys.stdout = sys.stderr = None",
    "deleted": "del sys.stdout, sys.stderr",
    "detached": "sys.stdout.close(); sys.stdout = None; os.close(1)",
}


@pytest.mark.parametrize("kind", CLOSING)
def test_closing_stdout_affects_no_other_call(server, session, kind):
    server.call("x = 1", session=session)
    answer = server.call(f"import os, sys\ndef run():\n    {CLOSING[kind]}\n    return 'ok'", session=session)
    assert (answer.status_code, answer.text) == (200, "ok")
    for _ in range(2):
        received = events(server, EVERY_WAY, session=session)
        assert lines(received, "stdout") == ALL
        assert lines(received, "stderr") == ALL
        assert received[-1].event == "done"
    assert server.call("x", session=session).text == "1"
    assert server.session(session)["restarts"] == 0


def test_closing_stdout_affects_no_overlapping_call(server, session):
    server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": 3}).raise_for_status()
    for closing in CLOSING.values():
        answer = server.call(f"import os, sys\ndef run():\n    {closing}\n    return 'ok'", session=session)
        assert answer.text == "ok"
        code = "import os\ndef run():\n    print('printed')\n    return os.write(1, b'x')"
        received = events(server, code, session=session)
        assert lines(received, "stdout") == ["printed"]
        assert received[-2].data == "1"


FLOOD = "def run():\n    for _ in range(100_000): print('~' * 999)\n    return 'end'"


def memory(server, session):
    """Return the resident bytes of the frontend and of the session's kernel."""
    pids = server.pid, server.session(session)["pid"]
    return [psutil.Process(pid).memory_info().rss for pid in pids]


def test_a_flood_of_prints_arrives_without_filling_memory(server, session):
    server.call("1", session=session)
    before = memory(server, session)
    peak = before
    arrived, tail = 0, b""
    fields = {"code": FLOOD, "session": session, "stream": "sse"}
    with httpx.stream("POST", server.url, data=fields, timeout=60, trust_env=False) as answer:
        for number, data in enumerate(answer.iter_raw()):
            arrived += data.count(b"~")
            tail = (tail + data)[-200:]
            if number % 50 == 0:
                peak = list(map(max, peak, memory(server, session)))
    assert arrived == 99_900_000
    assert b"\ndata: end\n\nevent: done\n" in tail
    # The window, the journal of 8 MiB, and memory that the allocators keep.
    assert [end - begin < 64 * MIB for begin, end in zip(before, peak, strict=True)] == [True, True]


def test_a_call_that_floods_stdout_gets_its_plain_response(server, session):
    assert server.call(FLOOD, session=session).text == "end"


def test_a_flood_from_a_child_process_arrives(server, session):
    code = "import os\ndef run(): return os.system(f'yes {\"~\" * 99} | head -c 20000000')"
    received = events(server, code, session=session)
    assert sum(event.data.count("~") for event in received if event.event == "stdout") == 19_800_000
    assert received[-2].data == "0"


def test_a_thread_left_by_a_call_prints_into_no_other_call(server, session, tmp_path):
    gate, done = Gate(tmp_path), tmp_path / "done"
    code = (
        "import threading\n"
        "def run(path, done):\n"
        "    def work():\n"
        "        print('first')\n"
        "        open(path).read()\n"
        "        for _ in range(2000): print('left behind')\n"
        "        open(done, 'w').close()\n"
        "    threading.Thread(target=work).start()\n"
        "    state.thread = threading.enumerate()[-1]\n"
        "    while not state.thread.is_alive(): pass\n"
    )
    kwargs = repr({"path": str(gate), "done": str(done)})
    server.call(code, session=session, kwargs=kwargs)
    gate.reached()
    waits = (
        "import os, time\n"
        "def run(done):\n"
        "    while not os.path.exists(done):\n"
        "        print('next')\n"
        "        time.sleep(0.001)\n"
    )
    with ThreadPoolExecutor() as threads:
        call = threads.submit(events, server, waits, session=session, kwargs=repr({"done": str(done)}))
        wait_until(lambda: server.session(session)["state"] == "busy")
        gate.open()
        received = call.result()
    assert set(lines(received, "stdout")) == {"next"}
    assert received[-1].event == "done"


def test_a_thread_pool_prints_into_the_call_that_gives_it_work(server, session):
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(2)\n"
        "def run(n): return list(pool.map(print, [n, n]))\n"
    )
    for n in range(3):
        # Two prints at once may share a line.
        received = lines(events(server, code, session=session, kwargs=repr({"n": n})), "stdout")
        assert "".join(received) == f"{n}{n}"


def test_a_process_left_by_a_call_writes_into_no_other_call_and_ends_too(server, session, tmp_path):
    gate, done = Gate(tmp_path), tmp_path / "done"
    code = (
        "import subprocess\n"
        "def run(path, done):\n"
        "    script = 'cat $0; for n in $(seq 500); do echo left; echo left >&2; done; : >$1; sleep 1000'\n"
        "    return subprocess.Popen(['sh', '-c', script, path, done]).pid\n"
    )
    pid = int(server.call(code, session=session, kwargs=repr({"path": str(gate), "done": str(done)})).text)
    gate.reached()
    waits = (
        "import os, time\n"
        "def run(done):\n"
        "    while not os.path.exists(done):\n"
        "        os.write(1, b'next\\n')\n"
        "        time.sleep(0.001)\n"
    )
    with ThreadPoolExecutor() as threads:
        call = threads.submit(events, server, waits, session=session, kwargs=repr({"done": str(done)}))
        wait_until(lambda: server.session(session)["state"] == "busy")
        gate.open()
        received = call.result()
    assert set(lines(received, "stdout")) == {"next"}
    assert lines(received, "stderr") == []
    os.kill(pid, 0)
    server.ask("DELETE", f"/_owt/sessions/{session}")
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
