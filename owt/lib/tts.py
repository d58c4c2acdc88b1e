"""Text to speech with any model of the transformers library, sentence by sentence: `adaptor=tts`.

The model is loaded, and downloaded if need be, by the first call that names it; it stays in its
kernel. For a voice that needs neither a download nor a large machine, see `owt.lib.speak`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from owt.errors import shortened
from owt.lib import arguments, encoding, models, sentences, stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "suno/bark-small"

SPEAKER = "v2/en_speaker_6"
"""The voice preset of a Bark that has it, unless the call names another. Without a preset Bark
invents a voice for each sentence anew."""

LONGEST = 200
"""Longer sentences are cut (characters). Bark reads at most 256 tokens at a time and makes some 14
seconds of speech of them."""

SHOWN = 5
"""Voice presets that an error message lists; Bark has more than a hundred."""

Answer = tuple[Iterator[str], dict[str, str]] | tuple[Iterator[bytes], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Piece:
    """What is made at a time: the sentences as the text has them, and as the model gets them."""

    sentence: str
    spoken: str


@dataclass(frozen=True, slots=True)
class Voice:
    """A pipeline of transformers for text to audio, and the parameters of every pass through it."""

    pipeline: Any
    parameters: Mapping[str, Any]

    @property
    def sampling_rate(self) -> int:
        """In Hz."""
        return int(self.pipeline.sampling_rate)

    def samples(self, spoken: str) -> NDArray[np.int16]:
        """The audio of a text: shape (frames,), or (frames, channels) for models with several."""
        import numpy as np

        made = self.pipeline(spoken, forward_params=dict(self.parameters))
        # The pipeline squeezes, so that a single sample has no axis left.
        audio = np.atleast_1d(made["audio"])
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
) -> Answer:
    """Speak `text`. Each sentence is sent as soon as it is made.

    model              a model's name on the Hugging Face Hub, or a directory that holds one
    speaker            for Bark the name of a voice preset, or an .npz file with one; for VITS the
                       number of a speaker; for SpeechT5 an .npy file with an x-vector, or its numbers
    sentence_template  what the model is given for a sentence, which stands in it as %s
    split_type         "sentence", or "none": all of the text at once
    batch_size         sentences that are spoken in one go, and sent as one event
    temperature        of the sampling, above 0; None: as the model is configured
    cuda_device        the number of a CUDA device; None: the first one, or the CPU
    language           ISO 639 code of the text's language, for finding its sentences
    cumulative         whether events hold all audio so far too: useful to whoever plays only the
                       latest event, and much to send for a long text
    format             "sse" or "wav"
    forward_params     what else the model's `generate` or `forward` takes

    "sse" gives events, then `[DONE]`:

        {"sentence": the text, "chunk": its audio, a complete WAV in base64,
         "cumulative": the same for all so far, "seconds": the length of `chunk`,
         "sampling_rate": in Hz}

    "wav" gives one WAV whose length is left open: the header, then 16-bit samples.

    Raises `ValueError` for an argument that cannot be used, `MissingExtra` where the packages of
    the extra `bark` are not installed, and what transformers raises for a model that it cannot
    load; all before anything is sent.
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
    pieces = _pieces(text, sentence_template, split_type, size, language)
    pipeline = load(model, device)
    parameters = {
        **_sampling(pipeline, model, temperature),
        **_voice(pipeline, model, speaker),
        **(forward_params or {}),
    }
    voice = Voice(pipeline, parameters)
    _check_lengths(pipeline, pieces)
    if format == "wav":
        return _wav(voice, pieces), {"Content-Type": "audio/wav"}
    return stream.response(_events, voice, pieces, cumulative)


def load(model: str, device: str) -> Any:
    """The pipeline of a model on a device. The first call with both loads it and later ones share
    it, also from several threads. Raises as `run`."""
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


def _pieces(text: str, template: str, split_type: str, size: int, language: str) -> list[Piece]:
    if split_type == "none":
        whole = " ".join(text.split())
        return [Piece(whole, template.replace("%s", whole))]
    return [
        Piece(" ".join(batch), " ".join(template.replace("%s", sentence) for sentence in batch))
        for batch in sentences.batches(sentences.split(text, language, LONGEST), size)
    ]


def _check_lengths(pipeline: Any, pieces: list[Piece]) -> None:
    """Refuse what the model would cut off, or fail at, half-way through the text."""
    tokenizer = pipeline.tokenizer
    if tokenizer is None:
        return
    longest = tokenizer.model_max_length
    if pipeline.model.config.model_type == "bark":
        longest = pipeline.model.generation_config.semantic_config["max_input_semantic_length"]
    for piece in pieces:
        count = len(tokenizer(piece.spoken, add_special_tokens=False, verbose=False)["input_ids"])
        if count > longest:
            raise ValueError(
                f"text: the model reads {longest} tokens at a time; got {count}: {shortened(piece.spoken)};"
                ' use split_type "sentence" and a batch_size of 1, or write shorter sentences'
            )


def _sampling(pipeline: Any, model: str, temperature: float | None) -> dict[str, Any]:
    if temperature is None:
        return {}
    # SpeechT5 has a `generate`, in which nothing is sampled.
    if not pipeline.model.can_generate() or pipeline.model.config.model_type == "speecht5":
        raise ValueError(f"temperature: {model} does not sample, so it has none; leave it out")
    return {"do_sample": True, "temperature": temperature}


def _voice(pipeline: Any, model: str, speaker: Any) -> dict[str, Any]:
    """The parameters by which a kind of model is told whose voice to take."""
    config = pipeline.model.config
    match config.model_type:
        case "bark":
            return _bark_preset(model, speaker)
        case "speecht5":
            return {"speaker_embeddings": _x_vector(speaker, config.speaker_embedding_dim)}
        case _ if speaker is None:
            return {}
        case "vits":
            count = config.num_speakers
            if count < 2:
                raise ValueError(f"speaker: {model} has one voice; leave it out")
            which = f"from 0 to {count - 1}"
            return {"speaker_id": arguments.whole("speaker", speaker, which, lambda n: 0 <= n < count)}
        case kind:
            raise ValueError(
                f"speaker: not known how a model of type {kind} is told its voice; leave it out, and"
                " give forward_params what the model takes"
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
        known = f"such as {', '.join(presets[:SHOWN])}" if presets else f"{model} comes with none"
        raise ValueError(
            f"speaker: a voice preset ({known}) or an .npz file with one; got {shortened(speaker)}"
        )
    return {"history_prompt": processor(" ", voice_preset=speaker)["history_prompt"]}


def _npz(name: str) -> str:
    return name if name.endswith(".npz") else f"{name}.npz"


def _x_vector(speaker: Any, size: int) -> Any:
    """A speaker's embedding as a tensor of shape (1, size)."""
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


def _made(voice: Voice, pieces: list[Piece]) -> Iterator[tuple[Piece, NDArray[np.int16]]]:
    for piece in pieces:
        samples = voice.samples(piece.spoken)
        if len(samples):
            yield piece, samples


def _events(voice: Voice, pieces: list[Piece], cumulative: bool) -> Iterator[dict[str, Any]]:
    import numpy as np

    rate = voice.sampling_rate
    so_far: list[NDArray[np.int16]] = []
    for piece, samples in _made(voice, pieces):
        event = {"sentence": piece.sentence, "chunk": encoding.base64(encoding.wav(samples, rate))}
        if cumulative:
            so_far.append(samples)
            event["cumulative"] = encoding.base64(encoding.wav(np.concatenate(so_far), rate))
        yield {**event, "seconds": round(len(samples) / rate, 3), "sampling_rate": rate}


def _wav(voice: Voice, pieces: list[Piece]) -> Iterator[bytes]:
    header = b""
    for _, samples in _made(voice, pieces):
        if not header:
            header = encoding.wav_header(voice.sampling_rate, 1 if samples.ndim == 1 else samples.shape[1])
            yield header
        yield encoding.pcm_bytes(samples)
