"""The adaptors in a server, and the example `llm`."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import tiny_models

EXAMPLE = Path(__file__).parents[2] / "examples" / "llm"
START = "Once upon a time"

# Reads a byte from a named pipe before each step of the model, so that a test can hold it.
HELD = """
import os
from owt.lib import generate

taken, gate = [], os.open({gate!r}, os.O_RDWR)
generate.load({model!r}, "cpu").model.register_forward_pre_hook(lambda *_: taken.append(os.read(gate, 1)))
None
"""
WORKERS = "import threading\n[thread.name for thread in threading.enumerate() if thread.name == 'generate']"


@pytest.fixture
def example(tmp_path, server):
    """Return a function that runs a command in a copy of the example's folder, on a terminal."""
    folder = tmp_path / "llm"
    shutil.copytree(EXAMPLE, folder)
    # `python` and `owt` of this test's environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OWT_URL": server.url}

    def run(command: str) -> tuple[int, str]:
        terminal, other_end = pty.openpty()
        with subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=other_end
        ) as process:
            os.close(other_end)
            output = b""
            try:
                while piece := os.read(terminal, 4096):
                    output += piece
            except OSError:
                # Linux reports so that the terminal has no other user.
                pass
            os.close(terminal)
        return process.returncode, output.decode().replace("\r\n", "\n")

    return run


def test_example_prints_its_transcript(example):
    steps = (EXAMPLE / "expected.txt").read_text().removeprefix("$ ").split("\n$ ")
    assert len(steps) == 2
    for step in steps:
        command, _, output = step.partition("\n")
        assert example(command) == (0, output)


def test_generation_is_streamed_by_the_server(http, parrot, story):
    call = {"adaptor": "generate", "kwargs": {"prompt": START, "model": parrot, "temperature": 0}}
    answer = http.post("/", json=call)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *messages, last = [
        line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data")
    ]
    assert last == "[DONE]"
    *words, finish = map(json.loads, messages)
    assert START + "".join(word["text"] for word in words) == story
    assert finish["finish_reason"] == "stop"


def test_sampling_argument_that_cannot_be_used_is_an_error_status(http, parrot):
    call = {"adaptor": "generate", "kwargs": {"prompt": START, "model": parrot, "top_k": 0}}
    answer = http.post("/", json=call)
    assert answer.status_code == 500
    assert "top_k: a whole number from 1; got 0" in answer.text


def test_disconnect_ends_the_generation_and_keeps_the_session(
    http, server, session, parrot, tmp_path
):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    end = os.open(gate, os.O_RDWR)
    held = HELD.format(gate=str(gate), model=parrot)
    assert server.call(held, session=session).status_code == 200
    fields = {"adaptor": "generate", "session": session}
    kwargs = json.dumps({"prompt": START, "model": parrot, "temperature": 0})
    os.write(end, b"." * 6)
    with httpx.stream("POST", server.url, data={**fields, "kwargs": kwargs}, timeout=30) as answer:
        assert next(answer.iter_lines()).startswith('data: {"text":')
    # The generation waits for the current token, which needs a byte.
    while server.session(session)["state"] == "busy":
        os.write(end, b".")
    os.close(end)
    assert server.call(WORKERS, session=session).json() == []
    assert int(server.call("len(taken)", session=session).text) < 100
    assert server.session(session)["restarts"] == 0


def test_speech_is_streamed_by_the_server(http, bark):
    kwargs = {"text": "Hello. How are you?", "model": bark, "speaker": tiny_models.VOICES[1]}
    with http.stream("POST", "/", json={"adaptor": "bark", "kwargs": kwargs}) as answer:
        assert answer.status_code == 200
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    assert [json.loads(line)["sentence"] for line in lines] == ["Hello.", "How are you?"]
