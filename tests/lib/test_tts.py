"""What needs no model; the rest is in `tests/bark`."""

import base64
import io
import json
import subprocess
import sys
import wave

import numpy as np
import pytest

from owt.errors import MissingExtra
from owt.lib import models, stream, tts

WRONG = [
    ({"text": " "}, r"^text: a string that is not empty; got ' '"),
    ({"text": None}, r"^text: "),
    ({"model": ""}, r"^model: "),
    ({"model": "/no/such/model"}, r"^model: there is no such directory"),
    ({"sentence_template": "Hey!"}, r"^sentence_template: a string in which %s stands for the sentence"),
    ({"sentence_template": None}, r"^sentence_template: "),
    ({"split_type": "word"}, r'^split_type: "sentence" or "none"; got '),
    ({"batch_size": 0}, r"^batch_size: a whole number from 1; got 0"),
    ({"temperature": 0}, r"^temperature: a number above 0; got 0"),
    ({"cuda_device": "gpu"}, r"^cuda_device: a whole number from 0; got 'gpu'"),
    ({"cumulative": "maybe"}, r"^cumulative: true or false"),
    ({"format": "mp3"}, r'^format: "sse" or "wav"; got '),
    ({"forward_params": [1]}, r"^forward_params: names and values; got \[1\]"),
]


class Noise:
    """A pipeline whose audio is as long as the text: a sample a letter, of as many channels."""

    sampling_rate = 8000

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.heard: list[str] = []

    def __call__(self, text: str, forward_params: dict[str, object]) -> dict[str, object]:
        self.heard.append(text)
        audio = np.linspace(-1, 1, len(text) * self.channels, dtype=np.float32)
        return {"audio": audio.reshape(self.channels, len(text)).squeeze()}


def voice(channels: int = 1) -> tts.Voice:
    return tts.Voice(Noise(channels), {})


def pieces(*texts: str) -> list[tts.Piece]:
    return [tts.Piece(text, text) for text in texts]


def opened(text: str) -> wave.Wave_read:
    return wave.open(io.BytesIO(base64.b64decode(text, validate=True)))


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_invalid_argument_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        tts.run(**{"text": "Hello.", **wrong})


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_missing_package_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, "torch", object())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not installed; run: pip install 'owt\[bark\]'"):
        tts.run("Hello.")


def test_importing_the_adaptors_loads_nothing_heavy():
    heavy = "{'numpy', 'torch', 'transformers', 'sentencex'}"
    script = f"import sys, owt.lib.bark, owt.lib.generate; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_cumulative_audio_is_the_sum_of_the_chunks():
    events = list(tts._events(voice(), pieces("One.", "Two!!"), True))
    assert [event["sentence"] for event in events] == ["One.", "Two!!"]
    so_far = b""
    for event in events:
        with opened(event["chunk"]) as chunk, opened(event["cumulative"]) as cumulative:
            samples = chunk.readframes(chunk.getnframes())
            so_far += samples
            assert cumulative.readframes(cumulative.getnframes()) == so_far
            assert chunk.getframerate() == cumulative.getframerate() == event["sampling_rate"] == 8000
            assert event["seconds"] == round(chunk.getnframes() / 8000, 3)


def test_cumulative_audio_can_be_disabled():
    assert all("cumulative" not in event for event in tts._events(voice(), pieces("One.", "Two."), False))


def test_model_with_two_channels_gives_stereo():
    [event] = tts._events(voice(2), pieces("Hello."), True)
    with opened(event["chunk"]) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, 6)
        frames = np.frombuffer(file.readframes(6), "<i2").reshape(6, 2)
    assert (frames[:, 0] < frames[:, 1]).all()
    header, samples = tts._wav(voice(2), pieces("Hello."))
    assert int.from_bytes(header[22:24], "little") == 2
    assert samples == frames.astype("<i2").tobytes()


def test_audio_of_a_single_sample_is_sent():
    assert len(voice().samples("a")) == 1


def test_sentence_without_sound_is_not_sent():
    assert [event["sentence"] for event in tts._events(voice(), pieces("One.", "", "Two."), True)] == [
        "One.",
        "Two.",
    ]
    assert list(tts._wav(voice(), pieces(""))) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("%s", "sentence", 1), [("One.", "One."), ("Two?", "Two?"), ("Three.", "Three.")]),
        (("%s", "sentence", 2), [("One. Two?", "One. Two?"), ("Three.", "Three.")]),
        (("♪ %s ♪", "sentence", 2), [("One. Two?", "♪ One. ♪ ♪ Two? ♪"), ("Three.", "♪ Three. ♪")]),
        (("%s %d%%", "none", 1), [("One. Two? Three.", "One. Two? Three. %d%%")]),
    ],
)
def test_text_is_split_and_batched_into_the_template(arguments, expected):
    found = tts._pieces("One. Two?\nThree.", *arguments, "en")
    assert [(piece.sentence, piece.spoken) for piece in found] == expected


def test_long_sentence_is_cut():
    found = tts._pieces("word " * 100 + "end.", "%s", "sentence", 1, "en")
    assert len(found) == 3
    assert all(len(piece.spoken) <= tts.LONGEST for piece in found)


def test_sentences_are_spoken_lazily():
    speaking = voice()
    events, _ = stream.response(tts._events, speaking, pieces("One.", "Two."), True)
    assert speaking.pipeline.heard == []
    assert json.loads(next(events).removeprefix("data: "))["sentence"] == "One."
    assert speaking.pipeline.heard == ["One."]


def test_device_is_checked_before_loading(monkeypatch):
    def no_device(number: object) -> str:
        raise ValueError("cuda_device: no")

    monkeypatch.setattr(models, "device", no_device)
    with pytest.raises(ValueError, match="cuda_device: no"):
        tts.run("Hello.", cuda_device=3)
