"""Every example runs as its `expected.txt` shows it: commands after `$`, then what they print."""

import os
import re
import shutil
import socket
import subprocess
import wave
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TOOLS = ("bash", "base64", "curl", "env", "jq")
AS_WRITTEN = "http://127.0.0.1:9876"

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


@pytest.fixture
def shell(tmp_path):
    """Run a command in a copy of an example's folder, with nothing but the few tools at hand."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, f"the examples need {name}"
        (tools / name).symlink_to(found)

    def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
        copy = tmp_path / folder.name
        if not copy.exists():
            shutil.copytree(folder, copy)
        return subprocess.run(
            ["bash", "-c", command],
            cwd=copy,
            env={"PATH": str(tools), "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            timeout=90,
        )

    return run


@pytest.mark.parametrize(("folder", "step"), STEPS)
def test_an_example_prints_what_its_transcript_says(server, shell, folder, step):
    done = shell(folder, step.command.replace(AS_WRITTEN, server.url))
    assert done.stderr == ""
    assert done.returncode == 0
    expected = step.output.replace(AS_WRITTEN.removeprefix("http://"), f"127.0.0.1:{server.port}")
    assert SECONDS.sub("# seconds", done.stdout) == SECONDS.sub("# seconds", expected)
    printed, written = (list(map(float, SECONDS.findall(text))) for text in (done.stdout, expected))
    assert printed == pytest.approx(written, rel=0.3)


def test_every_script_is_in_a_transcript():
    shown = {folder / step.command.split()[0] for folder, step in (param.values for param in STEPS)}
    assert {path.resolve() for path in shown} == {path.resolve() for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: f"{script.parent.name}/{script.name}")
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
    path = tmp_path / "speech" / "hello.wav"
    with wave.open(str(path)) as file:
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        rate = file.getframerate()
    assert len(audio) * 2 == path.stat().st_size - 44
    assert 1 < len(audio) / rate < 4
    assert float(np.sqrt(np.mean(audio**2))) > 0.01
    shown = SECONDS.findall(done.stdout)
    assert float(shown[0]) == pytest.approx(len(audio) / rate, abs=0.06)
