"""Child processes that user code forks, and that come back from it."""

import pytest
from channels_client import ChannelsClient, kernel_of

LEAVE = """import os, asyncio
def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
PARENT = "    return status(pid)\n"
WAIT = "    await asyncio.sleep(0)\n"


@pytest.fixture(params=["1", "2"], ids=["in turn", "overlapping"])
def concurrency(request):
    return request.param


@pytest.mark.parametrize(
    ("code", "exit_status"),
    [
        ("def run():\n    pid = os.fork()\n    if not pid: return 'child'\n" + PARENT, 0),
        ("def run():\n    pid = os.fork()\n    if not pid: raise SystemExit(3)\n" + PARENT, 3),
        ("def run():\n    pid = os.fork()\n    if not pid: 1 / 0\n" + PARENT, 1),
        ("async def run():\n    pid = os.fork()\n    if not pid: return 'child'\n" + PARENT, 0),
        ("async def run():\n" + WAIT + "    pid = os.fork()\n    if not pid: raise SystemExit(3)\n" + PARENT,
         3),
        ("def run():\n    pid = os.fork()\n    if not pid: yield 'child'\n    yield status(pid)\n", 0),
        ("def run():\n    pid = os.fork()\n    if not pid: return\n    yield status(pid)\n", 0),
        ("async def run():\n    pid = os.fork()\n    if not pid: return\n    yield status(pid)\n", 0),
        ("async def run():\n    asyncio.get_running_loop().call_soon(os.fork)\n" + WAIT + WAIT
         + "    return os.waitstatus_to_exitcode(os.wait()[1])\n", 0),
    ],
    ids=[
        "return", "exit", "raise", "async return", "async exit", "yield", "generator", "async generator",
        "callback",
    ],
)  # fmt: skip
def test_a_forked_child_ends_where_it_leaves_an_adaptor(server, session, concurrency, code, exit_status):
    kernel = server.call("__import__('os').getpid()", session=session, concurrency=concurrency).text
    answer = server.call(LEAVE + code, session=session)
    assert (answer.status_code, answer.text.strip()) == (200, str(exit_status))
    assert server.call("__import__('os').getpid()", session=session).text == kernel


@pytest.mark.parametrize(
    "code",
    [
        "import os; pid = os.fork()\nos.waitstatus_to_exitcode(os.wait()[1]) if pid else 5",
        "import os, asyncio; pid = os.fork()\nawait asyncio.sleep(0)\n"
        "os.waitstatus_to_exitcode(os.wait()[1]) if pid else 5",
        "__import__('os').fork() and __import__('os').wait()[1]",
    ],
    ids=["cell", "async cell", "expression"],
)
def test_a_forked_child_ends_where_it_leaves_a_cell(server, session, code):
    answer = server.call(code, session=session)
    assert (answer.status_code, answer.text) == (200, "0")


def test_a_forked_child_ends_where_it_leaves_a_cell_of_a_notebook(server, session):
    server.call("x = 1", session=session)
    ends = {"": "0", "    raise SystemExit(3)": "3", "    1 / 0": "1"}
    with ChannelsClient(server, kernel_of(server, session)) as notebook:
        for end, exit_status in ends.items():
            notebook.run(f"import os\npid = os.fork()\nif not pid:\n    pass\n{end}")
            # Not printed: the traceback of the child may arrive in between.
            notebook.run("status = os.waitstatus_to_exitcode(os.wait()[1])")
            assert server.call("status", session=session).text == exit_status
    assert server.call("x", session=session).text == "1"


def test_a_forked_child_ends_as_a_program(server, session):
    code = (
        "import atexit, os, threading\ndef run():\n    if os.fork() == 0:\n"
        "        atexit.register(print, 'at exit')\n"
        "        threading.Thread(target=print, args=('thread',)).start()\n"
        "        raise SystemExit('last words')\n"
        "    return os.waitstatus_to_exitcode(os.wait()[1])\n"
    )
    form = {"code": code, "session": session}
    events = server.ask("POST", "/", data=form, headers={"Accept": "text/event-stream"}).text
    assert all(f"data: {line}" in events for line in ("thread", "at exit", "last words", "1"))


def test_a_forked_child_cannot_send_displays(server, session):
    code = (
        "import os\ndef run():\n    from IPython.display import display\n    if os.fork() == 0: display(5)\n"
        "    return os.waitstatus_to_exitcode(os.wait()[1])\n"
    )
    assert server.call(code, session=session).text == "1"
