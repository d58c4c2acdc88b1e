"""Text to speech with any model of the transformers library, sentence by sentence: `adaptor=tts`.

The first call that names a model loads it, and downloads it if necessary; it stays in its kernel. For
a voice that needs neither a download nor a large machine, see `owt.lib.speak`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from owt.errors import shortened
from owt.lib import arguments, encoding, models, sentences, stream
from owt.lib.stream import ByteStream, TextStream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "suno/bark-small"

SPEAKER = "v2/en_speaker_6"
"""The default voice preset of Bark. Without a preset Bark invents a new voice for each sentence."""

MAX_SENTENCE = 200
"""Characters of a sentence; longer ones are cut. Bark reads at most 256 tokens at a time, about 14 seconds
of speech."""

LISTED_PRESETS = 5
"""Voice presets in an error message; Bark has more than a hundred."""


@dataclass(frozen=True)
class Utterance:
    """Sentences that are spoken in one pass: as in the text, and as the model's input."""

    sentence: str
    spoken: str


@dataclass(frozen=True)
class Voice:
    """A pipeline of transformers for text to audio, and the parameters of every pass."""

    pipeline: Any
    parameters: Mapping[str, Any]

    @property
    def sampling_rate(self) -> int:
        """Sampling rate in Hz."""
        return int(self.pipeline.sampling_rate)

    def samples(self, spoken: str) -> NDArray[np.int16]:
        """Return the audio of a text: shape (frames,), or (frames, channels) for models with several."""
        import numpy as np

        output = self.pipeline(spoken, forward_params=dict(self.parameters))
        # The pipeline squeezes the axis of a single sample.
        audio = np.atleast_1d(output["audio"])
        return encoding.pcm(audio if audio.ndim == 1 else audio.T)


def run(
    text: str,
    model: str = MODEL,
    speaker: str | int | list[float] | None = None,
    sentence_template: str = "%s",
    split_type: str = "sentence",
    batch_size: int = 1,
    temperature: float | None = None,
    cuda_device: int | None = None,
    language: str = "en",
    cumulative: bool = True,
    format: str = "sse",
    forward_params: Mapping[str, Any] | None = None,
) -> TextStream | ByteStream:
    """Speak `text`. Each sentence is sent as soon as it is ready.

    model              a model's name on the Hugging Face Hub, or the directory of one
    speaker            for Bark the name of a voice preset, or an .npz file with one; for VITS the
                       number of a speaker; for SpeechT5 an .npy file with an x-vector, or its numbers
    sentence_template  the model's input for a sentence, which replaces %s
    split_type         "sentence", or "none": the whole text at once
    batch_size         sentences that are spoken in one pass, and sent as one event
    temperature        of the sampling, above 0; None: as the model is configured
    cuda_device        number of a CUDA device; None: the first one, or the CPU
    language           ISO 639 code of the text's language, for the split into sentences
    cumulative         True to send all audio so far with each event, for clients that play only the
                       latest event; large for a long text
    format             "sse" or "wav"
    forward_params     further arguments of the model's `generate` or `forward`

    "sse" sends events, then `[DONE]`:

        {"sentence": the text, "chunk": its audio, a complete WAV in base64,
         "cumulative": the same for all so far, "seconds": the length of `chunk`,
         "sampling_rate": in Hz}

    "wav" sends one WAV of open length: the header, then 16-bit samples.

    Raises `ValueError` for an invalid argument, `MissingExtra` if the packages of the extra `bark` are
    not installed, and the exceptions of transformers for a model that it cannot load; all before any
    output is sent.
    """
    arguments.text("text", text)
    model = models.name(model)
    _check_template(sentence_template)
    split_type = arguments.choice("split_type", split_type, ("sentence", "none"))
    size = arguments.whole("batch_size", batch_size, "from 1", lambda n: n >= 1)
    if temperature is not None:
        temperature = arguments.number("temperature", temperature, "above 0", lambda n: n > 0)
    cumulative = arguments.flag("cumulative", cumulative)
    format = arguments.choice("format", format, ("sse", "wav"))
    if forward_params is not None and not isinstance(forward_params, Mapping):
        raise ValueError(f"forward_params: names and values; got {shortened(forward_params)}")

    device = models.device(cuda_device)
    utterances = _utterances(text, sentence_template, split_type, size, language)
    pipeline = load(model, device)
    parameters = {
        **_sampling(pipeline, model, temperature),
        **_voice(pipeline, model, speaker),
        **(forward_params or {}),
    }
    voice = Voice(pipeline, parameters)
    _check_lengths(pipeline, utterances)
    if format == "wav":
        return _wav(voice, utterances), {"Content-Type": "audio/wav"}
    return stream.response(_events, voice, utterances, cumulative)


def load(model: str, device: str) -> Any:
    """Return the pipeline of a model on a device. The first call loads it, later ones share it, also from
    other threads. Raises the exceptions of `run`."""
    _, transformers = models.libraries()
    return models.once(
        ("text-to-audio", model, device),
        lambda: transformers.pipeline("text-to-audio", model=model, device=device),
    )


def _check_template(template: Any) -> None:
    if not isinstance(template, str) or "%s" not in template:
        raise ValueError(
            f"sentence_template: a string in which %s stands for the sentence; got {shortened(template)}"
        )


def _utterances(text: str, template: str, split_type: str, size: int, language: str) -> list[Utterance]:
    if split_type == "none":
        whole = " ".join(text.split())
        return [Utterance(whole, template.replace("%s", whole))]
    return [
        Utterance(" ".join(batch), " ".join(template.replace("%s", sentence) for sentence in batch))
        for batch in sentences.batches(sentences.split(text, language, MAX_SENTENCE), size)
    ]


def _check_lengths(pipeline: Any, utterances: list[Utterance]) -> None:
    """Raise `ValueError` for text that the model would cut off, or fail at, after the first output."""
    tokenizer = pipeline.tokenizer
    if tokenizer is None:
        return
    max_tokens = tokenizer.model_max_length
    if pipeline.model.config.model_type == "bark":
        max_tokens = pipeline.model.generation_config.semantic_config["max_input_semantic_length"]
    for utterance in utterances:
        count = len(tokenizer(utterance.spoken, add_special_tokens=False, verbose=False)["input_ids"])
        if count > max_tokens:
            raise ValueError(
                f"text: the model reads {max_tokens} tokens at a time; got {count}:"
                f' {shortened(utterance.spoken)}; use split_type "sentence" and a batch_size of 1, or write'
                " shorter sentences"
            )


def _sampling(pipeline: Any, model: str, temperature: float | None) -> dict[str, Any]:
    if temperature is None:
        return {}
    # SpeechT5 has a `generate` that does not sample.
    if not pipeline.model.can_generate() or pipeline.model.config.model_type == "speecht5":
        raise ValueError(f"temperature: {model} does not sample, so it has none; leave it out")
    return {"do_sample": True, "temperature": temperature}


def _voice(pipeline: Any, model: str, speaker: Any) -> dict[str, Any]:
    """Return the parameters that select the voice of a kind of model."""
    config = pipeline.model.config
    kind = config.model_type
    if kind == "bark":
        return _bark_preset(model, speaker)
    if kind == "speecht5":
        return {"speaker_embeddings": _x_vector(speaker, config.speaker_embedding_dim)}
    if speaker is None:
        return {}
    if kind == "vits":
        count = config.num_speakers
        if count < 2:
            raise ValueError(f"speaker: {model} has one voice; leave it out")
        which = f"from 0 to {count - 1}"
        return {"speaker_id": arguments.whole("speaker", speaker, which, lambda n: 0 <= n < count)}
    raise ValueError(
        f"speaker: the parameter for the voice of models of type {kind} is not known; leave it out, and use"
        " forward_params"
    )


def _bark_preset(model: str, speaker: Any) -> dict[str, Any]:
    _, transformers = models.libraries()
    processor = models.once(("processor", model), lambda: transformers.AutoProcessor.from_pretrained(model))
    presets = processor.available_voice_presets
    if speaker is None:
        if SPEAKER not in presets:
            return {}
        speaker = SPEAKER
    if not isinstance(speaker, str) or not (speaker in presets or os.path.isfile(_npz(speaker))):
        known = f"such as {', '.join(presets[:LISTED_PRESETS])}" if presets else f"{model} comes with none"
        raise ValueError(
            f"speaker: a voice preset ({known}) or an .npz file with one; got {shortened(speaker)}"
        )
    return {"history_prompt": processor(" ", voice_preset=speaker)["history_prompt"]}


def _npz(name: str) -> str:
    return name if name.endswith(".npz") else f"{name}.npz"


def _x_vector(speaker: Any, size: int) -> Any:
    """Return a speaker's embedding as a tensor of shape (1, size)."""
    import numpy as np

    torch, _ = models.libraries()
    try:
        vector = np.asarray(np.load(speaker) if isinstance(speaker, str) else speaker, np.float32).ravel()
    except (OSError, TypeError, ValueError):
        vector = np.empty(0, np.float32)
    if len(vector) != size:
        raise ValueError(
            f"speaker: this model needs an x-vector, {size} numbers or an .npy file with them; got"
            f" {shortened(speaker)}"
        )
    return torch.from_numpy(vector)[None]


def _spoken(voice: Voice, utterances: list[Utterance]) -> Iterator[tuple[Utterance, NDArray[np.int16]]]:
    for utterance in utterances:
        samples = voice.samples(utterance.spoken)
        if len(samples):
            yield utterance, samples


def _events(voice: Voice, utterances: list[Utterance], cumulative: bool) -> Iterator[dict[str, Any]]:
    import numpy as np

    rate = voice.sampling_rate
    so_far: list[NDArray[np.int16]] = []
    for utterance, samples in _spoken(voice, utterances):
        event = {"sentence": utterance.sentence, "chunk": encoding.base64(encoding.wav(samples, rate))}
        if cumulative:
            so_far.append(samples)
            event["cumulative"] = encoding.base64(encoding.wav(np.concatenate(so_far), rate))
        yield {**event, "seconds": round(len(samples) / rate, 3), "sampling_rate": rate}


def _wav(voice: Voice, utterances: list[Utterance]) -> Iterator[bytes]:
    header = b""
    for _, samples in _spoken(voice, utterances):
        if not header:
            header = encoding.wav_header(voice.sampling_rate, 1 if samples.ndim == 1 else samples.shape[1])
            yield header
        yield encoding.pcm_bytes(samples)
