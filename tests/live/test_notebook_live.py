"""`owt serve --notebook`, with real servers, kernels and curl."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from notebook_files import notebook, save

from owt.notebook.export import export
from owt.testing import Gate, LiveServer, wait_until

MODEL = "import os, json\nmodel = object()"
SPEAK = """\
@endpoint("/speak")
def speak(text: str = "hi"):
    return {"text": text, "model": id(model), "pid": os.getpid()}"""
ODD = [
    "def run(): raise ValueError",
    "(n for n in range(3))",
    "object()",
    "%matplotlib inline\n!echo from a shell",
    "import asyncio\nawait asyncio.sleep(0)\nlate = 'awaited'",
    "open('beside.txt').read()",
    '@endpoint("/late")\ndef get_late(): return late',
]
ANNOTATED = [
    "# GET /hello/:name\nreq = json.loads(REQUEST)",
    "# GET /hello/:name\nprint('Hello', req['path']['name'], end='')",
    "# ResponseInfo GET /hello/:name\nprint(json.dumps({'headers': {'X-Owt': 1}, 'status': 201}))",
    "# POST /body\nprint(json.dumps(json.loads(REQUEST)['body']), end='')",
    "# DELETE /body\nprint('deleted', end='')",
    "# GET /args\nprint(json.dumps(json.loads(REQUEST)['args']), end='')",
    "# GET /headers\nprint(json.loads(REQUEST)['headers']['X-Two'], end='')",
    "# GET /value\n{'a': 1}",
    "# GET /both\nprint('printed')\n42",
    "# GET /quiet\n42;",
    """# GET /shown
class Shown:
    def __repr__(self): return '<Shown>'
    def _repr_html_(self): return '<b>x</b>'
Shown()""",
    "# GET /stderr\nimport sys\nprint('to stderr', file=sys.stderr)",
    "# GET /await\nimport asyncio\nawait asyncio.sleep(0)\nprint('awaited', end='')",
    "# GET /error\n1 / 0",
    "# GET /unparsed\ndef f(:",
    "# GET /child\nimport subprocess\nprint('parent', flush=True)\nsubprocess.run(['echo', 'child'])\nNone",
    "# GET /encoding\nimport sys\nprint(sys.stdout.encoding, end='')",
    "# GET /environment\nimport os\nprint(os.environ['KERNEL_GATEWAY'], end='')",
    "# GET /unanswered\nprint('body')",
    "# ResponseInfo GET /unanswered\ndef f(:",
    "# GET /last\nprint('last', end='')",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "beside.txt").write_text("beside")
    save(folder / "speech.ipynb", MODEL, SPEAK, *ODD)
    save(folder / "gateway.ipynb", "import json", *ANNOTATED)
    future = ["from __future__ import annotations", "def late(x: Undefined): pass"]
    endpoint = '@endpoint("/plain")\ndef f(): return str(id(kept[0]))'
    save(folder / "plain.py", *future, "kept = [object()]", endpoint)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[LiveServer]:
    files = [part for file in folder.glob("*.*y*") for part in ("--notebook", str(file))]
    with LiveServer("-v", "--session-idle", "200ms", "--watch", *files) as server:
        yield server


@pytest.fixture
def speech(served: LiveServer, folder: Path) -> Iterator[Path]:
    """Yield the notebook, and restore it after the test."""
    yield folder / "speech.ipynb"
    save(folder / "speech.ipynb", MODEL, SPEAK, *ODD)
    wait_until(lambda: ready(served) and fetch(served, "/speak")["text"] == "hi")
    wait_until(lambda: curl(served, "/late") == "awaited 200")


def curl(server: LiveServer, path: str, *options: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "-w", " %{http_code}", server.url + path, *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def fetch(server: LiveServer, path: str) -> dict[str, object]:
    answer = server.ask("GET", path)
    assert answer.status_code == 200, answer.text
    document: dict[str, object] = answer.json()
    return document


def ready(server: LiveServer) -> bool:
    return server.ask("GET", "/_owt/health/ready").status_code == 200


def state(server: LiveServer, name: str = "speech") -> dict[str, str]:
    notebook: dict[str, str] = server.session(name)["notebook"]
    return notebook


class TestServed:
    def test_first_request_waits_for_the_notebook(self, served):
        assert curl(served, "/speak?text=owt").startswith('{"text":"owt","model":')

    def test_cells_may_be_anything_that_ipython_runs(self, served):
        # Adaptors, awaits, magics, and code that opens a file in the notebook's folder.
        assert curl(served, "/late") == "awaited 200"

    def test_output_of_cells_is_logged(self, served):
        served.wait_for_log("stdout: from a shell")

    def test_session_shows_its_notebook(self, served, folder):
        wait_until(lambda: ready(served))
        assert state(served) == {
            "path": str(folder / "speech.ipynb"),
            "session": "speech",
            "state": "ready",
            "reason": None,
        }

    def test_health_lists_the_notebooks(self, served):
        health = fetch(served, "/_owt/health")
        sessions = sorted(notebook["session"] for notebook in health["notebooks"])
        assert sessions == ["gateway", "plain", "speech"]

    def test_session_of_a_notebook_has_no_idle_timeout(self, served):
        wait_until(lambda: ready(served))
        served.call("1", session="idle")
        wait_until(lambda: served.ask("GET", "/_owt/sessions/idle").status_code == 404)
        assert served.session("speech")["state"] == "idle"


class TestGatewayCells:
    """Cells as endpoints. The expected responses are those of Jupyter Kernel Gateway 3.0.1."""

    @pytest.mark.parametrize(
        ("path", "options", "answer"),
        [
            ("/hello/a%20b%2Fc", [], "Hello a b/c 201"),
            ("/body", ["-d", "a=1&b=2&a=3&c="], '{"a": ["1", "3"], "b": ["2"], "c": [""]} 200'),
            ("/body", ["-F", "a=1", "-F", "f=@/dev/null"], '{"a": ["1"]} 200'),
            ("/body", ["-H", "Content-Type: application/json", "-d", '{"x": [1]}'], '{"x": [1]} 200'),
            ("/body", ["-H", "Content-Type: text/plain", "-d", "é"], '"\\u00e9" 200'),
            ("/body", ["-X", "POST"], '"" 200'),
            ("/body", ["-X", "DELETE"], "deleted 200"),
            ("/args?x=1&x=2&y=", [], '{"x": ["1", "2"], "y": [""]} 200'),
            ("/headers", ["-H", "x-two: 1", "-H", "X-Two: 2"], "['1', '2'] 200"),
            ("/value", [], '{"text/plain": "{\'a\': 1}"} 200'),
            ("/both", [], "printed\n 200"),
            ("/child", [], "parent\nchild\n 200"),
            ("/encoding", [], "UTF-8 200"),
            ("/environment", [], "1 200"),
            # Below cells that do not parse.
            ("/last", [], "last 200"),
            ("/quiet", [], " 200"),
            ("/shown", [], '{"text/plain": "<Shown>", "text/html": "<b>x</b>"} 200'),
            ("/stderr", [], " 200"),
            ("/await", [], "awaited 200"),
        ],
    )
    def test_endpoint_cell_responds(self, served, path, options, answer):
        assert curl(served, path, *options) == answer

    def test_response_is_plain_text_with_the_headers_of_its_response_info(self, served):
        answer = served.ask("GET", "/hello/ann")
        assert (answer.headers["Content-Type"], answer.headers["X-Owt"]) == ("text/plain", "1")

    def test_other_method_of_an_endpoint_cell_gets_405(self, served):
        assert curl(served, "/body").endswith(" 405")

    @pytest.mark.parametrize(
        ("path", "cell"), [("/unparsed", "GET /unparsed"), ("/unanswered", "GET /unanswered")]
    )
    def test_endpoint_cell_that_does_not_parse_gets_500(self, served, path, cell):
        answer = served.ask("GET", path)
        assert answer.status_code == 500
        assert f"the notebook's cell {cell} is not Python: " in answer.text
        assert state(served, "gateway")["state"] == "ready"
        served.wait_for_log(f"owt: the notebook's cell {cell} is not Python")

    def test_error_in_an_endpoint_cell_gets_500_with_its_traceback(self, served):
        problem, _, status = curl(served, "/error").rpartition(" ")
        assert status == "500"
        assert json.loads(problem)["traceback"].endswith("ZeroDivisionError: division by zero\n")


class TestWatched:
    def test_changed_function_is_in_effect_and_the_model_is_not_reloaded(self, served, speech):
        before = fetch(served, "/speak")
        save(speech, MODEL, SPEAK.replace('"text": text', '"text": text.upper()'), *ODD)
        wait_until(lambda: fetch(served, "/speak")["text"] == "HI")
        assert fetch(served, "/speak") == {**before, "text": "HI"}

    def test_new_cells_are_in_effect(self, served, speech):
        annotated = "# GET /new\nprint('annotated', end='')"
        save(speech, MODEL, SPEAK, *ODD, annotated, '@endpoint("/newer")\ndef f(): pass')
        wait_until(lambda: curl(served, "/new") == "annotated 200")
        wait_until(lambda: curl(served, "/newer") == " 200")

    def test_endpoint_of_a_deleted_cell_is_removed(self, served, speech):
        save(speech, MODEL, SPEAK, *ODD[:-1])
        wait_until(lambda: "is no endpoint" in curl(served, "/late"))

    def test_other_cell_with_the_route_of_a_deleted_one_gets_it_back(self, served, speech):
        save(speech, MODEL, SPEAK, *ODD, ODD[-1].replace("return late", "return 'varied'"))
        wait_until(lambda: curl(served, "/late") == "varied 200")
        save(speech, MODEL, SPEAK, *ODD)
        wait_until(lambda: curl(served, "/late") == "awaited 200")

    def test_endpoint_moved_to_another_path_leaves_the_old_one(self, served, speech):
        save(speech, MODEL, SPEAK, *ODD[:-1], ODD[-1].replace("/late", "/later"))
        wait_until(lambda: curl(served, "/later") == "awaited 200")
        wait_until(lambda: "is no endpoint" in curl(served, "/late"))

    def test_failing_change_keeps_the_earlier_endpoint(self, served, speech):
        before = fetch(served, "/speak")
        save(speech, MODEL, SPEAK + "\nno_such_name", *ODD)
        wait_until(lambda: state(served)["state"] == "failed")
        assert "cell 2: NameError" in state(served)["reason"]
        served.wait_for_log(r"cell 2: Traceback[^$]*line 4[^$]*no_such_name")
        assert ready(served)
        assert fetch(served, "/speak") == before
        save(speech, MODEL, SPEAK.replace('"text": text', '"text": "good"'), *ODD)
        wait_until(lambda: fetch(served, "/speak")["text"] == "good")
        assert fetch(served, "/speak")["model"] == before["model"]

    def test_change_during_a_failing_cell_is_loaded(self, served, speech, tmp_path):
        gate = Gate(tmp_path)
        save(speech, MODEL, SPEAK, *ODD, f"open({str(gate)!r}).read()\n1 / 0")
        gate.reached()
        save(speech, MODEL, SPEAK.replace('"text": text', '"text": "saved"'), *ODD)
        served.wait_for_log("speech.ipynb has been saved again")
        gate.open()
        wait_until(lambda: fetch(served, "/speak")["text"] == "saved")

    def test_truncated_file_changes_nothing(self, served, speech):
        before = fetch(served, "/speak")
        whole = notebook(MODEL, SPEAK.replace('"text": text', '"text": "whole"'), *ODD)
        speech.write_text(whole[: len(whole) // 2])
        served.wait_for_log("this is not a notebook.*the earlier version stays in effect")
        assert fetch(served, "/speak") == before
        speech.write_text(whole)
        wait_until(lambda: fetch(served, "/speak")["text"] == "whole")

    def test_named_pipe_in_place_of_the_file_changes_nothing(self, served, folder):
        before = curl(served, "/plain")
        path = folder / "plain.py"
        text = path.read_text()
        path.unlink()
        os.mkfifo(path)
        served.wait_for_log("plain.py: it is not a regular file; the earlier version stays in effect")
        assert curl(served, "/plain") == before
        save(path, text.replace("str(id", "'regular ' + str(id"))
        wait_until(lambda: curl(served, "/plain") == f"regular {before}")
        save(path, text)
        wait_until(lambda: curl(served, "/plain") == before)

    def test_script_runs_its_changed_statements(self, served, folder):
        before = curl(served, "/plain")
        text = (folder / "plain.py").read_text()
        (folder / "plain.py").write_text("# About it.\n\n" + text.replace("str(id", "'again ' + str(id"))
        wait_until(lambda: curl(served, "/plain") == f"again {before}")


class TestOtherKernels:
    def test_notebook_runs_again_after_a_crash_and_requests_wait(self, served):
        before = fetch(served, "/speak")
        crashed = served.call("import os; os._exit(9)", session="speech")
        assert crashed.status_code == 502
        after = fetch(served, "/speak")
        assert after["pid"] != before["pid"]

    def test_notebook_runs_again_after_a_restart(self, served):
        before = fetch(served, "/speak")
        served.ask("POST", "/_owt/sessions/speech/restart").raise_for_status()
        assert fetch(served, "/speak")["pid"] != before["pid"]

    def test_notebook_whose_session_was_deleted_waits_for_a_change(self, served, speech):
        served.ask("DELETE", "/_owt/sessions/speech").raise_for_status()
        health = served.ask("GET", "/_owt/health/ready")
        assert (health.status_code, "its session was deleted" in health.text) == (503, True)
        assert served.ask("GET", "/speak").status_code == 410
        save(speech, MODEL, SPEAK.replace('"text": text', '"text": "back"'), *ODD)
        wait_until(lambda: ready(served))
        assert fetch(served, "/speak")["text"] == "back"


class TestLoading:
    def test_a_loading_notebook_delays_requests_for_endpoints_only(self, tmp_path):
        gate = Gate(tmp_path)
        first = '@endpoint("/early")\ndef early(): return later'
        save(tmp_path / "slow.ipynb", first, f"open({str(gate)!r}).read()", "later = 'whole'")
        with LiveServer("--notebook", str(tmp_path / "slow.ipynb")) as server:
            answers: list[str] = []
            waiting = threading.Thread(target=lambda: answers.append(curl(server, "/early", "-X", "POST")))
            waiting.start()
            gate.reached()
            health = server.ask("GET", "/_owt/health/ready")
            assert (health.status_code, health.json()["status"]) == (503, "loading")
            assert server.call("1 + 1").text == "2"
            assert answers == []
            gate.open()
            waiting.join()
            assert answers == ["whole 200"]
            assert ready(server)

    def test_waiting_request_gets_503_when_the_server_shuts_down(self, tmp_path):
        save(tmp_path / "stuck.ipynb", "import time\nprint('stuck')\ntime.sleep(600)")
        with LiveServer("-v", "--notebook", str(tmp_path / "stuck.ipynb"), "--drain", "100s") as server:
            server.wait_for_log("stdout: stuck")
            with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as waiting:
                waiting.request("GET", "/_owt/health/live")
                waiting.getresponse().read()
                waiting.request("GET", "/any")
                # A later request has been answered, so the waiting one has arrived.
                server.ask("GET", "/_owt/health/live")
                server.send_signal(signal.SIGTERM)
                answer = waiting.getresponse()
                assert (answer.status, b"the server is shutting down" in answer.read()) == (503, True)
            assert server.wait() == 0


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server whose notebooks fail."""
    folder = tmp_path_factory.mktemp("failed")
    save(folder / "bad.ipynb", "x = 1", "1 / 0", '@endpoint("/x")\ndef f(): return x')
    save(folder / "deadly.ipynb", "import os\nos._exit(1)")
    options = ["--notebook", str(folder / "bad.ipynb"), "--notebook", str(folder / "deadly.ipynb")]
    with LiveServer(*options) as server:
        yield server


class TestFailed:
    def test_request_reports_the_failed_notebook(self, failed):
        answer = failed.ask("GET", "/x")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "bad.ipynb has failed, cell 2: ZeroDivisionError: division by zero" in answer.text

    def test_server_with_a_failed_notebook_is_not_ready(self, failed):
        health = failed.ask("GET", "/_owt/health/ready")
        assert (health.status_code, health.json()["status"]) == (503, "notebook-failed")

    def test_notebook_that_kills_every_kernel_fails(self, failed):
        wait_until(lambda: state(failed, "deadly")["state"] == "failed")
        assert "cell 1: the kernel died" in state(failed, "deadly")["reason"]
        assert failed.session("deadly")["restarts"] == 3

    def test_file_that_is_no_notebook_prevents_the_start(self, tmp_path):
        (tmp_path / "text.ipynb").write_text("text")
        done = subprocess.run(
            [sys.executable, "-m", "owt", "serve", "--port", "0", "--notebook", "text.ipynb"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("owt: --notebook (OWT_NOTEBOOK): text.ipynb: this is not a notebook")


class TestExport:
    def test_exported_endpoint_is_an_adaptor(self, server, folder):
        text = export(folder / "speech.ipynb", "/speak")
        answer = server.call(text, kwargs='{"text": "exported"}')
        assert answer.json()["text"] == "exported"
