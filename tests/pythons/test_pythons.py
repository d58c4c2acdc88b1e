"""Kernels of other versions of Python, in the environments that `make test-pythons` makes: .venv-pythons/3.9
and others. A version whose interpreter does not exist is skipped."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from jupyter_client.blocking import BlockingKernelClient

from owt.cli import main
from owt.client import Client
from owt.testing import LiveServer, wait_until
from owt.wire.sse import Decoder

ENVIRONMENTS = Path(__file__).resolve().parents[2] / ".venv-pythons"
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

ENDPOINTS = """
from dataclasses import dataclass
from typing import Dict, List, Optional

import pydantic
from owt import endpoint

@dataclass
class Point:
    x: int
    y: Optional[int] = None

class Shape(pydantic.BaseModel):
    sides: List[int]

@endpoint("/NAME/move")
def move(point: Point, by: int = 1) -> Dict[str, int]:
    return {"x": point.x + by, "y": point.y or 0}

@endpoint("/NAME/perimeter")
def perimeter(shape: Shape) -> dict[str, int]:
    return {"perimeter": sum(shape.sides)}
"""

NUMBERS = itertools.count()

WAITS = "import time\ndef run(path):\n    open(path, 'w').close()\n    while True: time.sleep(0.01)"


@pytest.fixture(scope="module", params=VERSIONS)
def python(request):
    """Interpreter of an environment that has what kernels need, NumPy, Matplotlib and pydantic."""
    interpreter = ENVIRONMENTS / request.param / "bin" / "python"
    if not interpreter.exists():
        pytest.skip(f"there is no Python {request.param}")
    return interpreter


@pytest.fixture(scope="module")
def live(python, tmp_path_factory):
    """Server whose default kernelspec is that of the interpreter."""
    data = str(tmp_path_factory.mktemp("jupyter"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", data)
        assert main.main(["kernel", "add", "other", "--python", str(python)]) == 0
    with LiveServer("--kernel", "other", env={"JUPYTER_DATA_DIR": data}) as live:
        yield live


@pytest.fixture
def session(live):
    """Name of a session that the test may create."""
    name = f"s-{next(NUMBERS)}"
    yield name
    live.ask("DELETE", f"/_owt/sessions/{name}")


def test_a_kernel_has_the_interpreter(live, python, session):
    answer = live.call("def run(name): return f'Hello, {name}!'", kwargs='{"name": "Ann"}', session=session)
    assert answer.text == "Hello, Ann!"
    version = live.call("import sys\n'.'.join(map(str, sys.version_info[:2]))", session=session)
    assert version.text == python.parents[1].name


def test_a_stream_has_values_and_prints(live, session):
    code = "def run():\n    for i in range(3):\n        print('printed', i)\n        yield {'i': i}"
    answer = live.ask(
        "POST", "/", data={"code": code, "session": session}, headers={"Accept": "text/event-stream"}
    )
    decoder = Decoder()
    events = [(event.event, event.data) for event in decoder.feed(answer.content)]
    assert [data for kind, data in events if kind == "stdout"] == [f"printed {i}\n" for i in range(3)]
    assert [json.loads(data) for kind, data in events if kind == "message"] == [{"i": i} for i in range(3)]


def test_a_plot_is_a_picture(live, session):
    answer = live.call("import matplotlib.pyplot as plt\nplt.plot([1, 2])", session=session)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")


def test_arrays_go_in_and_out(live, session):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    with Client(live.url, session=session) as client:
        result = client.call("def run(array): return array * 2", array=array)
    assert result.dtype == np.float32
    assert (result == array * 2).all()


def test_the_request_and_uploads(live, session):
    code = "[request.path, request.args['b'], request.files['f'].read()[:2].decode()]"
    form = {"code": code, "session": session}
    answer = live.ask("POST", "/a?b=1", data=form, files={"f": io.BytesIO(b"text")})
    assert answer.json() == ["/a", "1", "te"]


def test_endpoints_convert_their_arguments(live, session):
    defined = live.call(ENDPOINTS.replace("NAME", session), session=session)
    assert defined.status_code == 200, defined.text
    moved = live.ask("POST", f"/{session}/move", json={"point": {"x": 1, "y": 2}, "by": 3})
    assert moved.json() == {"x": 4, "y": 2}
    assert live.ask("POST", f"/{session}/perimeter", json={"sides": [1, 2]}).json() == {"perimeter": 3}
    refused = live.ask("GET", f"/{session}/move?by=many&point=1", headers={"Accept": "application/json"})
    assert refused.status_code == 422
    assert "by: expected int; got 'many'" in refused.json()["detail"]


def test_pipes_run(live, session):
    code = 'pipe().kwarg("words").map(str.upper).f(list)'
    assert live.call(code, kwargs='{"words": ["a", "b"]}', session=session).json() == ["A", "B"]


def test_an_interrupt_ends_a_call_and_the_state_stays(live, session, tmp_path):
    live.call("kept = 42", session=session)
    path = tmp_path / "started"
    form = {"code": WAITS, "kwargs": json.dumps({"path": str(path)}), "session": session, "detach": "1"}
    run = live.ask("POST", "/", data=form).json()["run"]
    wait_until(path.exists)
    assert live.ask("DELETE", f"/_owt/runs/{run}").status_code == 202
    assert live.call("kept", session=session).text == "42"


def test_a_killed_kernel_is_replaced_with_its_reason(live, session):
    assert live.call("import os\nos.kill(os.getpid(), 9)", session=session).status_code == 502
    answer = live.call("1 + 1", session=session)
    assert answer.text == "2"
    assert "SIGKILL" in answer.headers["Owt-Restarted"]


def test_a_notebook_attaches(live, session):
    live.call("x = 41", session=session)
    client = BlockingKernelClient(connection_file=live.session(session)["connection_file"])
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=20)
        printed = []
        reply = client.execute_interactive(
            "x += 1; print(x)", timeout=20, output_hook=lambda message: printed.append(message["content"])
        )
        assert reply["content"]["status"] == "ok"
        assert "42\n" in [content.get("text") for content in printed]
    finally:
        client.stop_channels()
    assert live.call("x", session=session).text == "42"


def test_sessions_have_variables_and_directories(live, session, tmp_path):
    values = {"env": {"COLOUR": "red"}, "cwd": str(tmp_path)}
    live.ask("PUT", f"/_owt/sessions/{session}", json=values)
    answer = live.call("import os\n[os.environ['COLOUR'], os.getcwd()]", session=session)
    assert answer.json() == ["red", str(tmp_path)]


def test_kernels_are_forked_by_a_template(live, session):
    live.call("1", session=session)
    parent = Path(f"/proc/{live.session(session)['pid']}/stat").read_text().rpartition(")")[2].split()[1]
    assert "owt.host.template" in Path(f"/proc/{parent}/cmdline").read_text()
