"""Every example runs as its `expected.txt` shows it: commands after `$`, then what they print."""

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
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from PIL import Image

from owt.testing import Gate, LiveServer

EXAMPLES = Path(__file__).parents[2] / "examples"
TOOLS = ("bash", "base64", "curl", "env", "jq")
AS_WRITTEN = "http://127.0.0.1:9876"
# That server, and those one and more ports further.
WRITTEN_PORT = re.compile(r"127\.0\.0\.1:(98(?:7[6-9]|8\d))\b")
DEEPEST = 5
# All processes of a server and of those inside of it have this in their environment.
MARK = ("EXAMPLES_RUN_BY", str(os.getpid()))

# A voice takes its time differently from one call to the next.
SECONDS = re.compile(r"(\d+(?:\.\d+)?) seconds")


@dataclass(frozen=True)
class Step:
    """A command of a transcript and the text that it prints."""

    command: str
    output: str


def transcript(text: str) -> list[Step]:
    starts = [match.start() for match in re.finditer(r"^\$ ", text, re.MULTILINE)]
    steps = [text[start:end] for start, end in pairwise([*starts, len(text)])]
    return [Step(command, output) for command, _, output in (step[2:].partition("\n") for step in steps)]


STEPS = [
    pytest.param(file.parent, step, id=f"{file.parent.name}/{step.command.split()[0].removeprefix('./')}")
    for file in sorted(EXAMPLES.glob("*/expected.txt"))
    # That one needs a model's libraries: tests/bark.
    if file.parent.name != "llm"
    for step in transcript(file.read_text())
]
SCRIPTS = sorted(path for path in EXAMPLES.glob("*/*.sh"))
# The others print a link to be followed.
CALLING = [path for path in SCRIPTS if "curl " in path.read_text()]


@pytest.fixture
def shell(tmp_path):
    """Run a command in a copy of an example's folder, with nothing but the few tools at hand."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, f"the examples need {name}"
        (tools / name).symlink_to(found)
    owt = tools / "owt"
    owt.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m owt "$@"\n')
    owt.chmod(0o755)

    def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
        # All of them: one uses a file of another.
        copy = tmp_path / "examples" / folder.name
        if not copy.exists():
            shutil.copytree(EXAMPLES, copy.parent)
        return subprocess.run(
            ["bash", "-c", command],
            cwd=copy,
            env={"PATH": str(tools), "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            timeout=90,
        )

    return run


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody uses; not of those that the system gives away."""
    for first in range(20_000 + os.getpid() % 9000, 32_000, count):
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("there are no free ports")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """A server for which the next ports are free: owt inside owt takes them."""
    with LiveServer("-v", "--port", str(free_ports(1 + DEEPEST)), env=dict([MARK])) as server:
        yield server


def as_run(text: str, server: LiveServer) -> str:
    """What a transcript shows, with the ports of this server."""
    return WRITTEN_PORT.sub(lambda found: f"127.0.0.1:{server.port + int(found[1]) - 9876}", text)


@pytest.mark.parametrize(("folder", "step"), STEPS)
def test_an_example_prints_what_its_transcript_says(server, shell, folder, step):
    done = shell(folder, as_run(step.command, server))
    assert done.stderr == ""
    assert done.returncode == 0
    expected = as_run(step.output, server)
    assert SECONDS.sub("# seconds", done.stdout) == SECONDS.sub("# seconds", expected)
    printed, written = (list(map(float, SECONDS.findall(text))) for text in (done.stdout, expected))
    assert printed == pytest.approx(written, rel=0.3)


def test_every_script_is_in_a_transcript():
    commands = [(folder, step.command.split()[0]) for folder, step in (param.values for param in STEPS)]
    shown = {folder / command for folder, command in commands if command.startswith("./")}
    assert {path.resolve() for path in shown} == {path.resolve() for path in SCRIPTS}


@pytest.mark.parametrize("script", CALLING, ids=lambda script: f"{script.parent.name}/{script.name}")
def test_a_script_fails_visibly_when_no_server_answers(shell, script):
    with socket.socket() as taken:
        # Bound and not listening: nothing answers here, and no other server can come by.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        arguments = {"speak.sh": f"{url} Hello. out.wav", "events.sh": f"{url} Hello."}.get(script.name, url)
        done = shell(script.parent, f"./{script.name} {arguments}")
    assert done.returncode != 0
    assert "curl: (7)" in done.stderr


def test_an_error_of_the_adaptor_reaches_the_status_of_the_script(server, shell):
    done = shell(EXAMPLES / "speech", f"./events.sh {server.url} ''")
    assert done.returncode != 0
    assert "text: say what to speak" in done.stderr


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
    shown = SECONDS.findall(done.stdout)
    assert float(shown[0]) == pytest.approx(len(audio) / rate, abs=0.06)


def test_a_plot_is_the_picture_that_it_claims_to_be(server, shell, tmp_path):
    done = shell(EXAMPLES / "plot", f"./plot.sh {server.url}")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "examples" / "plot"
    for name in ("waves.png", "link.png"):
        with Image.open(folder / name) as picture:
            assert picture.format == "PNG"
            assert picture.width > 400
            # Not an empty sheet: there is text, and a line for each wave.
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
    root = ElementTree.parse(folder / "waves.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_owt_inside_owt_goes_past_a_port_that_is_taken(server, shell):
    with socket.create_server(("127.0.0.1", server.port + 1)):
        done = shell(EXAMPLES / "meta", f"./meta.sh {server.url}")
    assert (done.stderr, done.stdout) == ("", f"Hello, owt-inside-owt, from 127.0.0.1:{server.port + 2}!\n")


@pytest.mark.parametrize("script", ["meta.sh", "deep.sh"])
def test_of_owt_inside_owt_no_server_and_no_kernel_is_left(server, shell, script):
    done = shell(EXAMPLES / "meta", f"./{script} {server.url}")
    assert done.returncode == 0, done.stderr
    assert inside(server) == []


def test_what_is_inside_ends_with_a_call_that_is_cancelled(server, tmp_path):
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
    assert inside(server) == []
    assert server.session("outside")["restarts"] == 0
    server.ask("DELETE", "/_owt/sessions/outside").raise_for_status()


def inside(server: LiveServer) -> list[list[str]]:
    """The command lines of the servers, their templates and kernels, that were started by calls."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if environment.get(MARK[0]) == MARK[1] and process.status() != psutil.STATUS_ZOMBIE:
                is_server = "serve" in process.cmdline() and process.pid != server.pid
                if is_server or environment.get("OWT_URL", server.url) != server.url:
                    found.append(process.cmdline())
    return found
