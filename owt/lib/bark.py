"""Text to speech with Bark, sentence by sentence: `adaptor=bark`.

`owt.lib.tts` with a size instead of a model's name, and defaults for Bark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from owt.lib import arguments, tts
from owt.lib.stream import ByteStream, TextStream

MODELS = {"small": tts.MODEL, "large": "suno/bark"}


def run(
    text: str,
    speaker: str | None = tts.SPEAKER,
    sentence_template: str = "%s",
    split_type: str = "sentence",
    model_size: str = "small",
    batch_size: int = 1,
    temperature: float | None = 0.6,
    cuda_device: int | None = None,
    model: str | None = None,
    language: str = "en",
    cumulative: bool = True,
    format: str = "sse",
    forward_params: Mapping[str, Any] | None = None,
) -> TextStream | ByteStream:
    """Speak `text` with Bark.

    `model_size` is "small" or "large"; `model`, the name or directory of a Bark, overrides it.
    `speaker` is a voice preset such as "v2/de_speaker_3". The other arguments, the output and the
    exceptions are those of `owt.lib.tts.run`.
    """
    size = arguments.choice("model_size", model_size, tuple(MODELS))
    return tts.run(
        text,
        MODELS[size] if model is None else model,
        speaker,
        sentence_template,
        split_type,
        batch_size,
        temperature,
        cuda_device,
        language,
        cumulative,
        format,
        forward_params,
    )
