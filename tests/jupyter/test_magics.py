"""The magics in a real kernel, with a real server."""

from __future__ import annotations

import base64
import os
import re
import signal
import threading
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import psutil
import pytest
from jupyter_kernel import Notebook, attach, notebook

from owt.testing import Gate, LiveServer, wait_until

WAV = """
import numpy as np
from owt.lib.encoding import wav
sound = wav(np.zeros(800, np.int16), 1000)
"""


@pytest.fixture(scope="module")
def shared(patient: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A kernel that has loaded the magics, on a server that ends no run because its reader left."""
    with notebook(tmp_path_factory.mktemp("notebook")) as shared:
        cell = shared(f"%load_ext owt\n%owt {patient.url} --session magics")
        assert re.fullmatch(
            rf"owt [\d.]+ at {patient.url}, session magics: new, its kernel starts with the first call\n",
            cell.stdout,
        )
        yield shared


@pytest.fixture
def run(shared: Notebook) -> Notebook:
    return shared


def value(run: Notebook) -> str:
    return run("_owt").value


def test_the_result_is_shown_and_kept(run):
    cell = run('%%owt name="owt" n={1 + 1}\ndef run(name, n):\n    return {name: n}')
    assert (cell.stdout, cell.stderr, cell.displays) == ('{"owt": 2}\n', "", [])
    assert value(run) == "{'owt': 2}"


def test_a_notebook_variable_is_an_argument(run):
    run("words = ['a', 'b']")
    assert run("%%owt words=$words\nlambda words: words[::-1]").stdout == '["b", "a"]\n'


def test_returned_bytes_are_bytes(run):
    assert run("%%owt\nb'\\x00\\xff' * 600").displays == [{"text/plain": "application/octet-stream, 1.2 kB"}]
    assert run("_owt == b'\\x00\\xff' * 600").value == "True"


def test_text_that_looks_like_base64_is_text(run):
    assert run("%%owt\n'abcd'").stdout == "abcd\n"
    assert value(run) == "'abcd'"


def test_printed_text_goes_to_the_same_stream(run):
    cell = run("%%owt\nimport sys\nprint('out')\nprint('err', file=sys.stderr)")
    assert (cell.stdout, cell.stderr) == ("out\n", "err\n")


def test_a_progress_bar_is_written_over_itself(run):
    # As tqdm does: frontends replace the line by the text after a CR.
    code = "import sys\nfor n in (10, 20):\n    print(f'\\r{n} %', end='', file=sys.stderr, flush=True)"
    assert run(f"%%owt\n{code}").stderr == "\r10 %\r20 %"


def test_stdout_and_stderr_keep_their_order_and_the_lines_of_each(run):
    code = "import sys\nfor n in (1, 2):\n    print(n, end=' ', file=sys.stderr)\n    print(n)"
    cell = run(f"%%owt\n{code}\n{{'n': n}}")
    contents = [message["content"] for message in cell.messages if message["msg_type"] == "stream"]
    parts = [[*part] for _, part in groupby(contents, lambda content: content["name"])]
    texts = ["".join(content["text"] for content in part) for part in parts]
    assert texts == ["1 ", "1\n", "2 ", '2\n{"n": 2}\n']


def test_a_table_is_displayed_as_html_and_text(run):
    [bundle] = run("%%owt\nimport pandas\npandas.DataFrame({'a': [1]})").displays
    assert "<table" in bundle["text/html"]
    assert bundle["text/plain"].split() == ["a", "0", "1"]


def test_a_figure_is_displayed_as_a_picture(run):
    code = "from matplotlib.figure import Figure\ndef run():\n    return Figure(figsize=(1, 1))"
    [bundle] = run(f"%%owt\n{code}").displays
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_bytes_of_a_picture_are_displayed(run):
    code = (
        "import io\nfrom PIL import Image\nfile = io.BytesIO()\nImage.new('RGB', (9, 9)).save(file, 'PNG')\n"
    )
    [bundle] = run(f"%%owt\n{code}file.getvalue(), {{'Content-Type': 'image/png'}}").displays
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_bytes_of_a_drawing_are_displayed(run):
    [bundle] = run("%%owt\nb'<svg/>', {'Content-Type': 'image/svg+xml'}").displays
    assert bundle == {"image/svg+xml": "<svg/>", "text/plain": "<svg/>"}


def test_a_long_object_is_indented(run):
    [bundle] = run("%%owt\n{'words': ['summat'] * 2, 'more': {'text': 'x' * 90, 'n': None}}").displays
    assert (
        bundle["text/plain"]
        == f"""{{
  "words": ["summat", "summat"],
  "more": {{
    "text": "{"x" * 90}",
    "n": null
  }}
}}"""
    )


def test_clear_output_removes_earlier_output(run):
    code = "from IPython.display import clear_output\nprint('a', end='')\nclear_output(wait=True)\n'b'"
    messages = [
        (message["msg_type"], message["content"].get("text", message["content"].get("wait")))
        for message in run(f"%%owt\n{code}").messages
        if message["msg_type"] in ("stream", "clear_output")
    ]
    assert messages == [("stream", "a"), ("clear_output", True), ("stream", "b\n")]


def test_a_display_is_updated_in_its_place(run):
    code = """
from IPython.display import display
def run():
    handle = display({"text/plain": "before"}, raw=True, display_id=True)
    handle.update({"text/plain": "after"}, raw=True)
"""
    cell = run(f"%%owt{code}")
    assert (cell.displays, cell.updates) == ([{"text/plain": "before"}], [{"text/plain": "after"}])


def test_a_display_is_updated_by_a_later_cell(run):
    first = run("%%owt\nfrom IPython.display import display\nshown = display('before', display_id=True)")
    then = run("%%owt\nshown.update('after')")
    displays = [message for message in (*first.messages, *then.messages) if "display" in message["msg_type"]]
    assert [display["msg_type"] for display in displays] == ["display_data", "update_display_data"]
    assert displays[0]["content"]["transient"] == displays[1]["content"]["transient"]


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("yield 'now'", "stream", "now"),
        ("print('now')", "stream", "now"),
        ("yield {'step': 1}", "stream", '{"step": 1}'),
        (WAV + "yield sound", "display_data", "<audio"),
    ],
    ids=["text", "print", "json", "audio"],
)
def test_output_is_shown_while_the_adaptor_runs(run, tmp_path, code, kind, text):
    gate = Gate(tmp_path)
    seen: list[str] = []

    def on_message(message: dict[str, Any]) -> None:
        if message["msg_type"] == kind and text in str(message["content"]):
            # Only this output opens the gate.
            seen.append(text)
            gate.open()

    body = "\n    ".join([*code.strip().splitlines(), f"open({str(gate)!r}).read()", "yield ''"])
    run(f"%%owt\ndef run():\n    {body}", on_message)
    assert seen == [text]


def test_each_chunk_of_sound_has_a_player_that_starts_the_next_one(run):
    code = "".join(f"    {line}\n" for line in WAV.strip().splitlines())
    cell = run(f"%%owt\ndef run():\n{code}    yield sound\n    yield sound")
    assert [bundle["text/plain"] for bundle in cell.displays] == ["audio/wav, 0.8 s, 1.6 kB"] * 2
    assert all('src="data:audio/wav;base64,UklGR' in bundle["text/html"] for bundle in cell.displays)


def test_an_adaptors_own_events_are_shown_by_their_names(run):
    stream = "'event: token\\ndata: a\\n\\ndata: b\\n\\n'"
    code = f"def run():\n    return {stream}, {{'Content-Type': 'text/event-stream'}}"
    assert run(f"%%owt\n{code}").stdout == "token: a\nb\n"
    assert value(run) == "[{'event': 'token', 'data': 'a'}, 'b']"


def test_an_error_status_is_shown(run):
    cell = run("%%owt\n'brewing', 418")
    assert (cell.stdout, cell.stderr) == ("brewing\n", "owt: the adaptor answered 418\n")


def test_option_quiet_shows_no_output(run):
    cell = run("%%owt -q\nprint('out')\n6 * 7")
    assert (cell.stdout, cell.stderr, cell.displays) == ("", "", [])
    assert value(run) == "42"


def test_a_failure_shows_the_remote_traceback_with_the_cells_lines(run):
    cell = run("%%owt\nimport json\n\ndef run():\n    yield 'a'\n    json.loads('{')")
    assert (cell.reply["status"], cell.reply["ename"]) == ("error", "RemoteError")
    assert cell.reply["evalue"].startswith("JSONDecodeError: Expecting property name")
    assert "Cell line 6, in run\n" in cell.traceback
    assert "---->   6     json.loads('{')" in cell.traceback
    assert re.search(r'File ".*/json/__init__.py", line \d+, in loads', cell.traceback)
    assert "clients.py" not in cell.traceback
    # The part that had arrived.
    assert value(run) == "'a'"


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("%%owt\ndef run(:", "RemoteError", "SyntaxError: cell line 2: "),
        ("%%owt a=$nothing\na", "CannotSend", "a: the notebook has no nothing"),
        ("%%owt --session a/b\n1", "RemoteError", "session: "),
        ("%%owt --timeout 0.1\nimport time\ntime.sleep(30)", "RemoteError", "ran longer than its timeout"),
        ("%owt http://127.0.0.1:1", "Unreachable", "no server answers at http://127.0.0.1:1"),
        ("%owt gopher://a", "ConfigError", "give a URL"),
        ("%owt stop", "CannotSend", "this notebook has started no server"),
    ],
)
def test_an_error_without_a_bug_is_one_message_without_frames(run, source, name, message):
    cell = run(source)
    assert cell.reply["status"] == "error"
    assert cell.traceback.startswith(f"{name}: ")
    assert message in cell.traceback
    assert "File" not in cell.traceback


def test_a_url_with_an_adaptors_path_is_refused(run, patient):
    lines = run(f"%owt {patient.url}/a/b").traceback.splitlines()
    assert lines[0].startswith("RemoteError: ")
    assert lines[1] == "%owt needs the server's own URL; /a/b is not its --base-url"


def test_interrupting_the_cell_cancels_the_run(run, patient, tmp_path):
    gate = Gate(tmp_path)

    def on_message(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            gate.reached()
            run.interrupt()

    cell = run(f"%%owt\nprint('waiting')\nopen({str(gate)!r}).read()", on_message)
    assert cell.reply["ename"] == "KeyboardInterrupt"
    match = re.search(r"the run (\w+) was cancelled", cell.traceback)
    assert match is not None
    document = wait_until(lambda: ended(patient, match[1]))
    assert (document["state"], document["failure"]["type"]) == ("failed", "cancelled")
    assert "clients.py" not in cell.traceback


def ended(server: LiveServer, run: str) -> dict[str, Any] | None:
    document = server.ask("GET", f"/_owt/runs/{run}").json()
    return document if document["ended"] else None


def test_a_cell_for_another_session_keeps_the_connection(run, patient):
    run("%%owt --session other\nhere = 1")
    assert run("%%owt\n'here' in globals()").stdout == "False\n"
    assert f"at {patient.url}, session magics: idle" in run("%owt").stdout


def test_a_cell_gives_a_new_session_an_environment(run, tmp_path):
    # A longer line would be shown as a display.
    cell = "import os\nos.environ['COLOUR'], os.path.basename(os.getcwd())"
    line = f"%%owt --session coloured --cwd {tmp_path} --env COLOUR="
    coloured = run(f'{line}"dark red"\n{cell}')
    assert coloured.reply["status"] == "ok", coloured.traceback
    assert coloured.stdout == f'["dark red", "{tmp_path.name}"]\n'
    assert "delete the session first" in run(f"{line}blue\n{cell}").traceback


def test_the_notebook_answers_questions_of_a_remote_cell(run):
    cell = run("%%owt\nname = input('Name? ')\nprint('hi', name)\nname * 2", answers=["Ada"])
    assert cell.reply["status"] == "ok", cell.traceback
    assert cell.stdout == "hi Ada\nAdaAda\n"
    secret = run("%%owt\nimport getpass\ngetpass.getpass('PIN? ')", answers=["4711"])
    assert secret.stdout == "4711\n"


def test_clients_and_commands_of_the_notebook_use_its_server(run, patient):
    assert run("from owt import Client\nClient().url").value == f"'{patient.url}/'"
    assert run('!curl -sS "$OWT_URL" -d code=1').stdout == "1"


def test_option_local_runs_in_the_notebooks_kernel(run):
    cell = run(
        f'%%owt --local name="owt"\ndef run(name):\n    import os\n    return name, os.getpid() == {run.pid}'
    )
    assert cell.stdout == '["owt", true]\n'
    assert run("%%owt --local\nleft = request.method").reply["status"] == "ok"
    assert run("left").value == "'POST'"


BUSY = "while True: pass"


@pytest.mark.parametrize(
    "code",
    [
        f"print('begun', flush=True)\n{BUSY}",
        f"def run():\n    yield 'begun'\n    {BUSY}",
        f"async def run():\n    print('begun', flush=True)\n    {BUSY}",
        f"async def run():\n    yield 'begun'\n    {BUSY}",
        "import asyncio\nasync def run():\n    yield 'begun'\n    await asyncio.sleep(1000)",
    ],
    ids=["cell", "generator", "async", "async-generator", "waiting"],
)
def test_interrupting_a_local_cell_ends_it_at_once(run, code):
    def on_message(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and "begun" in message["content"]["text"]:
            run.interrupt()

    cell = run(f"%%owt --local\n{code}", on_message)
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert run("1").value == "1"


def test_option_local_shows_the_same_output(run):
    code = "def run():\n    print('out')\n    yield {'a': 1}\n    yield 'text'"
    local, remote = run(f"%%owt --local\n{code}"), run(f"%%owt\n{code}")
    assert local.stdout == remote.stdout == 'out\n{"a": 1}\ntext\n'


def test_a_local_failure_can_be_debugged_in_the_notebook(run):
    cell = run("%%owt --local\ndef run():\n    found = 42\n    return found / 0")
    assert cell.reply["ename"] == "ZeroDivisionError"
    assert re.search(r"---->? 3 +return found / 0", cell.traceback)
    assert "magics.py" not in cell.traceback
    assert "42" in run("%debug", answers=["p found", "q"]).stdout


def test_a_local_breakpoint_stops_in_the_notebook(run):
    # Python's breakpoint() in a kernel is for an attached debugger.
    trace = "from IPython.core.debugger import set_trace"
    code = f"{trace}\ndef run():\n    found = 41\n    set_trace()\n    return found + 1"
    cell = run(f"%%owt --local\n{code}", answers=["p found * 1000", "c"])
    assert "41000" in cell.stdout
    assert cell.stdout.endswith("42\n")


def test_completion_offers_options_sessions_and_variables(run):
    run("%%owt --session other\n1")
    assert run.completions("%%owt --ses") == ["--session"]
    assert {"other", "magics"} <= set(run.completions("%%owt --session "))
    run("some_words = []")
    assert run.completions("%%owt words=$some_w") == ["some_words"]
    assert "serve" in run.completions("%owt ser")


def test_the_help_of_the_magics_lists_their_options(run):
    [page] = run("%%owt?").reply["payload"]
    assert "--local" in page["data"]["text/plain"]
    [page] = run("%owt?").reply["payload"]
    assert "%owt serve" in page["data"]["text/plain"]


LOCAL = """
%load_ext owt
import os
os.environ["OWT_URL"] = "nowhere"
get_ipython().run_cell_magic("owt", "--local", '''
from IPython.display import display
def run():
    print("out", flush=True)
    display({"text/plain": "shown"}, raw=True)
    yield "a"
''')
"""


def test_option_local_works_in_an_owt_kernel_without_a_server(tmp_path):
    with notebook(tmp_path, "owt") as own:
        cell = own(LOCAL.strip())
        assert (cell.stdout, cell.displays) == ("out\na\n", [{"text/plain": "shown"}])


@pytest.fixture
def attached(server: LiveServer, session: str) -> Iterator[Notebook]:
    """A notebook on a live session."""
    server.call("import owt", session=session)
    with attach(server.session(session)["connection_file"]) as attached:
        attached("%load_ext owt")
        yield attached


def test_a_notebook_on_a_session_shares_what_its_calls_have_loaded(attached, server, session):
    code = "loaded = []\ndef run():\n    loaded.append(1)\n    return loaded\n"
    assert server.call(code, session=session).json() == [1]
    assert attached(f"%%owt --local\n{code}").stdout == "[1, 1]\n"
    assert server.call(code, session=session).json() == [1, 1, 1]


def test_a_notebook_on_a_session_does_not_wait_for_itself(attached, server, session):
    assert f" at {server.url}, no session" in attached("%owt").stdout
    cell = attached(f"%%owt --session {session}\n1")
    assert cell.traceback.startswith(f"CannotSend: --session: this notebook runs in session {session} itself")
    assert attached("%%owt\n1 + 1").stdout == "2\n"


def test_a_notebooks_own_server_ends_with_the_kernel(tmp_path):
    with notebook(tmp_path) as own:
        cell = own("%load_ext owt\n%owt serve --pool-max 1")
        url = re.search(r"at (\S+),", cell.stdout)[1]
        gate = Gate(tmp_path)
        watcher = threading.Thread(target=lambda: (gate.reached(), own.interrupt()))
        watcher.start()
        assert own(f"%%owt\nopen({str(gate)!r}).read()").reply["ename"] == "KeyboardInterrupt"
        watcher.join()
        # Running the cell again, and an interrupt, do not change it.
        assert url in own("%owt serve --pool-max 1").stdout
        [pid] = [
            child.pid for child in psutil.Process(own.pid).children() if "serve" in " ".join(child.cmdline())
        ]
        os.kill(own.pid, signal.SIGKILL)
        wait_until(lambda: is_over(pid))


def test_a_notebooks_own_server_may_require_a_token_and_can_be_stopped(tmp_path):
    with notebook(tmp_path) as own:
        cell = own("%load_ext owt\n%owt serve --pool-max 1 --token=0123456789abcdef -s tour")
        url = re.search(r"at (\S+), session tour", cell.stdout)[1]
        assert own("%%owt\n1 + 1").stdout == "2\n"
        # Other credentials keep the server and the session.
        assert own("%owt --token wrong0123456789").traceback.startswith("RemoteError: ")
        assert f"at {url}, session tour" in own("%owt --token 0123456789abcdef").stdout
        assert own(f"%owt {url} --token wrong0123456789").traceback.startswith("RemoteError: ")
        # The connection does not change.
        assert own("%%owt\n1 + 1").stdout == "2\n"
        assert own("%owt stop").stdout == f"the server at {url} has ended\n"
        assert own(f"%owt {url}").traceback.startswith(f"Unreachable: no server answers at {url}")


def is_over(pid: int) -> bool:
    """Return whether a process has ended; another process's child may remain as a zombie for a while."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
