"""Voice activity in a WAV: a session that runs this file answers at `/speech`."""

import io
import wave

import numpy as np
import torch
from silero_vad import get_speech_timestamps, load_silero_vad
from werkzeug.exceptions import UnprocessableEntity

from owt import endpoint

RATE = 16_000  # samples a second, as the model reads them

model = load_silero_vad()


@endpoint("/speech")
def speech(wav: bytes, pause: float = 0.3) -> list[dict[str, float]]:
    """Return the beginning and the end of each stretch of speech in seconds. Shorter pauses do not end it."""
    return get_speech_timestamps(
        torch.from_numpy(samples(wav)),
        model,
        sampling_rate=RATE,
        min_silence_duration_ms=round(pause * 1000),
        return_seconds=True,
    )


def samples(wav: bytes) -> np.ndarray:
    """Return the samples of a WAV of any rate and number of channels, as mono of the model's rate."""
    try:
        with wave.open(io.BytesIO(wav)) as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UnprocessableEntity(f"this is no WAV: {error}") from None
    if width != 2:
        raise UnprocessableEntity(f"send samples of 16 bits; these have {8 * width}")
    mono = np.frombuffer(data, "<i2").reshape(-1, channels).mean(axis=1) / 2**15
    return np.interp(np.arange(0, len(mono), rate / RATE), np.arange(len(mono)), mono).astype(np.float32)
