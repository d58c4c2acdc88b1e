"""Examples: the commands of each `expected.txt`, after `$`, print the text below them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from free_ports import free_ports
from PIL import Image

from owt.testing import Gate, LiveServer, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
TOOLS = ("bash", "base64", "curl", "dirname", "env", "head", "jq", "sha256sum", "tr")
UPLOAD = "20000000"
"""Bytes that the example upload sends, instead of 2 GB."""
AS_WRITTEN = "http://127.0.0.1:9876"
# That server, and those on the next ports.
WRITTEN_PORT = re.compile(r"127\.0\.0\.1:(98(?:7[6-9]|8\d))\b")
MAX_DEPTH = 5
# Variable in the environment of all processes of a server and of the servers inside it.
MARK = ("EXAMPLES_RUN_BY", str(os.getpid()))

# The length of speech varies between calls.
SECONDS = re.compile(r"(\d+(?:\.\d+)?) seconds")


@dataclass(frozen=True)
class Step:
    """A command of a transcript and its output."""

    command: str
    output: str


def transcript(text: str) -> list[Step]:
    starts = [match.start() for match in re.finditer(r"^\$ ", text, re.MULTILINE)]
    steps = [text[start:end] for start, end in pairwise([*starts, len(text)])]
    return [Step(command, output) for command, _, output in (step[2:].partition("\n") for step in steps)]


STEPS = [
    pytest.param(file.parent, step, id=f"{file.parent.name}/{step.command.split()[0].removeprefix('./')}")
    for file in sorted(EXAMPLES.glob("*/expected.txt"))
    # This one needs the libraries of a model: tests/models.
    if file.parent.name != "llm"
    for step in transcript(file.read_text())
]
SCRIPTS = sorted(path for path in EXAMPLES.glob("*/*.sh"))
# The other scripts print a link.
CALLING = [path for path in SCRIPTS if "curl " in path.read_text()]


@pytest.fixture
def shell(tmp_path):
    """Return a function that runs a command in a copy of an example's folder, with few tools in its PATH."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        path = shutil.which(name)
        assert path, f"the examples need {name}"
        (tools / name).symlink_to(path)
    owt = tools / "owt"
    owt.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m owt "$@"\n')
    owt.chmod(0o755)

    def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
        # All examples, since one uses a file of another.
        copy = tmp_path / "examples" / folder.name
        if not copy.exists():
            shutil.copytree(EXAMPLES, copy.parent)
        return subprocess.run(
            ["bash", "-c", command],
            cwd=copy,
            env={"PATH": str(tools), "HOME": os.environ.get("HOME", "/"), "BYTES": UPLOAD},
            capture_output=True,
            text=True,
            timeout=90,
        )

    return run


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """Start a server whose next ports are free, for owt inside owt."""
    with LiveServer("-v", "--port", str(free_ports(1 + MAX_DEPTH)), env=dict([MARK])) as server:
        yield server


def as_run(text: str, server: LiveServer) -> str:
    """Return a transcript with the ports of this server."""
    return WRITTEN_PORT.sub(lambda match: f"127.0.0.1:{server.port + int(match[1]) - 9876}", text)


@pytest.mark.parametrize(("folder", "step"), STEPS)
def test_example_prints_its_transcript_and_leaves_no_process(server, shell, folder, step):
    done = shell(folder, as_run(step.command, server))
    assert done.stderr == ""
    assert done.returncode == 0
    expected = as_run(step.output, server)
    assert SECONDS.sub("# seconds", done.stdout) == SECONDS.sub("# seconds", expected)
    printed, written = (list(map(float, SECONDS.findall(text))) for text in (done.stdout, expected))
    assert printed == pytest.approx(written, rel=0.3)
    wait_until(lambda: inside(server) == [])


def test_every_script_is_in_a_transcript():
    commands = [(folder, step.command.split()[0]) for folder, step in (param.values for param in STEPS)]
    scripts = {folder / command for folder, command in commands if command.startswith("./")}
    assert {path.resolve() for path in scripts} == {path.resolve() for path in SCRIPTS}


@pytest.mark.parametrize("script", CALLING, ids=lambda script: f"{script.parent.name}/{script.name}")
def test_script_fails_without_a_server(shell, script):
    with socket.socket() as bound:
        # Bound and not listening: connections are refused, and no other server can use the port.
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        arguments = {"speak.sh": f"{url} Hello. out.wav", "events.sh": f"{url} Hello."}.get(script.name, url)
        done = shell(script.parent, f"./{script.name} {arguments}")
    assert done.returncode != 0
    assert "curl: (7)" in done.stderr


@pytest.mark.parametrize("script", ["page.sh", "live.sh"])
def test_link_leads_to_the_server_that_the_environment_names(shell, script):
    done = shell(EXAMPLES / "speech", f"OWT_URL=http://owt.example:81 ./{script}")
    assert done.stderr == ""
    assert done.stdout.startswith("http://owt.example:81/speech?code")


def test_script_exits_non_zero_after_an_error_of_the_adaptor(server, shell):
    done = shell(EXAMPLES / "speech", f"./events.sh {server.url} ''")
    assert done.returncode != 0
    assert "text: a string that is not empty" in done.stderr


def test_sentence_is_spoken_before_the_next_one_is_typed(server):
    script = EXAMPLES / "speech" / "typed.sh"
    with subprocess.Popen(
        [script, server.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as speaking:
        for sentence in ("This is the first one.", "And this the second."):
            speaking.stdin.write(f"{sentence} ")
            speaking.stdin.flush()
            assert re.fullmatch(rf"[\d.]+ seconds: {sentence}\n", speaking.stdout.readline())
        speaking.stdin.write("The rest")
        speaking.stdin.close()
        assert speaking.stdout.readline().endswith(" seconds: The rest\n")
        assert speaking.wait() == 0


def test_saved_speech_is_a_wav_that_is_not_silence(server, shell, tmp_path):
    done = shell(EXAMPLES / "speech", f"./speak.sh {server.url} 'Hello! This is owt.' hello.wav")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "examples" / "speech" / "hello.wav"
    with wave.open(str(path)) as file:
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        rate = file.getframerate()
    assert len(audio) * 2 == path.stat().st_size - 44
    assert 1 < len(audio) / rate < 4
    assert float(np.sqrt(np.mean(audio**2))) > 0.01
    printed = SECONDS.findall(done.stdout)
    assert float(printed[0]) == pytest.approx(len(audio) / rate, abs=0.06)


def test_plot_is_a_picture_of_the_declared_type(server, shell, tmp_path):
    done = shell(EXAMPLES / "plot", f"./plot.sh {server.url}")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "examples" / "plot"
    for name in ("waves.png", "link.png"):
        with Image.open(folder / name) as picture:
            assert picture.format == "PNG"
            assert picture.width > 400
            # More colours than an empty picture has: text, and a line for each wave.
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
    root = ElementTree.parse(folder / "waves.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_owt_inside_owt_skips_a_port_in_use(server, shell):
    with socket.create_server(("127.0.0.1", server.port + 1)):
        done = shell(EXAMPLES / "meta", f"./meta.sh {server.url}")
    assert (done.stderr, done.stdout) == ("", f"Hello, owt-inside-owt, from 127.0.0.1:{server.port + 2}!\n")


def test_inner_server_ends_with_a_cancelled_call(server, tmp_path):
    code = (EXAMPLES / "meta" / "next.py").read_text()
    gate = Gate(tmp_path)
    kwargs = json.dumps({"code": f"open({str(gate)!r}).read()", "kwargs": {}})
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(server.call, code, kwargs=kwargs, session="outside")
        gate.reached()
        assert inside(server) != []
        [run] = server.session("outside")["runs"]
        server.ask("DELETE", f"/_owt/runs/{run}").raise_for_status()
        assert answer.result().status_code == 499
    gate.open()
    wait_until(lambda: inside(server) == [])
    assert server.session("outside")["restarts"] == 0
    server.ask("DELETE", "/_owt/sessions/outside").raise_for_status()


def inside(server: LiveServer) -> list[list[str]]:
    """Return the command lines of the servers, templates and kernels that were started by calls."""
    commands = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if environment.get(MARK[0]) == MARK[1] and process.status() != psutil.STATUS_ZOMBIE:
                is_server = "serve" in process.cmdline() and process.pid != server.pid
                if is_server or environment.get("OWT_URL", server.url) != server.url:
                    commands.append(process.cmdline())
    return commands
