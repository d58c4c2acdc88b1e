"""Speech while it is spoken: a session that runs this file answers at `/activity` and has a page, `/live`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from silero_vad import load_silero_vad

from owt import endpoint

RATE, FRAMES = 16_000, 512  # samples a second, and in each chunk, as the model reads them
PAUSE = 10  # chunks without speech that end it: a third of a second

torch.set_num_threads(1)


@endpoint("/activity")
def activity(sound: Iterator[bytes]) -> Iterator[dict[str, object]]:
    """Yield the level of each chunk of 16-bit samples, and whether it belongs to speech."""
    model = load_silero_vad()  # its own: it remembers the chunks before
    silent = PAUSE
    for chunk in chunks(sound):
        samples = np.frombuffer(chunk, "<i2").astype(np.float32) / 2**15
        with torch.inference_mode():
            probability = model(torch.from_numpy(samples), RATE).item()
        silent = 0 if probability > 0.5 else silent + 1
        yield {"speech": silent < PAUSE, "level": round(float(np.sqrt(np.mean(samples**2))), 4)}


def chunks(sound: Iterator[bytes]) -> Iterator[bytes]:
    """Yield bytes of any sizes as chunks for the model."""
    rest = b""
    for part in sound:
        rest += part
        while len(rest) >= 2 * FRAMES:
            yield rest[: 2 * FRAMES]
            rest = rest[2 * FRAMES :]


@endpoint("/live")
def page() -> Path:
    """Return the page beside this file, where the session runs."""
    return Path("live.html").absolute()


@endpoint("/owt.js")
def client() -> Path:
    """Return the client for the page."""
    return Path("../clients/owt.js").absolute()
