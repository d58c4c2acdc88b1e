"""The process of a kernel as user code finds it: streams, arguments, programs, events of cells."""

import os
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("statement", "stdout"),
    [
        ("sys.stdout.buffer.write('€\\n'.encode())", "€\n"),
        ("sys.stdout.buffer.write(b'\\xe2\\x82'); sys.stdout.buffer.write(b'\\xac')", "€"),
        ("sys.stdout.buffer.write(memoryview(b'ab')); print('c')", "abc\n"),
        ("print('in', sys.stdout.mode, sys.stdout.errors, sys.stdout.line_buffering)", "in w strict False\n"),
        ("sys.stdout.reconfigure(line_buffering=True); print(sys.stdout.line_buffering)", "True\n"),
        ("sys.stdout.reconfigure(encoding='utf-8', errors='replace', newline=None); print(1)", "1\n"),
        ("w = io.TextIOWrapper(sys.stdout.buffer); w.write('a'); del w; print('b')", "ab\n"),
        ("csv.writer(io.TextIOWrapper(sys.stdout.buffer, write_through=True)).writerow([1])", "1\r\n"),
        ("argparse.ArgumentParser().parse_args(); print(sys.argv)", "['']\n"),
        ("print(shutil.which('python'))", f"{Path(sys.executable).parent / 'python'}\n"),
    ],
)
def test_the_process_is_as_scripts_expect_it(server, session, statement, stdout):
    modules = "import argparse, csv, io, shutil, sys"
    code = f"{modules}\ndef run():\n    sys.stdout.reconfigure(line_buffering=False)\n    {statement}"
    answer = server.call(code, session=session)
    assert answer.status_code < 300, answer.text
    run = server.ask("GET", f"/_owt/runs/{answer.headers['owt-run']}").json()
    assert (run["stdout"], run["stderr"]) == (stdout, "")


def test_autoreload_works_for_calls(server, session, tmp_path):
    module = tmp_path / "owt_reloaded.py"
    module.write_text("def answer(): return 1\n")
    server.call("%load_ext autoreload\n%autoreload 2", session=session)
    server.call(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})", session=session)
    code = "import owt_reloaded\ndef run(): return owt_reloaded.answer()"
    assert server.call(code, session=session).text == "1"
    module.write_text("def answer(): return 2\n")
    os.utime(module, (2_000_000_000, 2_000_000_000))
    assert server.call(code, session=session).text == "2"


def test_calls_of_the_pool_leave_no_variables_and_no_directory_to_others(server):
    code = """
import os
def run():
    state = [os.environ.get("OWT_LEFT"), os.getcwd()]
    os.environ["OWT_LEFT"] = "x"
    os.chdir("/")
    return state
"""
    first = server.call(code).json()
    assert first[0] is None
    assert first[1] != "/"
    # A kernel of the pool that has loaded the code is preferred.
    assert server.call(code).json() == first


def test_calls_of_a_session_keep_their_changes(server, session):
    server.call("import os\ndef run():\n    os.environ['OWT_LEFT'] = 'x'\n    os.chdir('/')", session=session)
    look = "import os\ndef run(): return [os.environ['OWT_LEFT'], os.getcwd()]"
    assert server.call(look, session=session).json() == ["x", "/"]
