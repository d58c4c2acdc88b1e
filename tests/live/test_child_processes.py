"""Functions and objects of adaptors in other processes: spawn, fork servers, loky and plain subprocesses."""

import os

import psutil
import pytest

from owt.host.reaper import MARK, marked
from owt.testing import wait_until

SQUARES = """
import asyncio, multiprocessing, pickle, subprocess, sys
from concurrent.futures import ProcessPoolExecutor

class Number:
    def __init__(self, value):
        self.value = value

def square(number):
    return Number(number.value ** 2)

def boom(number):
    return 1 / 0  # here
"""
POOL = """
def run(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        return [number.value for number in pool.map(square, map(Number, range(4)))]
"""
ASYNC = """
async def run(method):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        work = asyncio.get_running_loop().run_in_executor
        return [(await work(executor, square, Number(number))).value for number in range(4)]
"""
GENERATOR = """
def run(method):
    yield "["
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        yield ",".join(str(number.value) for number in executor.map(square, map(Number, range(4))))
    yield "]"
"""
SUBPROCESS = """
def run(method):
    program = "import pickle, sys; function, values = pickle.load(sys.stdin.buffer); " \\
        "print([function(value).value for value in values])"
    numbers = pickle.dumps((square, [Number(number) for number in range(4)]))
    return subprocess.run([sys.executable, "-c", program], input=numbers, stdout=-1, check=True).stdout
"""
JOBLIB = """
from joblib import Parallel, delayed
def run(temp_folder):
    parallel = Parallel(n_jobs=2, temp_folder=temp_folder)
    return [number.value for number in parallel(delayed(square)(Number(n)) for n in range(4))]
def files():
    return sys.path[-1]
"""


@pytest.mark.parametrize(
    ("code", "method"),
    [
        (POOL, "spawn"),
        (ASYNC, "forkserver"),
        (GENERATOR, "spawn"),
        (SUBPROCESS, None),
    ],
    ids=["pool", "async executor", "generator", "subprocess"],
)
def test_other_processes_run_functions_of_an_adaptor(server, session, code, method):
    answer = server.call(SQUARES + code, session=session, kwargs=repr({"method": method}))
    assert (answer.status_code, answer.text.replace(" ", "").strip()) == (200, "[0,1,4,9]")


def test_a_traceback_of_another_process_names_the_adaptor_and_shows_its_line(server, session):
    code = POOL.replace("square", "boom")
    answer = server.call(SQUARES + code, session=session, kwargs=repr({"method": "spawn"}))
    assert answer.status_code == 500
    remote, own = answer.text.split("The above exception was the direct cause")
    frames = (remote, "boom", "return 1 / 0  # here"), (own, "run", "return [number.value")
    for trace, function, line in frames:
        [frame] = [part for part in trace.split('\n  File "') if part.startswith("<adaptor ")]
        assert f", in {function}\n    {line}" in frame


def test_an_endpoint_uses_other_processes(server, session):
    code = SQUARES + "@endpoint('/squares')" + POOL.replace("def run(method)", "def run(method: str)")
    defining = server.call(code, session=session, kwargs="{'method': 'fork'}")
    assert defining.status_code == 200
    answer = server.ask("GET", "/squares", params={"method": "spawn"})
    assert (answer.status_code, answer.text.strip()) == (200, "[0,1,4,9]")


def test_joblib_runs_functions_of_an_adaptor_in_processes_that_end_with_the_kernel(
    server, session, tmp_path
):
    code = SQUARES + JOBLIB
    mark = server.call(f"import os\nos.environ[{MARK!r}]").text
    folder = server.call(code, session=session, fn_name="files").text
    answer = server.call(code, session=session, kwargs=repr({"temp_folder": str(tmp_path)}))
    assert answer.json() == [0, 1, 4, 9]
    kernel = int(server.call("__import__('os').getpid()", session=session).text)
    processes = [pid for pid in marked(mark) if kernel in ancestors(pid)]
    assert len(processes) >= 2
    server.ask("DELETE", f"/_owt/sessions/{session}")
    wait_until(lambda: not any(map(psutil.pid_exists, processes)) and not os.path.exists(folder))


def ancestors(pid):
    return [process.pid for process in psutil.Process(pid).parents()]


def test_files_end_with_a_kernel_that_is_killed(server, session):
    code = "import os, signal, sys\ndef folder(): return sys.path[-1]\ndef run(): os.kill(0, signal.SIGKILL)"
    folder = server.call(code, session=session, fn_name="folder").text
    assert os.path.isdir(folder)
    assert server.call(code, session=session).status_code == 502
    wait_until(lambda: not os.path.exists(folder))
