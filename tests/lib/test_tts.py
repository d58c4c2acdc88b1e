"""owt.lib.tts without a model; `tests/models` has some."""

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
    """A pipeline whose audio has one sample a letter and channel."""

    sampling_rate = 8000

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.texts: list[str] = []

    def __call__(self, text: str, forward_params: dict[str, object]) -> dict[str, object]:
        self.texts.append(text)
        audio = np.linspace(-1, 1, len(text) * self.channels, dtype=np.float32)
        return {"audio": audio.reshape(self.channels, len(text)).squeeze()}


def voice(channels: int = 1) -> tts.Voice:
    return tts.Voice(Noise(channels), {})


def utterances(*texts: str) -> list[tts.Utterance]:
    return [tts.Utterance(text, text) for text in texts]


def read_wav(text: str) -> wave.Wave_read:
    return wave.open(io.BytesIO(base64.b64decode(text, validate=True)))


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_invalid_argument_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        tts.run(**{"text": "Hello.", **wrong})


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_missing_package_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, "torch", object())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not .* pip install 'owt-server\[bark\]'"):
        tts.run("Hello.")


def test_importing_the_adaptors_loads_nothing_heavy():
    heavy = "{'numpy', 'torch', 'transformers', 'sentencex'}"
    script = f"import sys, owt.lib.bark, owt.lib.generate; print(sorted({heavy} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


def test_cumulative_audio_is_the_sum_of_the_chunks():
    events = list(tts._events(voice(), utterances("One.", "Two!!"), True))
    assert [event["sentence"] for event in events] == ["One.", "Two!!"]
    so_far = b""
    for event in events:
        with read_wav(event["chunk"]) as chunk, read_wav(event["cumulative"]) as cumulative:
            samples = chunk.readframes(chunk.getnframes())
            so_far += samples
            assert cumulative.readframes(cumulative.getnframes()) == so_far
            assert chunk.getframerate() == cumulative.getframerate() == event["sampling_rate"] == 8000
            assert event["seconds"] == round(chunk.getnframes() / 8000, 3)


def test_cumulative_audio_can_be_disabled():
    assert all("cumulative" not in event for event in tts._events(voice(), utterances("One.", "Two."), False))


def test_model_with_two_channels_gives_stereo():
    [event] = tts._events(voice(2), utterances("Hello."), True)
    with read_wav(event["chunk"]) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, 6)
        frames = np.frombuffer(file.readframes(6), "<i2").reshape(6, 2)
    assert (frames[:, 0] < frames[:, 1]).all()
    header, samples = tts._wav(voice(2), utterances("Hello."))
    assert int.from_bytes(header[22:24], "little") == 2
    assert samples == frames.astype("<i2").tobytes()


def test_audio_of_a_single_sample_is_sent():
    assert len(voice().samples("a")) == 1


def test_sentence_without_sound_is_not_sent():
    assert [event["sentence"] for event in tts._events(voice(), utterances("One.", "", "Two."), True)] == [
        "One.",
        "Two.",
    ]
    assert list(tts._wav(voice(), utterances(""))) == []


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
    parts = tts._utterances("One. Two?\nThree.", *arguments, "en")
    assert [(part.sentence, part.spoken) for part in parts] == expected


def test_long_sentence_is_cut():
    parts = tts._utterances("word " * 100 + "end.", "%s", "sentence", 1, "en")
    assert len(parts) == 3
    assert all(len(part.spoken) <= tts.MAX_SENTENCE for part in parts)


def test_sentences_are_spoken_lazily():
    speaker = voice()
    events, _ = stream.response(tts._events, speaker, utterances("One.", "Two."), True)
    assert speaker.pipeline.texts == []
    assert json.loads(next(events).removeprefix("data: "))["sentence"] == "One."
    assert speaker.pipeline.texts == ["One."]


def test_device_is_checked_before_loading(monkeypatch):
    def no_device(number: object) -> str:
        raise ValueError("cuda_device: no")

    monkeypatch.setattr(models, "device", no_device)
    with pytest.raises(ValueError, match="cuda_device: no"):
        tts.run("Hello.", cuda_device=3)
