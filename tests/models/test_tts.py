"""Speech by models of transformers: the adaptor `tts`."""

import base64
import io
import json
import wave
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny_models
import torch

from owt.lib import models, tts

TEXT = "Hello, this is owt. How are you?"
SENTENCES = ["Hello, this is owt.", "How are you?"]


def payloads(text: str, seed: int = 0, **kwargs: object) -> list[dict]:
    """Return the payloads of the events. The same seed gives the same noise."""
    events, headers = tts.run(text, **kwargs)
    # Loading a model uses random numbers, too.
    torch.manual_seed(seed)
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *spoken, last = list(events)
    assert last == "data: [DONE]\n\n"
    return [json.loads(event.removeprefix("data: ")) for event in spoken]


def read_wav(data: str, rate: int = tiny_models.RATE) -> np.ndarray:
    """Check the header of a mono WAV in base64 and return its samples."""
    with wave.open(io.BytesIO(base64.b64decode(data, validate=True))) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (rate, 2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def sound(events: list[dict], rate: int = tiny_models.RATE) -> np.ndarray:
    return np.concatenate([read_wav(event["chunk"], rate) for event in events])


def test_each_sentence_is_an_event_with_its_audio_and_all_so_far(bark):
    events = payloads(TEXT, model=bark)
    assert [event["sentence"] for event in events] == SENTENCES
    so_far = np.empty(0, np.int16)
    for event in events:
        assert set(event) == {"sentence", "chunk", "cumulative", "seconds", "sampling_rate"}
        assert event["sampling_rate"] == tiny_models.RATE
        audio = read_wav(event["chunk"])
        assert len(audio) > 0
        assert len(audio) % tiny_models.FRAME == 0
        assert audio.any()
        assert event["seconds"] == round(len(audio) / tiny_models.RATE, 3)
        so_far = np.concatenate([so_far, audio])
        assert np.array_equal(read_wav(event["cumulative"]), so_far)
    assert len(so_far) > len(read_wav(events[0]["chunk"]))


def test_streamed_wav_is_a_header_and_the_same_samples(bark):
    expected = sound(payloads(TEXT, model=bark))
    pieces, headers = tts.run(TEXT, model=bark, format="wav")
    torch.manual_seed(0)
    assert headers == {"Content-Type": "audio/wav"}
    header, *spoken = list(pieces)
    assert len(spoken) == 2
    with wave.open(io.BytesIO(header)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (tiny_models.RATE, 2, 1)
    assert b"".join(spoken) == expected.tobytes()


def test_first_sentence_is_sent_before_the_second_is_synthesised(bark, monkeypatch):
    texts = []
    real = tts.Voice.samples

    def watched(self: tts.Voice, spoken: str) -> np.ndarray:
        texts.append(spoken)
        return real(self, spoken)

    monkeypatch.setattr(tts.Voice, "samples", watched)
    events, _ = tts.run(TEXT, model=bark, sentence_template="[%s]")
    assert texts == []
    next(events)
    assert texts == ["[Hello, this is owt.]"]


def test_batch_is_synthesised_in_one_pass(bark):
    [event] = payloads(TEXT, model=bark, batch_size=2)
    assert event["sentence"] == TEXT
    [whole] = payloads(TEXT, model=bark, split_type="none")
    assert np.array_equal(read_wav(event["chunk"]), read_wav(whole["chunk"]))


def test_template_is_applied_to_the_text(bark):
    plain, other = (sound(payloads("Hi.", model=bark, sentence_template=t)) for t in ("%s", "[laughs] %s"))
    assert not np.array_equal(plain, other)


def test_voice_is_the_same_preset_for_all_sentences(bark):
    usual, first, second = (
        sound(payloads("Hi.", model=bark, speaker=speaker)) for speaker in (None, *tiny_models.VOICES)
    )
    assert np.array_equal(usual, first)
    assert not np.array_equal(first, second)


def test_preset_may_be_a_file(bark, tmp_path):
    np.savez(tmp_path / "mine.npz", **tiny_models.preset(1))
    expected = sound(payloads("Hi.", model=bark, speaker=tiny_models.VOICES[1]))
    for name in ("mine", "mine.npz"):
        assert np.array_equal(sound(payloads("Hi.", model=bark, speaker=str(tmp_path / name))), expected)


@pytest.mark.parametrize("speaker", ["v2/xx_speaker_1", "", 6, "repo_or_path", ["v2/en_speaker_6"]])
def test_unknown_voice_is_refused_with_examples(bark, speaker):
    with pytest.raises(ValueError, match=r"^speaker: a voice preset \(such as v2/en_speaker_6, .*; got "):
        tts.run(TEXT, model=bark, speaker=speaker)


def test_bark_without_presets_invents_a_voice(tmp_path):
    model = tiny_models.bark(tmp_path, voices=False)
    assert len(payloads(TEXT, model=model)) == 2
    with pytest.raises(ValueError, match=r"comes with none\) .*; got 'v2/en_speaker_6'"):
        tts.run(TEXT, model=model, speaker="v2/en_speaker_6")


def test_temperature_reaches_the_sampling(bark):
    cold, hot = (
        [sound(payloads("Hi.", seed, model=bark, temperature=t)) for seed in (1, 2)] for t in (1e-6, "1.5")
    )
    assert np.array_equal(*cold)
    assert not np.array_equal(*hot)


def test_other_parameters_reach_the_model(bark):
    [event] = payloads("Hi.", model=bark, forward_params={"semantic_max_new_tokens": 4, "temperature": 0.5})
    # 49.9 semantic tokens a second, and 75 frames.
    assert len(read_wav(event["chunk"])) <= round(4 * 75 / 49.9) * tiny_models.FRAME


def test_text_longer_than_the_model_takes_is_refused(bark):
    with pytest.raises(ValueError, match=r"^text: the model reads 256 tokens at a time; got 300: 'aaa"):
        tts.run("a" * 300, model=bark, split_type="none")
    assert len(payloads("word " * 60 + "end.", model=bark)) == 2


def test_model_is_loaded_once_also_from_many_threads(tmp_path, monkeypatch):
    model = tiny_models.bark(tmp_path)
    loads = []
    # Importing this replaces the library's main module, so that is looked up afterwards.
    from transformers import pipeline

    monkeypatch.setattr("transformers.pipeline", lambda *a, **k: loads.append(a) or pipeline(*a, **k))
    with ThreadPoolExecutor(4) as threads:
        pipelines = set(map(id, threads.map(lambda _: tts.load(model, "cpu"), range(4))))
    payloads("Hello.", model=model)
    payloads("Hello.", model=model, speaker=tiny_models.VOICES[1])
    assert len(pipelines) == len(loads) == 1


def test_directory_without_a_model_is_an_error_and_can_be_filled_later(tmp_path):
    with pytest.raises((OSError, ValueError), match=r"config\.json"):
        tts.run("Hello.", model=str(tmp_path))
    tiny_models.vits(tmp_path)
    assert len(payloads("Hello.", model=str(tmp_path))) == 1


def test_vits_speaks_at_its_own_rate(tmp_path):
    model = tiny_models.vits(tmp_path)
    events = payloads(TEXT, model=model)
    assert [event["sentence"] for event in events] == SENTENCES
    assert {event["sampling_rate"] for event in events} == {16_000}
    # Each letter lasts for whole frames of 4 times 4 samples.
    assert all(len(read_wav(event["chunk"], 16_000)) % 16 == 0 for event in events)
    with pytest.raises(ValueError, match=r"^temperature: .* does not sample"):
        tts.run(TEXT, model=model, temperature=0.5)
    with pytest.raises(ValueError, match=r"^speaker: .* has one voice"):
        tts.run(TEXT, model=model, speaker=0)


def test_vits_with_several_speakers_takes_a_number(tmp_path):
    model = tiny_models.vits(tmp_path, speakers=3)
    first, same, other = (sound(payloads("Hi.", model=model, speaker=n), 16_000) for n in (1, "1", 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    for speaker in (3, -1, "joe"):
        with pytest.raises(ValueError, match=r"^speaker: a whole number from 0 to 2; got "):
            tts.run("Hi.", model=model, speaker=speaker)


def test_speecht5_takes_an_x_vector(tmp_path, monkeypatch):
    from transformers.pipelines import text_to_audio

    model = tiny_models.speecht5(tmp_path)
    # The pipeline's default vocoder is on the Hub, which tests do not access.
    monkeypatch.setattr(text_to_audio, "DEFAULT_VOCODER_ID", str(tmp_path / "vocoder"))
    np.save(tmp_path / "me.npy", np.arange(4.0))
    audio = sound(payloads("Hi.", model=model, speaker=[0, 1, 2, 3]), 16_000)
    assert len(audio)
    assert len(audio) == len(sound(payloads("Hi.", model=model, speaker=str(tmp_path / "me.npy")), 16_000))
    for speaker in (None, [1, 2], "no/such.npy", ["a"], {"x": 1}):
        with pytest.raises(ValueError, match=r"^speaker: this model needs an x-vector, 4 numbers"):
            tts.run("Hi.", model=model, speaker=speaker)
    with pytest.raises(ValueError, match=r"^temperature: .* does not sample"):
        tts.run("Hi.", model=model, speaker=[0, 1, 2, 3], temperature=0.5)


def test_model_is_on_the_cpu_without_cuda(bark, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tts.load(bark, models.device()).device == torch.device("cpu")
    with pytest.raises(ValueError, match=r"^cuda_device: .* 0 CUDA devices .*; got 0"):
        tts.run(TEXT, model=bark, cuda_device=0)
