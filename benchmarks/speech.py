"""Speech: time to the first audio byte, compared with the model alone."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import load
import servers
from connection import Request
from goals import GOALS, SPEECH
from measuring import Effort, Measurement, Row, in_turns

VOICE = Path(__file__).with_name("voice.py")
SENTENCE = "Hello!"
COUNT = 20
# The bytes before the audio: the header of a WAV file, 44 bytes, as a chunk of the transfer.
HEADER = len("2c\r\n") + 44 + len("\r\n")
SIZE_OF_NEXT = len("10000\r\n")


@contextmanager
def model() -> Iterator[tuple[IO[str], IO[str]]]:
    """Run the model alone (voice.py); yield its standard input and output."""
    process = subprocess.Popen(
        [sys.executable, VOICE, SENTENCE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the model could not be loaded:\n{process.stderr.read()[-1000:]}")
        yield process.stdin, process.stdout
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        process.terminate()
        process.wait()


def speak(effort: Effort) -> Iterator[object]:
    """Measure one sentence, spoken by the adaptor `speak` and by its model alone."""
    with servers.owt() as port, model() as (questions, answers):
        call = {"session": "voice", "adaptor": "speak", "kwargs": {"text": SENTENCE, "format": "wav"}}
        request = Request(port, "/", call)

        def own() -> float:
            beyond = HEADER + SIZE_OF_NEXT
            return load.run("first", request, needle="", count=COUNT, beyond=beyond)["p50"] * 1000

        def alone() -> float:
            questions.write(f"{COUNT}\n")
            questions.flush()
            return float(answers.readline()) * 1000

        figures = in_turns(effort.rounds, own, alone)
    yield Row(SPEECH, "ms", *figures, "the model alone", GOALS[SPEECH])


MEASUREMENTS = (
    Measurement(
        "speech",
        (SPEECH,),
        "one sentence, `adaptor=speak` as a WAV, until more than its header has arrived, with a loaded "
        "model; and the same model in a process without a server (`benchmarks/voice.py`)",
        speak,
    ),
)
